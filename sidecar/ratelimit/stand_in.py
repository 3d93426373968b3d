"""Who decides on a policy's calls while the store cannot, and how many such answers there were.

What is decided is in `sidecar.ratelimit.outage`. A policy whose calls fail has nobody here, so that it pays for none of
this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.ratelimit.outage import OnFailure, failed_closed, failed_open
from sidecar.ratelimit.shares import PolicyShare, ShareStates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.decision import Decision
    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.telemetry.metrics import Cell, Metrics


class StandIn:
    """Decides on the calls of one policy."""

    def __init__(
        self, policy: Policy | CombinedPolicy, mode: OnFailure, answers: Cell, share: PolicyShare | None
    ) -> None:
        self._policy = policy
        self._mode = mode
        self._share = share
        self._answers = answers

    def decide(self, state_key: bytes, cost: int, *, take: bool) -> Decision:
        """Decide on one call that the store has not answered; `state_key` names whom it is about."""
        self.count()
        return self.look(state_key, cost, take=take)

    def count(self) -> None:
        """Count one answer."""
        self._answers.value += 1

    def look(self, state_key: bytes, cost: int, *, take: bool) -> Decision:
        """Do the same, and do not count the answer."""
        if self._mode is OnFailure.OPEN:
            return failed_open(self._policy.limit)
        decision = None if self._share is None else self._share.decide(state_key, cost, take=take)
        return failed_closed(self._policy.limit, cost) if decision is None else decision

    def forget(self, state_key: bytes) -> None:
        """Give a key its whole allowance back."""
        if self._share is not None:
            self._share.forget(state_key)


class StandIns:
    """Those of all policies."""

    def __init__(
        self,
        *,
        clock: StoreClock,
        metrics: Metrics,
        modes: Mapping[str, OnFailure],
        live: Callable[[], int | None],
    ) -> None:
        self._answers = metrics.counter(
            "sidecar_ratelimit_failure_mode_answers",
            "Answers of rate limits given while the store could not decide, by policy and what it then does",
            "policy",
            "mode",
        )
        forgotten = metrics.counter(
            "sidecar_ratelimit_share_states_forgotten",
            "Counts of local shares that were given up while they mattered, since there were too many",
        )
        self.states = ShareStates(clock, forgotten.cell())
        metrics.gauge(
            "sidecar_ratelimit_share_states",
            "Keys that this process counts itself, or did until the store was back.",
            lambda: {(): len(self.states)},
        )
        metrics.gauge(
            "sidecar_ratelimit_live_sidecars",
            "Processes among which a limit is shared while the store is gone, as last known; 0: not known.",
            lambda: {(): live() or 0},
        )
        self._live = live
        self._modes = modes

    @property
    def shares(self) -> bool:
        """Whether any policy shares its limit."""
        return OnFailure.LOCAL_SHARE in self._modes.values()

    def replace(self, modes: Mapping[str, OnFailure]) -> None:
        """Take these for what the policies say, of which there may be others now."""
        self._modes = modes

    def mode(self, policy_name: str) -> OnFailure:
        """Return what a policy does while the store cannot decide."""
        return self._modes.get(policy_name, OnFailure.ERROR)

    def of(self, policy: Policy | CombinedPolicy) -> StandIn | None:
        """Return who decides for a policy; None where its calls fail."""
        mode = self.mode(policy.name)
        if mode is OnFailure.ERROR:
            return None
        share = PolicyShare(policy, self.states, self._live) if mode is OnFailure.LOCAL_SHARE else None
        return StandIn(policy, mode, self._answers.cell(policy.name, mode.value), share)


def decide_together(asked: Sequence[tuple[StandIn, bytes, int]], *, take: bool) -> list[Decision]:
    """Decide on several calls, each by its policy's, of a state's key and a cost.

    All or nothing; those of one policy and key are one of their sum, by the numbers of the first.
    """
    sums: dict[bytes, int] = {}
    deciding: dict[bytes, StandIn] = {}
    for stand_in, state_key, cost in asked:
        sums[state_key] = sums.get(state_key, 0) + cost
        deciding.setdefault(state_key, stand_in)
    decided = {key: one.look(key, sums[key], take=False) for key, one in deciding.items()}
    if take and all(decision.allowed for decision in decided.values()):
        decided = {key: one.look(key, sums[key], take=True) for key, one in deciding.items()}
    for stand_in, _, _ in asked:
        stand_in.count()
    return [decided[state_key] for _, state_key, _ in asked]
