"""Time: deadlines on the monotonic clock, and the store's own clock as an estimate.

A deadline is a point on `time.monotonic()`, in seconds, so a step of the wall clock moves none. What is stored carries
the *store's* time (`TIME` inside the scripts). To judge an entry's age without asking for the time with every read,
`StoreClock` keeps the offset between the store's clock and this process's monotonic one; the health probe feeds it
several times a second. A reading only says that the store's clock was so somewhere between question and answer. The
estimate takes the question for the moment, so it is never behind, and nothing seems to have more time left than it was
given; it is ahead by no more than the quickest question was under way. Once two clocks have drifted apart, a reading
contradicts the estimate, and replaces it.
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
        # Until the first probe the wall clock stands in, rounded up.
        now_ns = time.monotonic_ns()
        self._offset_us = -((now_ns - time.time_ns()) // 1_000) + 1

    def observe(self, store_us: int, sent_at: float, received_at: float) -> None:
        """Take in one reading of the store's `TIME`, asked and answered at these monotonic seconds."""
        least_us = store_us - int(received_at * MICROS_PER_SECOND)
        most_us = store_us - int(sent_at * MICROS_PER_SECOND)
        if not least_us <= self._offset_us <= most_us:
            self._offset_us = most_us

    def micros(self) -> int:
        """Return the store's time now, in microseconds."""
        return self._offset_us + time.monotonic_ns() // 1_000
