"""Reservations: costs that are known only afterwards; as pure functions over plain data, which the scripts equal.

An export is limited by its rows, a prompt by its tokens, and nobody knows how many there will be. To check the cost
before is to guess it, and to check it afterwards is too late. So a caller reserves what it may need, does its work, and
commits what that came to.

**A reservation is a hold, not a charge.** Nothing is taken from the limits when it is made: it is written down beside
them, with when it ends by the store's clock. Whatever is asked of the limits meanwhile is decided as if its cost and
all holds were taken together, but only the cost is charged. To commit ends the hold and charges what came of it; to
cancel ends it and charges nothing. A hold that its caller forgets, or dies with, ends by itself, and counts no more:
there is nothing to give back, since nothing was taken.

To charge at once and to give back later would need no second key. But a cost that was charged is a moment in a log, a
count in a sub-window, a part of a rate: what is given back after the window has moved on would be given twice, and what
a dead caller had charged would never be. And what is charged at the commit counts from then, when it was spent, so no
window ever holds more than its limit of what was committed.

**Room.** Of each limit there is room for what its state leaves less all that is held. As checks and reservations take
only from there, what is charged and what is held are together never above the limit; so a commit of no more than was
reserved finds all of its room, and one of more takes what is free besides and says how much it was short of. It is
short as well when the limit has shrunk under it: after a change of the policy, an override, a jump of the clock, or
charges that were made while the store was gone. Then what others hold comes first, and the rest is charged. What was
charged is the same on all limits of a policy.

**Waiting.** Who is refused could be allowed once the limits have given enough back, or once enough holds have ended, or
some of both. The wait that it is told is the earliest such moment, if no hold is committed or cancelled and nothing is
taken: the least, over the ends of the holds, of the later of an end and the limit's own wait for the cost and what is
held after that end. Never later than that of the last hold, where only these are in the way.

**What is written.** A refusal takes nothing, and limits that refuse even alone do what they do alone (`together`). A
hold that is made leaves the limits as they are.

**Time.** Holds are leases of what they hold (`sidecar.ratelimit.slots_model`): one that ends now has ended, one that a
caller has named is found again, renewed, when it asks again, and after the clock went back none lasts longer than the
longest that was asked for. Holds that have ended stay until the next call that writes, and lie there uncounted.

**A changed policy** finds the holds as they are. While there are more than it allows none is made; those that there are
can be committed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sidecar.ratelimit.slots_model import NAMED, Lease, Leases, tidied, ttl_ms_of, with_lease, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.model import Step, Verdict


class Decide(Protocol):
    """The model of one limit, with its policy and the time."""

    def __call__(self, state: Any, cost: int, *, commit: bool) -> Step[Any]:
        """Decide on a cost; without `commit` nothing is written."""
        ...


class One(NamedTuple):
    """A limit, and what is stored of it."""

    decide: Decide
    most: int
    """The most that can be taken at once."""
    state: Any


class Asked(NamedTuple):
    """A call on one policy: its limits, and what is held on the key."""

    limits: Sequence[One]
    holds: Leases | None
    cost: int


class After(NamedTuple):
    """What each limit says, and what is stored after it."""

    verdicts: tuple[Verdict, ...]
    states: tuple[Any, ...]
    ttls_ms: tuple[int | None, ...]
    """The TTL that is set with each state; None: the state is not written."""
    holds: Leases | None
    """None: no key."""
    holds_ttl_ms: int | None
    """The TTL that is set with the holds; None: they are not written, or the key is removed."""


class Became(IntEnum):
    """What became of a Reserve; the values are the script's."""

    REFUSED = 0
    HELD = 1
    OTHER_COST = 2
    """The caller has a hold of another cost under that name."""
    TOO_MANY = 3


class Reserved(NamedTuple):
    """What became of a Reserve."""

    became: Became
    expires_after_us: int
    """How long the hold lasts; 0 if there is none."""
    after: After | None
    """None: nothing was changed, and nothing is said of the limits."""


class Committed(NamedTuple):
    """What became of a Commit."""

    charged: int
    after: After | None
    """None: there is no such hold, and nothing was changed."""


def check(calls: Sequence[Asked], now_us: int, *, commit: bool) -> list[After]:
    """Decide on one call against policies with holds beside their limits: all are charged, or none."""
    held = [live(asked.holds, now_us) for asked in calls]
    looks = [
        tuple([look(limit, holds, now_us, asked.cost) for limit in asked.limits])
        for asked, holds in zip(calls, held, strict=True)
    ]
    if not commit:
        return [_unchanged(asked, verdicts) for asked, verdicts in zip(calls, looks, strict=True)]
    allowed = all(verdict.allowed for verdicts in looks for verdict in verdicts)
    return [
        _charged(asked, holds, now_us) if allowed else _refused(asked, holds, now_us, verdicts)
        for asked, holds, verdicts in zip(calls, held, looks, strict=True)
    ]


