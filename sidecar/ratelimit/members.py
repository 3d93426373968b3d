"""How many sidecars are alive: what the store keeps of them, as a model, and what one makes of its counts.

Every process that takes calls is a member, each worker too, since each decides by itself while the store is gone. It
says so every few seconds, in one command that also answers how many there are. Members that are not heard of expire by
the store's clock; the key itself expires when there are none. Nobody says goodbye: after a shrinking the others' shares
stay small for some seconds, which errs on the side of refusing.

When the store's clock goes back, members of the time jumped over stay for as long as they are less than `EXPIRY_US`
ahead; those that live say so anew. Further ahead, they are dropped. The count is then too high for a while, or too low
until each has been heard of again.

**A count can be too low**: after an outage all members have expired, or the store came back without its data, and the
first to be heard of counts itself alone. If the store then goes again, it must not take the whole limit for its share.
So what counts is the most of the last few counts, `_COUNTS`: in as many intervals each sidecar that is alive has been
heard of. A sidecar that starts after an outage has nothing else to go by than its own first counts: for an interval its
share may be too large.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

# A command every five seconds from each process is nothing to a store, and no fleet grows or shrinks much faster.
INTERVAL_SECONDS = 5.0

# Three intervals: one beat may be lost and another come late.
EXPIRY_US = 15_000_000

# Those of an expiry and one more, so that the count before all were lost is among them until each was heard of again.
_COUNTS = 4


class Counted(NamedTuple):
    """What a beat answers, and what is stored after it."""

    live: int
    members: dict[str, int]
    """When each was last heard of (µs)."""
    ttl_ms: int


def count_members(members: Mapping[str, int] | None, now_us: int, member: str, expiry_us: int) -> Counted:
    """Return what a beat of `member` does; None is no key."""
    kept = {name: at_us for name, at_us in (members or {}).items() if now_us - expiry_us < at_us <= now_us + expiry_us}
    kept[member] = now_us
    return Counted(len(kept), kept, -(-expiry_us // 1_000))


class Census:
    """The last known number of live sidecars."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: deque[int] = deque(maxlen=_COUNTS)

    def observe(self, live: int) -> None:
        """Take in what a beat answered."""
        self._counts.append(live)

    @property
    def live(self) -> int | None:
        """How many there are; None before the first count."""
        return max(self._counts, default=None)
