"""What this process has seen of each policy: the keys that it refused most, and how the candidate did.

Counting a refusal is O(1), and an allowed call costs a comparison. Nothing here grows with the keys (`sketch.py`,
`reservoir.py`). What has been seen is told to the others by `reporter.py`.

Whom a policy limits most changes, and an operator asks about now. So refusals are counted in turns of ten minutes, and
what is told is of the turn under way and the one before: of the last ten to twenty minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.candidate import OUTCOMES, Trial
from sidecar.ratelimit.decision import Enforcement
from sidecar.ratelimit.description import version_of
from sidecar.sketch import SpaceSaving, added, cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.decision import Decision
    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.sketch import Tally
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

TURN_US = 600_000_000

# Of each process, so many of its counters are told to the others: three times what is reported of all together.
TOLD = 64


class Seen(NamedTuple):
    """What this process has to say of a policy."""

    tally: Tally
    since_us: int
    """When the turn before began, by the store's clock."""
    trial: Trial | None


class _Turns:
    """The refusals of one policy: those of this turn, and of the one before."""

    __slots__ = ("before", "now", "since_us", "turned_us")

    def __init__(self, now_us: int) -> None:
        self.now = SpaceSaving()
        self.before = SpaceSaving()
        self.turned_us = self.since_us = now_us

    def turn(self, now_us: int) -> None:
        """Begin the next turn, if it is time; a clock that went back is no reason."""
        if now_us - self.turned_us >= TURN_US:
            # After a long pause neither of them is of the last twenty minutes.
            recent = now_us - self.turned_us < 2 * TURN_US
            self.before = self.now if recent else SpaceSaving()
            self.since_us = self.turned_us if recent else now_us
            self.now = SpaceSaving()
            self.turned_us = now_us


class Observations:
    """What this process has seen, by the policies' names."""

    def __init__(self, *, keys: KeySpace, clock: StoreClock, metrics: Metrics, personal: Iterable[str] = ()) -> None:
        self._keys = keys
        self._clock = clock
        self._compared = metrics.counter(
            "sidecar_ratelimit_candidate_checks",
            "Checks that a candidate was tried beside, by policy and how it and the live rule decided",
            "policy",
            "outcome",
        )
        self._personal = frozenset(personal)
        self._refused: dict[str, _Turns] = {}
        self._trials: dict[str, Trial] = {}

    def replace(self, personal: Iterable[str]) -> None:
        """Take these policies for those whose keys are personal."""
        self._personal = frozenset(personal)

    def keep(self, names: Iterable[str]) -> None:
        """Forget what was seen of all other policies."""
        kept = frozenset(names)
        for seen in (self._refused, self._trials):
            for name in seen.keys() - kept:
                del seen[name]

    def is_personal(self, policy_name: str) -> bool:
        """Return whether a policy's keys must not be told as they are."""
        return policy_name in self._personal

    # --- what is seen ---

    def decided(self, policy_name: str, key: str, decision: Decision) -> None:
        """Take in what became of a Check, or of a Reserve."""
        # While the store is gone, a refusal of a policy that then refuses everything says nothing about the key.
        if not decision.allowed and decision.enforcement is not Enforcement.FAILED_CLOSED:
            self.refused(policy_name, key)

    def refused(self, policy_name: str, key: str) -> None:
        """Count a refusal."""
        turns = self._refused.get(policy_name)
        if turns is None:
            turns = self._refused[policy_name] = _Turns(self._clock.micros())
        turns.now.add(key)

    def trial(self, policy_name: str, candidate: Policy | CombinedPolicy | None) -> Trial | None:
        """Return the trial of a policy's candidate: the one under way, or a new one if the candidate is another."""
        if candidate is None:
            self._trials.pop(policy_name, None)
            return None
        version = version_of(candidate)
        trial = self._trials.get(policy_name)
        if trial is None or trial.version != version:
            cells = {outcome: self._compared.cell(policy_name, outcome) for outcome in OUTCOMES}
            trial = Trial(candidate, version=version, keys=self._keys, clock=self._clock, cells=cells)
            self._trials[policy_name] = trial
        return trial

    # --- what is told ---

    def names(self) -> Iterator[str]:
        """Return the policies of which there is anything to say."""
        now_us = self._clock.micros()
        for name in sorted(self._refused.keys() | self._trials.keys()):
            turns = self._refused.get(name)
            if turns is not None:
                turns.turn(now_us)
            if name in self._trials or (turns is not None and turns.now.total + turns.before.total):
                yield name

    def of(self, policy_name: str) -> Seen:
        """Return what was seen of a policy."""
        now_us = self._clock.micros()
        turns = self._refused.get(policy_name) or _Turns(now_us)
        turns.turn(now_us)
        tally = added([turns.now.tally(TOLD), turns.before.tally(TOLD)])
        return Seen(cut(tally, TOLD), turns.since_us, self._trials.get(policy_name))
