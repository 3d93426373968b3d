"""How much of the store's memory a cache takes, and what of it is to go. Pure: no await, no clock, no store.

The store says how much memory all of its keys take together, and of a single key how much that takes; it keeps no sums
by prefix. So a cache's share is estimated from samples: of keys that are met at random, how many are the cache's, and
of some of them, how large they and the others are. Where a cache has the store for itself the estimate is exact, and
counts the server's own overhead too.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# What was seen counts less with each sample that is newer: twenty samples, of a hundred keys each, make the estimate.
_KEPT = 0.95

# Room is made from here on, so that what is written until the next look still fits below the bound.
BEGIN_AT = 0.9

# Between two looks at the memory, while it fills quickly and while it does not.
NEAR_SECONDS = 0.02
FAR_SECONDS = 0.25

# Of a sample no more than its coldest quarter goes, so that what is used often is met again and again and stays; up to
# three quarters as the bound comes nearer, for then it matters more that memory comes free.
_LEAST_PART = 0.25
_MOST_PART = 0.75


class StoreMemory(NamedTuple):
    """What the store says of its memory."""

    used_bytes: int
    max_bytes: int
    """0: it has no bound."""
    counts_uses: bool
    """Whether it knows how often a key was used (`maxmemory-policy` with lfu); else it knows when it last was."""


class MemoryBound(NamedTuple):
    """The most that a cache is to take: so many bytes, or a share of the store's bound."""

    size_bytes: int = 0
    percent: int = 0

    def within(self, memory: StoreMemory) -> int | None:
        """Return it in bytes; None for a share of a store that has no bound."""
        if self.size_bytes:
            return self.size_bytes
        return memory.max_bytes * self.percent // 100 or None


class Sampled(NamedTuple):
    """A key of a cache that was met."""

    key: bytes
    warmth: int
    """The more it is used, the more."""


def memory_of(info: bytes) -> StoreMemory:
    """Read the answer to INFO memory; what it does not say counts as 0."""
    lines = (line.partition(b":") for line in info.splitlines())
    said = {name: value for name, _, value in lines}
    return StoreMemory(
        int(said.get(b"used_memory", 0)),
        int(said.get(b"maxmemory", 0)),
        said.get(b"maxmemory_policy", b"").endswith(b"lfu"),
    )


class Met(NamedTuple):
    """Keys of one kind that were met: how many, and of how many of them it is known how large they are together."""

    keys: float = 0
    sized: float = 0
    sized_bytes: float = 0

    def and_now(self, met: Met) -> Met:
        """Return this, which is older, with what was met now."""
        return Met(*(old * _KEPT + new for old, new in zip(self, met, strict=True)))

    def less(self, part: float) -> Met:
        """Return this without a part of it."""
        return Met(*(count * (1 - part) for count in self))


class Share:
    """The share of a cache, as far as it is known."""

    def __init__(self) -> None:
        self._own = Met()
        self._others = Met()

    def observe(self, own: Met, others: Met) -> None:
        """Take in a sample."""
        self._own = self._own.and_now(own)
        self._others = self._others.and_now(others)

    def forget(self, entries: int, taken_bytes: int) -> None:
        """Take in that entries were evicted of a cache that took so much."""
        self._own = self._own.less(min(1.0, entries * self.mean_bytes / max(1, taken_bytes)))

    def of(self, used_bytes: int) -> int:
        """Return how many of so many bytes are the cache's; all of them, as long as nothing is known."""
        own = self._own.keys * self._mean_of(self._own)
        others = self._others.keys * self._mean_of(self._others)
        return int(used_bytes * own / (own + others)) if own + others else used_bytes

    @property
    def mean_bytes(self) -> int:
        """How large an entry is, by and large; at least 1."""
        return max(1, round(self._mean_of(self._own)))

    def _mean_of(self, kind: Met) -> float:
        if not kind.sized:  # as large as any
            kind = Met(0, self._own.sized + self._others.sized, self._own.sized_bytes + self._others.sized_bytes)
        return kind.sized_bytes / kind.sized if kind.sized else 0.0


def seconds_to_next_look(used_bytes: int, before_bytes: int, seconds: float, bound_bytes: int) -> float:
    """Return when to look again: well before the bound is met, if memory goes on to fill as in the last `seconds`."""
    growth = max(used_bytes - before_bytes, 1) / seconds
    return min(max((bound_bytes - used_bytes) / growth / 2, NEAR_SECONDS), FAR_SECONDS)


def to_evict(sample: Iterable[Sampled], mean_bytes: int, taken_bytes: int, bound_bytes: int) -> list[bytes]:
    """Return what is to go of a sample of a cache that takes so much: the coldest, and no more than there must."""
    begin_bytes = int(bound_bytes * BEGIN_AT)
    excess = taken_bytes - begin_bytes
    if excess <= 0:
        return []
    coldest = sorted(sample, key=attrgetter("warmth"))
    need = min(1.0, excess / max(1, bound_bytes - begin_bytes))
    part = _LEAST_PART + (_MOST_PART - _LEAST_PART) * need
    most = min(-(-excess // mean_bytes), max(1, int(len(coldest) * part)))
    return [one.key for one in coldest[:most]]
