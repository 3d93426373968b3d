"""Leases: a process borrows some of a hot key's tokens from the store, spends them without asking, returns the rest.

What is lent is taken in the store at once (`sidecar.ratelimit.models.lending`), so the store never gives out more than
the limit. What is decided here is how much to borrow and for how long: plain data and times, no clock and no store.

**Growth.** A key's first Check goes to the store, as ever. One that is seen again within the `ttl` is hot, and its
Check borrows a batch beside its cost: 1 at first, twice as much whenever a batch is spent before the ttl, up to
`max_fraction` of the limit; half of it when less than half was spent. If the store has less, the batch is what it had.
So a key that is called a thousand times a second soon asks a few times a second, and one that has gone cold holds next
to nothing for a ttl at most. Where the store had nothing at all to lend, nothing is borrowed for a ttl: a key that is
at its limit is decided call by call.

**Time.** A lease begins when it is asked for, by the monotonic clock, and ends after the ttl: nobody else's clock is in
it. One of a fixed window also ends with the window, a thousandth of the time early. That is more than two clocks drift
apart that are both being slewed at the most that a kernel allows (500 ppm, adjtimex(2)): what is lent of a window is
spent within it.

**Overshoot.** All that one process may hold of one key at a time is `most`, max_fraction of the limit rounded down. In
any interval, what n processes let through is what they held when it began, n * most at the most, and what they took
from the store since, less what they returned: that is what the limit allows. So leases add n * most to a bucket's
bound, and to the arrival time's, over any interval, and nothing to a fixed window's. Not in it is what a Reset through
another process lets through: it gives back what the others have borrowed and not spent yet, which again is n * most.

**How it fails.** A lease that dies with its process, a loan whose answer is lost, a return that is: their tokens are
not spent, and come back as the limit lets them. What is held by one process is refused by another, for a ttl at most;
the more processes share a small limit, the more of it lies idle.

Rejected: to refill before a batch is spent. It would save one call in a batch the way to the store, and hold more.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_FIRST_BATCH = 1

# Of the time to a window's end: 1 in so many. The essay says why.
_DRIFT = 1_000

_NS_PER_US = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePolicy:
    """How much a process may hold of a key, and for how long."""

    max_fraction: float
    """Of the limit."""
    ttl_us: int

    def most(self, limit: int) -> int:
        """Return the most that a process may hold of a key."""
        # As it is written: 0.29 of 100 is 29, and not the 28 of the nearest double.
        return int(Fraction(str(self.max_fraction)) * limit)


class Lease:
    """What one process has of one key. It holds nothing at first."""

    __slots__ = (
        "batch", "borrowing", "due", "ends_ns", "held", "key", "left", "lent", "most", "overshoot", "remaining",
        "resets_ns", "rests_ns", "state_key", "until_us", "void",
    )  # fmt: skip

    def __init__(self, key: str, state_key: bytes, most: int, ends_ns: int) -> None:
        self.key = key
        self.state_key = state_key
        self.most = most
        self.batch = _FIRST_BATCH
        self.left = 0
        """What may still be spent, until `ends_ns`."""
        self.lent = 0
        """What there was when it was last borrowed; 0 once that has ended."""
        self.ends_ns = ends_ns
        self.remaining = 0
        """What the store had left when it lent."""
        self.resets_ns = 0
        """When all of the limit will be there again, if nothing more is taken."""
        self.until_us = 0
        """Where the window ends that it was lent from, by the store's clock; 0 where there are no windows."""
        self.overshoot = 0
        """What answers that rest on it may have let through above the limit."""
        self.rests_ns = 0
        """Until when nothing is borrowed, since there was nothing."""
        self.borrowing = False
        """Whether the store is being asked."""
        self.due = False
        """Whether its end is awaited."""
        self.held = True
        """Whether what is lent may be spent; else it goes back when it comes."""
        self.void = False
        """Whether what is lent is worth nothing any more, since the key was reset."""

    def wanted(self) -> int:
        """Return how much to borrow, now that what is held does not suffice for a call."""
        return min(self._next_batch, self.most - self.left)

    @property
    def _next_batch(self) -> int:
        """Twice the last, if that was spent before its end."""
        return min(self.most, 2 * self.batch) if self.lent else self.batch

    def take_in(self, lent: int, wanted: int, sent_ns: int, ttl_us: int, *, until_us: int, reset_after_us: int) -> None:
        """Take in what the store has lent, of `wanted`; `reset_after_us` is the way to `until_us`, if that is not 0."""
        if until_us != self.until_us:
            # Another window: what is left of the one before has ended with it.
            self.left, self.until_us = 0, until_us
        self.batch = max(_FIRST_BATCH, lent) if lent < wanted else self._next_batch
        self.resets_ns = sent_ns + reset_after_us * _NS_PER_US
        if not lent:
            self.rests_ns = sent_ns + ttl_us * _NS_PER_US
            return
        self.left += lent
        self.lent = self.left
        life_us = min(ttl_us, reset_after_us - -(-reset_after_us // _DRIFT)) if until_us else ttl_us
        self.ends_ns = sent_ns + life_us * _NS_PER_US

    def end(self) -> int:
        """Hold nothing any more, and return what is to go back."""
        left, lent = self.left, self.lent
        self.left = self.lent = 0
        if 2 * left > lent:
            self.batch //= 2
        return left

    @property
    def is_cold(self) -> bool:
        """Whether so little was spent that the key needs no lease."""
        return self.batch < _FIRST_BATCH
