"""Refusals of the store, remembered until they end, so that a key that is refused costs the store nothing.

Who is limited most asks most: a caller in a loop is refused a thousand times a second, and each time the store would
run a script to say so. But a refusal says when the same cost could be allowed at the earliest. Until then every answer
to that cost, or a larger one, is known.

**Time.** The wait counts from the store's time of the refusal, which the script returns, and ends early rather than
late (`waits.py`).

**What an answer says.** It is the store's own, `retry_after` and `reset_after` less by the time that has passed,
`remaining` as it was. A cost that is larger than the one refused may have to wait longer than it is told.

**How it fails.** What gives an allowance back ends a refusal early. A Reset through this process is seen: it drops what
is remembered of its key when it is planned, so that a Check behind it in the same batch goes to the store, and again
when it is answered; and what was asked before a Reset is not remembered after it. A Reset through another process is
not seen: the key then stays refused here until the wait is over, which for a limit per year may be months. So this is
off by default, and for policies whose keys nobody resets a policy's `cache_refusals` turns it on. A reload forgets
everything, since policies may have changed. An override's own refusals are not remembered, for it may be deleted; when
one is set or deleted, what is remembered of its key is dropped in each process as it hears of that, within a second.
Shadow mode refuses nothing, so nothing is remembered under it.

Rejected: to tell the other processes of a Reset. It would be one more thing that can be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.waits import Waits, monotonic_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.decision import Decision
    from sidecar.telemetry.metrics import Cell, Metrics

# Some 0.5 kB each: 5 MB at the most. A refusal that is forgotten is asked for again.
MOST_REFUSALS = 10_000


class _Refusal(NamedTuple):
    cost: int
    decision: Decision


class Refusals:
    """What is remembered of all policies, by their keys in the store."""

    def __init__(
        self,
        *,
        clock: StoreClock,
        metrics: Metrics,
        names: Iterable[str],
        monotonic_us: Callable[[], int] = monotonic_us,
        most: int = MOST_REFUSALS,
    ) -> None:
        self._waits: Waits[_Refusal] = Waits(clock=clock, most=most, now_us=monotonic_us)
        self._answers = metrics.counter(
            "sidecar_ratelimit_remembered_refusals",
            "Checks refused without the store, since it had refused before, by policy",
            "policy",
        )
        self._names = frozenset(names)
        self.drops = 0
        """How often something was dropped: what was asked before is not to be remembered after."""

    def __len__(self) -> int:
        return len(self._waits)

    def replace(self, names: Iterable[str]) -> None:
        """Remember the refusals of these policies from now on, and forget all that there are."""
        self._names = frozenset(names)
        self._waits.clear()
        self.drops += 1

    def remembers(self, policy_name: str) -> bool:
        """Return whether a policy's refusals are to be remembered."""
        return policy_name in self._names

    def of(self, policy_name: str) -> PolicyRefusals | None:
        """Return what is remembered of a policy; None where nothing is to be."""
        return PolicyRefusals(self, self._answers.cell(policy_name)) if self.remembers(policy_name) else None

    def find(self, state_key: bytes, cost: int) -> Decision | None:
        """Return the refusal that a call would get, if that is known."""
        wait = self._waits.find(state_key)
        if wait is None or cost < wait.known.cost:
            return None
        decision, passed_us = wait.known.decision, wait.passed_us
        return decision._replace(
            retry_after_us=wait.left_us,
            reset_after_us=max(0, decision.reset_after_us - passed_us),
            limits=tuple(
                [
                    part._replace(
                        retry_after_us=max(0, part.retry_after_us - passed_us),
                        reset_after_us=max(0, part.reset_after_us - passed_us),
                    )
                    for part in decision.limits
                ]
            ),
        )

    def note(self, state_key: bytes, cost: int, decision: Decision, store_us: int) -> None:
        """Remember a refusal that the store has decided on at its time `store_us`."""
        self._waits.note(state_key, _Refusal(cost, decision), decision.retry_after_us, store_us)

    def drop(self, state_key: bytes) -> None:
        """Forget a key, whose allowance has come back."""
        self._waits.drop(state_key)
        self.drops += 1


class PolicyRefusals:
    """What is remembered of one policy."""

    def __init__(self, all_of_them: Refusals, answers: Cell) -> None:
        self._all = all_of_them
        self._answers = answers

    def find(self, state_key: bytes, cost: int) -> Decision | None:
        """Return the refusal that a Check would get, if that is known, and count it."""
        decision = self._all.find(state_key, cost)
        if decision is not None:
            self._answers.value += 1
        return decision

    def noting(self, state_key: bytes, cost: int) -> Callable[[Decision, int], None]:
        """Return what is to be told of a Check's decision, with the store's time; to be made before it is sent."""
        drops = self._all.drops

        def note(decision: Decision, store_us: int) -> None:
            if not decision.allowed and drops == self._all.drops:
                self._all.note(state_key, cost, decision, store_us)

        return note

    def drop(self, state_key: bytes) -> None:
        """Forget a key, whose allowance has come back."""
        self._all.drop(state_key)