def reserve(asked: Asked, now_us: int, hold_id: str, *, length_us: int, most: int) -> Reserved:
    """Hold a cost (1 to the smallest limit) for `length_us`, or give a named caller the hold that it has."""
    holds = live(asked.holds, now_us)
    mine = holds.by_id.get(hold_id) if holds and hold_id.startswith(NAMED) else None
    if mine is None:
        verdicts = tuple([look(limit, holds, now_us, asked.cost) for limit in asked.limits])
        if not all(verdict.allowed for verdict in verdicts):
            return Reserved(Became.REFUSED, 0, _refused(asked, holds, now_us, verdicts))
        if holds is not None and len(holds.by_id) >= most:
            return Reserved(Became.TOO_MANY, 0, None)
    elif mine.slots != asked.cost:
        return Reserved(Became.OTHER_COST, 0, None)
    ends_us = max(now_us + length_us, mine.ends_us if mine else 0)
    after = with_lease(holds, hold_id, Lease(asked.cost, ends_us), length_us)
    verdicts = tuple([look(limit, after, now_us, 0) for limit in asked.limits])
    stored = After(
        verdicts=verdicts,
        states=tuple([limit.state for limit in asked.limits]),
        ttls_ms=(None,) * len(asked.limits),
        holds=after,
        holds_ttl_ms=ttl_ms_of(after, now_us),
    )
    return Reserved(Became.HELD, ends_us - now_us, stored)


def commit(asked: Asked, now_us: int, hold_id: str, *, reserved: int) -> Committed:
    """End a hold of `reserved`, and charge the cost, of any size, as far as there is room beside the other holds."""
    holds = live(asked.holds, now_us)
    mine = holds.by_id.get(hold_id) if holds else None
    if holds is None or mine is None or mine.slots != reserved:
        return Committed(0, None)
    others = without(holds, hold_id)
    room = min(look(limit, others, now_us, 0).remaining for limit in asked.limits)
    charged = min(asked.cost, room)
    steps = [limit.decide(limit.state, charged, commit=True) for limit in asked.limits]
    return Committed(charged, _stored(steps, others, now_us, ttl_ms_of(others, now_us) if others else None))


def live(holds: Leases | None, now_us: int) -> Leases | None:
    """Return the holds that count now."""
    return tidied(holds, now_us)[0]


def look(limit: One, holds: Leases | None, now_us: int, cost: int) -> Verdict:
    """Say how a limit stands beside holds, all of which count now, and whether it has room for a cost."""
    held = holds.used if holds else 0
    alone = limit.decide(limit.state, 0, commit=False).verdict
    wait_us = _wait_us(limit, holds, now_us, cost) if cost > 0 else 0
    return _beside(alone, held, _last_us(holds, now_us))._replace(allowed=wait_us == 0, retry_after_us=wait_us)


def _wait_us(limit: One, holds: Leases | None, now_us: int, cost: int) -> int:
    """Return how long until there is room for a cost, at most the limit, beside what is then held."""
    left = holds.used if holds else 0
    ended_us = 0
    waits = []
    for slots, ends_us in [
        (0, now_us),
        *sorted(holds.by_id.values() if holds else (), key=lambda lease: lease.ends_us),
    ]:
        left, ended_us = left - slots, ends_us - now_us
        if cost + left <= limit.most:
            verdict = limit.decide(limit.state, cost + left, commit=False).verdict
            waits.append(max(ended_us, verdict.retry_after_us))
    return min(waits)


def _charged(asked: Asked, holds: Leases | None, now_us: int) -> After:
    steps = [limit.decide(limit.state, asked.cost, commit=True) for limit in asked.limits]
    return _stored(steps, holds, now_us, tidied(asked.holds, now_us)[1])


def _refused(asked: Asked, holds: Leases | None, now_us: int, verdicts: tuple[Verdict, ...]) -> After:
    """Take nothing, and have each limit that refuses even alone do what it does then."""
    held = holds.used if holds else 0
    steps = []
    for limit in asked.limits:
        weight = min(asked.cost + held, limit.most) if asked.cost > 0 else 0
        alone = limit.decide(limit.state, weight, commit=False)
        steps.append(alone if alone.verdict.allowed else limit.decide(limit.state, weight, commit=True))
    return _stored(steps, holds, now_us, tidied(asked.holds, now_us)[1])._replace(verdicts=verdicts)


def _stored(steps: Sequence[Step[Any]], holds: Leases | None, now_us: int, holds_ttl_ms: int | None) -> After:
    held, last_us = holds.used if holds else 0, _last_us(holds, now_us)
    return After(
        verdicts=tuple([_beside(step.verdict, held, last_us) for step in steps]),
        states=tuple([step.state for step in steps]),
        ttls_ms=tuple([step.ttl_ms for step in steps]),
        holds=holds,
        holds_ttl_ms=holds_ttl_ms,
    )


def _unchanged(asked: Asked, verdicts: tuple[Verdict, ...]) -> After:
    states = tuple([limit.state for limit in asked.limits])
    return After(verdicts, states, (None,) * len(asked.limits), asked.holds, None)


def _beside(alone: Verdict, held: int, last_us: int) -> Verdict:
    return alone._replace(remaining=max(0, alone.remaining - held), reset_after_us=max(alone.reset_after_us, last_us))


def _last_us(holds: Leases | None, now_us: int) -> int:
    """Return in how long the last hold ends; 0 if nothing is held."""
    return max(lease.ends_us for lease in holds.by_id.values()) - now_us if holds else 0
