"""Which partitions of a cache a process sends the changes of: its share, given up and taken over between batches.

All processes that send a cache's changes are in a sorted set of the store, each until a time of its clock that it moves
on while it lives. So each knows how many they are and how many stand before it, and thereby its share: the partitions
are dealt out evenly, and those who stand first have one more where that does not go up. All shares together are all
partitions, once everybody has looked.

Who has more than its share lets some rest: nothing more of them is taken or sent, and once nothing is under way they
are let go. Who has less takes what nobody has. Nothing is ever taken from an owner whose time is not over, so a
hand-over sends no change twice; how a partition is owned, and why an owner who has lost it does no harm, is as ever
(`__init__`).

An owner that dies is not renewed. All others know when its time is over, and look again just then.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from sidecar.store.keys import BEHIND_PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from sidecar.cache.write_behind.partitions import Partitions
    from sidecar.call import Call

# Of a lease that is renewed three times, one renewal may be lost and another come late.
_RENEWALS = 3
# How soon an owner hears of what others want of it, however long its lease.
_MOST_SECONDS = 2.0
# How soon it looks again who lacks some of its share, as a part of the lease.
_LOOKS = 10
_LEAST_SECONDS = 0.02


class Renewed(NamedTuple):
    """What has changed with a renewal."""

    lost: frozenset[int]
    gained: frozenset[int]
    hurried: frozenset[int]
    """The partitions whose changes somebody wants sent at once."""


def share_of(senders: int, before: int) -> int:
    """Return how many partitions a process has of which so many are there, and so many stand before it."""
    each, more = divmod(BEHIND_PARTITIONS, senders)
    return each + (before < more)


class Ownership:
    """The partitions that a process owns of one cache."""

    def __init__(self, partitions: Partitions, owner: str, lease_ms: int, call: Callable[[str], Call]) -> None:
        self._partitions = partitions
        self._owner = owner
        self._lease_ms = lease_ms
        self._call = call
        self._offset_ms = 0.0
        self.fences: dict[int, bytes] = {}
        self.resting: set[int] = set()
        """Those that are to be let go: nothing more is done for them."""
        self.until = 0.0
        """How long what is owned is certain to be, if it is not lost."""
        self.renew_at = 0.0
        self.leaves = False
        """Whether this process is about to end: it does not count among those who share, and takes no more."""
        self.alone: bool | None = None
        """Whether a process that leaves is the last, and takes all there is; None until that is known."""

    async def renew(self, now: float) -> Renewed:
        """Renew what is owned, and take or let rest what the share says; raises the store's errors."""
        lease = self._lease_ms / 1_000
        regularly = min(lease / _RENEWALS, _MOST_SECONDS)
        # Also where it fails: the next attempt is a while away.
        self.renew_at = now + (regularly if self.fences else min(regularly, max(0.05, lease / _LOOKS)))
        lost = self.lapsed(now)
        share = await self._share()
        held = await self._partitions.hold(self._owner, self._lease_ms, self._call("hold"))
        fences, hurried = dict(held.fences), held.hurried
        lacking = share - len(fences)
        if lacking > 0 and held.free:
            wanted = random.sample(held.free, min(lacking, len(held.free)))
            taken = await self._partitions.hold(self._owner, self._lease_ms, self._call("hold"), wanted)
            fences |= taken.fences
            hurried |= taken.hurried  # each asking is told once
        if not held.failed:
            self.until = now + lease
        # What the store did not answer for is ours as long as before.
        gone = {number for number, fence in self.fences.items() if fences.get(number, fence) != fence}
        gone |= {number for number in self.fences if number not in fences and number not in held.failed}
        lost |= gone
        self.lose(gone)
        gained = frozenset(fences.keys() - self.fences.keys())
        self.fences |= fences
        self._rest(len(self.fences) - share)
        soonest = max(_LEAST_SECONDS, held.soonest_ms / 1_000) if held.soonest_ms else regularly
        looks = max(0.05, lease / _LOOKS) if len(self.fences) < share else regularly
        self.renew_at = now + min(regularly, soonest, looks)
        return Renewed(frozenset(lost), gained, hurried)

    def lapsed(self, now: float) -> set[int]:
        """Lose all whose time is over; return what that was."""
        if now < self.until:
            return set()
        lost = set(self.fences)
        self.lose(lost)
        return lost

    def lose(self, numbers: Iterable[int]) -> None:
        """Take in that partitions are another's, or nobody's."""
        for number in list(numbers):
            self.fences.pop(number, None)
            self.resting.discard(number)

    def store_ms(self) -> int:
        """Return the store's time, as its last answer has it; never ahead of it."""
        return int(time.monotonic() * 1_000 + self._offset_ms)

    async def let_go(self, numbers: Collection[int]) -> None:
        """Let others have partitions, of which nothing is under way; raises the store's errors.

        They are lost before the store is asked: whatever becomes of that, nothing more is done for them.
        """
        fences = {number: self.fences[number] for number in numbers}
        self.lose(numbers)
        await self._partitions.free(fences, self._call("free"))

    async def end(self) -> None:
        """Let all go; raises the store's errors."""
        self.leaves = True
        try:
            await self.let_go(set(self.fences))
        finally:
            await self._partitions.attend(self._owner, 0, self._call("leave"))

    async def _share(self) -> int:
        lease_ms = 0 if self.leaves else self._lease_ms
        there, before, now_ms = await self._partitions.attend(self._owner, lease_ms, self._call("attend"))
        self._offset_ms = now_ms - time.monotonic() * 1_000
        if not self.leaves:
            return share_of(there, before)
        self.alone = not there
        if not self.alone:
            return 0
        self.resting.clear()
        return BEHIND_PARTITIONS

    def _rest(self, surplus: int) -> None:
        """Let as many rest as there are too many; who leaves lets rest what it has done with."""
        if self.leaves:
            return
        for number in sorted(self.resting)[max(0, surplus) :]:
            self.resting.discard(number)
        awake = sorted(self.fences.keys() - self.resting, reverse=True)
        self.resting.update(awake[: max(0, surplus - len(self.resting))])
