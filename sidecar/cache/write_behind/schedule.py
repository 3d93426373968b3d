"""What an owner does next with the changes that it has taken. Pure: no await, no clock, no Redis.

**Batches.** Changes are sent in the order in which they were taken, as many together as the policy says and a message
holds. A batch that failed is tried again in halves, so that in the end a change is alone with its fault.

**Whose fault it is.** An origin that refuses a change refuses it for good: it becomes a dead letter at once. An origin
that cannot be reached is at fault itself, however long: changes wait, no attempt is counted, and one call at a time
asks whether it is back. In between (a time-out, a lost answer, what it cannot do as it is configured) an attempt
counts only if the origin has made some other change since the last: an origin that hangs at everything, or lacks its
table, loses nothing. Where an error is clearly about the change, each counts. After `max_attempts` of these it becomes
a dead letter.

**Waiting.** A change that failed waits for a random time up to a bound that doubles with each failure; others go on. As
no two changes of a name are ever taken at the same time, that keeps the order of each name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.origin import blames_configuration
from sidecar.cache.write_behind.changes import UNREADABLE
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from sidecar.cache.write_behind.changes import Taken
    from sidecar.cache.write_behind.policy import BehindPolicy

# Receivers of gRPC messages take four megabytes if nobody tells them otherwise.
BATCH_BYTES = 2 * 1024 * 1024
# Of one partition: beyond that what fails holds up what does not, and both wait in the store.
MOST_TAKEN = 1_000

# The origin was not asked.
_AWAY = frozenset({Reason.ORIGIN_UNAVAILABLE, Reason.ORIGIN_BUSY})
# It was, and whose fault it is cannot be told.
_UNCERTAIN = frozenset({Reason.ORIGIN_TIMED_OUT, Reason.ORIGIN_OUTCOME_UNKNOWN, Reason.DEADLINE_EXCEEDED})
# It never will.
_FINAL = frozenset({Reason.ORIGIN_REFUSED, Reason.CHANGE_EXPIRED}) | UNREADABLE


class Verdict(Enum):
    """What came of a change; the value is what the script is told."""

    STORED = "+"
    DEAD = "x"
    RETRY = "~"


class Settled(NamedTuple):
    """A change and what came of it."""

    taken: Taken
    verdict: Verdict
    reason: str = ""


@dataclass(slots=True)
class _Held:
    """A taken change, and when it may be sent."""

    taken: Taken
    attempts: int
    failures: int
    """Those that counted, and those that did not."""
    due: float
    stored_before: int
    most_beside: int
    """With how many it may be sent at most, itself included."""
    sending: bool = False


class Schedule:
    """The changes that an owner has taken and not settled."""

    def __init__(self, policy: BehindPolicy, draw: Callable[[], float]) -> None:
        self._policy = policy
        self._draw = draw
        self._held: dict[tuple[int, str], _Held] = {}
        self._calls = 0
        self._stored = 0
        self._away_for = 0
        """How many calls in a row have not reached the origin."""
        self._away_until = 0.0

    @property
    def size(self) -> int:
        """How many changes are taken."""
        return len(self._held)

    @property
    def origin_is_away(self) -> bool:
        """Whether the last call has not reached the origin."""
        return self._away_for > 0

    def room(self, partition: int) -> int:
        """Return how many more changes of a partition are to be taken."""
        if self.origin_is_away:
            return 0
        own = [held for held in self._held.values() if held.taken.partition == partition]
        fresh = sum(not held.failures for held in own)
        return max(0, min(self._policy.batch - fresh, MOST_TAKEN - len(own)))

    def add(self, taken: Iterable[Taken], now: float) -> None:
        """Take in what was taken; what is there already stays as it is."""
        for one in taken:
            self._held.setdefault(
                (one.partition, one.id),
                _Held(one, one.attempts, one.attempts, now, self._stored, self._policy.batch),
            )

    def drop(self, partition: int) -> None:
        """Forget the changes of a partition that is another's."""
        for key in [key for key in self._held if key[0] == partition]:
            del self._held[key]

    def next_batch(self, now: float, resting: Container[int] = ()) -> list[Taken]:
        """Return what to send now, if anything, of partitions that do not rest; `answered` must follow."""
        if self._calls >= (1 if self.origin_is_away else self._policy.concurrency) or now < self._away_until:
            return []
        batch: list[_Held] = []
        size, most = 0, self._policy.batch
        for held in self._held.values():
            if held.sending or held.due > now or held.taken.partition in resting:
                continue
            most = min(most, held.most_beside)
            size += held.taken.size
            if batch and (len(batch) >= most or size > BATCH_BYTES):
                break
            batch.append(held)
            held.sending = True
        if batch:
            self._calls += 1
        return [held.taken for held in batch]

    def answered(self, batch: Sequence[Taken], answers: Sequence[SidecarError | None], now: float) -> list[Settled]:
        """Say what came of a batch; what is settled for good stays until `settle` forgets it, and is not sent again."""
        self._calls -= 1
        self._stored += sum(answer is None for answer in answers)
        self._note_origin(answers, now)
        settled = []
        for taken, answer in zip(batch, answers, strict=True):
            held = self._held.get((taken.partition, taken.id))
            if answer is None:
                settled.append(Settled(taken, Verdict.STORED))
            elif answer.reason in _FINAL:
                settled.append(Settled(taken, Verdict.DEAD, _told(answer)))
            elif held is not None:
                counted = self._failed(held, answer, len(batch), now)
                if held.attempts >= self._policy.max_attempts:
                    settled.append(Settled(taken, Verdict.DEAD, _told(answer)))
                else:
                    held.sending = False
                    if counted:
                        settled.append(Settled(taken, Verdict.RETRY, _told(answer)))
        return settled

    def settle(self, settled: Iterable[Settled]) -> None:
        """Forget what is settled for good, once the store knows."""
        for taken, verdict, _ in settled:
            if verdict is not Verdict.RETRY:
                self._held.pop((taken.partition, taken.id), None)

    def wake_at(self, resting: Container[int] = ()) -> float | None:
        """Return when there may be something to send, of what is taken and is not under way; None for nothing."""
        waiting = (one for one in self._held.values() if not one.sending and one.taken.partition not in resting)
        due = min((held.due for held in waiting), default=None)
        return None if due is None else max(due, self._away_until)

    def _failed(self, held: _Held, error: SidecarError, batch: int, now: float) -> bool:
        """Note a failure; return whether it counts as an attempt."""
        held.failures += 1
        held.most_beside = max(1, batch // 2)
        held.due = now + self._delay(held.failures)
        uncertain = error.reason in _UNCERTAIN or blames_configuration(error)
        counts = self._stored > held.stored_before if uncertain else error.reason not in _AWAY
        held.stored_before = self._stored
        held.attempts += counts
        return counts

    def _note_origin(self, answers: Sequence[SidecarError | None], now: float) -> None:
        errors = [answer for answer in answers if answer is not None]
        away = len(errors) == len(answers) and all(error.reason in _AWAY | _UNCERTAIN for error in errors)
        # One change alone that ends so may be at fault itself; the others are not to wait for it.
        alone = len(errors) == 1 and away and (errors[0].reason in _UNCERTAIN or blames_configuration(errors[0]))
        if away and not alone:
            self._away_for += 1
            self._away_until = now + self._delay(self._away_for)
        elif not away:
            self._away_for = 0
            self._away_until = 0.0

    def _delay(self, failures: int) -> float:
        bound: int = min(self._policy.retry_cap_ms, self._policy.retry_base_ms << min(failures - 1, 30))
        # At least half of it, so that a change does not use up its attempts by a run of luck.
        return bound * (0.5 + 0.5 * self._draw()) / 1_000


def _told(error: SidecarError) -> str:
    """Return why a change was not made, as a dead letter says it: the reason and the origin's code, no text."""
    code = error.metadata.get("code", "")
    return f"{error.reason.name} {code}".strip()
