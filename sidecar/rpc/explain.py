"""The part of `sidecar.v1.RateLimitService` that explains decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.rpc.convert import set_us
from sidecar.rpc.overrides import fill_override
from sidecar.rpc.policies import fill_limit, fill_policy

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.explain import Explanation, LimitState, Outcome
    from sidecar.ratelimit.limiter import RateLimiter


class ExplainServicer:
    """Serves explanations."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def explain(self, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:
        """Explain what becomes of a key."""
        response = pb.ExplainResponse()
        _fill(response, await self._limiter.explain(request.policy, request.key, call, request.tier))
        return response


def _fill(message: pb.ExplainResponse, explanation: Explanation) -> None:
    fill_policy(message.policy, explanation.policy)
    message.decided_by = explanation.why  # type: ignore[assignment]  # the numbers are the protocol's
    message.entry = explanation.entry
    message.tier = explanation.tier
    if explanation.override is not None:
        fill_override(message.override, *explanation.override)
    message.store_time.FromMicroseconds(explanation.store_us)
    for state in explanation.limits:
        _fill_state(message.limits.add(), state)
    for outcome in explanation.outcomes:
        _fill_outcome(message.outcomes.add(), outcome)


def _fill_state(message: pb.LimitState, state: LimitState) -> None:
    fill_limit(message.limit, state.limit)
    message.remaining = state.remaining
    set_us(message.reset_after, state.reset_after_us)
    message.words = state.words


def _fill_outcome(message: pb.CostOutcome, outcome: Outcome) -> None:
    decision = outcome.decision
    message.cost = outcome.cost
    message.allowed = decision.allowed
    message.shadow_denied = decision.shadow_denied
    set_us(message.retry_after, decision.retry_after_us)
    message.refused_by.extend([status.name for status in decision.limits if not status.allowed])
