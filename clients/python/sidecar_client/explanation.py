"""Why a rate limit decides as it does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar_client.durations import from_duration
from sidecar_client.overrides import override_of
from sidecar_client.policies import limit_of, policy_of
from sidecar_client.results import DecidedBy

if TYPE_CHECKING:
    from datetime import timedelta

    from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
    from sidecar_client.overrides import Override
    from sidecar_client.policies import Policy, PolicyLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """How a limit stands."""

    limit: PolicyLimit
    """With the numbers of an override or a tier, where one holds."""
    remaining: int
    reset_after: timedelta
    words: str
    """The same in a sentence, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOutcome:
    """What would become of a call."""

    cost: int
    allowed: bool
    retry_after: timedelta
    refused_by: tuple[str, ...]
    """The limits that would refuse it, of a policy with several."""
    shadow_denied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What decides on a key, and what it would decide."""

    policy: Policy
    decided_by: DecidedBy
    entry: str
    """The entry of the policy's lists that decides; empty if none does."""
    override: Override | None
    store_time: datetime
    limits: tuple[LimitState, ...]
    """Empty where the limits do not decide."""
    outcomes: tuple[CostOutcome, ...]
    tier: str
    """The tier that decides; empty if none does."""


def explanation_of(answer: pb.ExplainResponse) -> Explanation:
    """Return an explanation that arrived."""
    return Explanation(
        policy=policy_of(answer.policy),
        decided_by=DecidedBy(answer.decided_by),
        entry=answer.entry,
        override=override_of(answer.override) if answer.HasField("override") else None,
        store_time=answer.store_time.ToDatetime(UTC),
        limits=tuple([_state_of(state) for state in answer.limits]),
        outcomes=tuple([_outcome_of(outcome) for outcome in answer.outcomes]),
        tier=answer.tier,
    )


def _state_of(state: pb.LimitState) -> LimitState:
    return LimitState(
        limit=limit_of(state.limit),
        remaining=state.remaining,
        reset_after=from_duration(state.reset_after),
        words=state.words,
    )


def _outcome_of(outcome: pb.CostOutcome) -> CostOutcome:
    return CostOutcome(
        cost=outcome.cost,
        allowed=outcome.allowed,
        retry_after=from_duration(outcome.retry_after),
        refused_by=tuple(outcome.refused_by),
        shadow_denied=outcome.shadow_denied,
    )
