"""The keys that are seen most, in bounded memory: pure data, no clock and no store.

A rate limit may have millions of keys, and an operator wants to know the twenty that run into it most; a cache has as
many, and only the hot ones are worth a copy in the process. A counter for each key has no bound, and a metric label for
each key neither. *Space-saving* (Metwally, Agrawal and El Abbadi,
"Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005) keeps a fixed number of counters. A key
that has one is counted. A key that has none, while all are taken, takes over the least counter, with its count: it may
have been seen so often before. So a count is never too low, and says by how much it may be too high; and a key that
was seen more often than an n-th of all times, with n counters, is among them.

Counting is O(1): counters of the same count are kept together, so the least is at hand, and a count that grows by one
moves its key to the next.

Several processes count each for itself. Their tallies are added up: what a tally does not list, it has seen at most
`floor` times. The bounds hold for the sums too.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# With so many, every key that has more than 0.4 % of all is found. Some 50 kB for each sketch.
CAPACITY = 256


class Count(NamedTuple):
    """How often a key was seen."""

    key: str
    most: int
    """No more often than that."""
    excess: int
    """And no less often than `most` without this."""


class Tally(NamedTuple):
    """Counts that can be added up."""

    counts: Sequence[Count]
    """The largest, in falling order."""
    floor: int
    """A key that is not among them was seen so often at the most."""
    total: int
    """How often any key was seen."""


EMPTY = Tally((), 0, 0)

_COUNTER = itemgetter(1)


class SpaceSaving:
    """Counters for the keys that are seen most."""

    __slots__ = ("_alike", "_capacity", "_counters", "_least", "total")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._counters: dict[str, tuple[int, int]] = {}
        """By key: how often it was seen at the most, and by how much that may be too high."""
        self._alike: dict[int, dict[str, None]] = {}
        """By count: the keys that have it, those that had it first before the others."""
        self._least = 0
        self.total = 0

    def add(self, key: str) -> int:
        """Count a key once; return how often it was seen at the least."""
        self.total += 1
        counter = self._counters.get(key)
        if counter is not None:
            count, excess = counter
            self._leave(key, count)
        elif len(self._counters) < self._capacity:
            count = excess = 0
        else:
            count = excess = self._least
            evicted = next(iter(self._alike[count]))
            del self._counters[evicted]
            self._leave(evicted, count)
        count += 1
        self._counters[key] = (count, excess)
        self._alike.setdefault(count, {})[key] = None
        # The one that left the least may have been the last of it; then this one is among the next.
        if count == 1 or self._least not in self._alike:
            self._least = count
        return count - excess

    def _leave(self, key: str, count: int) -> None:
        alike = self._alike[count]
        del alike[key]
        if not alike:
            del self._alike[count]

    def tally(self, most: int) -> Tally:
        """Return the largest counts, so many at the most."""
        floor = self._least if len(self._counters) == self._capacity else 0
        # The counters are compared as they are: this is done for every policy every few seconds.
        largest = sorted(self._counters.items(), key=_COUNTER, reverse=True)
        if len(largest) > most:
            floor = max(floor, largest[most][1][0])
        return Tally([Count(key, *counter) for key, counter in largest[:most]], floor, self.total)


def added(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies that were made apart; it lists every key that one of them does."""
    tallies = tuple(tallies)
    floor = sum(tally.floor for tally in tallies)
    # What a tally does not list, it may have seen as often as its floor.
    most: dict[str, int] = {}
    excess: dict[str, int] = {}
    for tally in tallies:
        for count in tally.counts:
            most[count.key] = most.get(count.key, floor) + count.most - tally.floor
            excess[count.key] = excess.get(count.key, floor) + count.excess - tally.floor
    counts = [Count(key, most[key], excess[key]) for key in most]
    return cut(Tally(counts, floor, sum(tally.total for tally in tallies)), len(counts))


def cut(tally: Tally, most: int) -> Tally:
    """Return the largest counts of a tally, in falling order; what is left out raises the floor."""
    counts = sorted(tally.counts, key=lambda count: (-count.most, count.key))
    floor = max([tally.floor, *[count.most for count in counts[most : most + 1]]])
    return Tally(counts[:most], floor, tally.total)
