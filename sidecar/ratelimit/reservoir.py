"""A bounded sample of events, each with the same chance to be in it: pure data, with its own dice.

Each event gets a random priority, and the sample is those of the lowest. That is a sample as the classic reservoir
gives one (Vitter, "Random Sampling with a Reservoir", 1985), with one more virtue: samples that several processes took
apart are made one by the same rule, and each event of all of them has the same chance, however many each has seen. An
event that does not get in costs one random number and a comparison.
"""

from __future__ import annotations

import random
from heapq import heappush, heapreplace, nsmallest
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Enough to see what kind of keys it is about, little enough to be read by a person.
SAMPLE = 100

# No two events of a sample meet in one.
_PRIORITY_BITS = 48


class Sampled(NamedTuple):
    """One event."""

    priority: int
    """What decides on its being in the sample; the lowest are."""
    key: str
    at_us: int


def _dice() -> int:
    return random.getrandbits(_PRIORITY_BITS)


class Reservoir:
    """A sample of what is offered to it."""

    __slots__ = ("_dice", "_kept", "_most")

    def __init__(self, most: int = SAMPLE, dice: Callable[[], int] = _dice) -> None:
        self._most = most
        self._dice = dice
        # A heap whose first is the highest priority, negated.
        self._kept: list[Sampled] = []

    def offer(self, key: str, at_us: int) -> None:
        """Take an event in, or not."""
        priority = self._dice()
        if len(self._kept) < self._most:
            heappush(self._kept, Sampled(-priority, key, at_us))
        elif priority < -self._kept[0].priority:
            heapreplace(self._kept, Sampled(-priority, key, at_us))

    def sample(self) -> list[Sampled]:
        """Return the events that are in, by priority."""
        return sorted(kept._replace(priority=-kept.priority) for kept in self._kept)


def as_one(samples: Iterable[Iterable[Sampled]], most: int = SAMPLE) -> list[Sampled]:
    """Return the sample of all events that samples taken apart are of, by priority."""
    return nsmallest(most, chain.from_iterable(samples))
