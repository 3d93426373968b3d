"""Time: deadlines on the monotonic clock, and the store's own clock as an estimate.

A deadline is a point on `time.monotonic()`, in seconds, so a step of the wall clock moves none. What is stored carries
the *store's* time (`TIME` inside the scripts). To judge an entry's age without asking for the time with every read,
`StoreClock` keeps the offset between the store's clock and this process's monotonic one; the health probe feeds it
several times a second. The estimate is late by at most half a probe's round trip and the two clocks' drift in between.
"""

from __future__ import annotations

import math
import time
from typing import NewType

Deadline = NewType("Deadline", float)
"""A point on the monotonic clock, in seconds; `NEVER` for none."""

NEVER = Deadline(math.inf)

MICROS_PER_SECOND = 1_000_000


def after(seconds: float) -> Deadline:
    """Return the deadline that lies `seconds` from now."""
    return Deadline(time.monotonic() + seconds)


def remaining(deadline: Deadline) -> float:
    """Return the seconds left until `deadline`; negative once it has passed."""
    return deadline - time.monotonic()


class StoreClock:
    """The store's clock as seen from here, in microseconds since the Unix epoch."""

    __slots__ = ("_offset_us",)

    def __init__(self) -> None:
        # Until the first probe the wall clock stands in; it is replaced before the store counts as serving.
        self._offset_us = time.time_ns() // 1_000 - time.monotonic_ns() // 1_000

    def observe(self, store_us: int, sent_at: float, received_at: float) -> None:
        """Take in one reading of the store's `TIME`, asked and answered at these monotonic seconds."""
        midpoint_us = int((sent_at + received_at) / 2 * MICROS_PER_SECOND)
        self._offset_us = store_us - midpoint_us

    def micros(self) -> int:
        """Return the store's time now, in microseconds."""
        return self._offset_us + time.monotonic_ns() // 1_000
