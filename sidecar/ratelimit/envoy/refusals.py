"""Counters that are over their limit, remembered until their window ends, so that they cost the store nothing.

In a fixed window refused hits count, so a count only grows until the window ends. A count that was above a limit is
above it for the rest of the window, whatever is asked: one hit or many, or a look. What is remembered is the count and
not the verdict. A limit that a request brings along, or that a reload has raised, is held against the count like any
other, and nobody is refused whom the count at the store would let through.

**What an answer says** is what the store's own would say: nothing left, and the time to the window's end, which ends
early rather than late (`waits.py`).

**What it costs.** Hits on a counter that is remembered are not counted at the store any more, as with the local cache
of envoyproxy/ratelimit. That shows only to a higher limit on the same counter: it has room for hits that would have
used it up.

**How it fails.** If the store loses its data, what is remembered stays in force until its window ends. So it does if
the store's clock goes back by more than a window. Each process remembers for itself; what is forgotten is asked for.

The other algorithms are not remembered: with them an allowance comes back before the window's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.ratelimit.envoy.counters import Usage
from sidecar.ratelimit.waits import Waits, monotonic_us

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.envoy.rules import Limit
    from sidecar.store.base import Reply


class Refusals:
    """The counters that are known to be over a limit, by their keys in the store: `most` at a time."""

    def __init__(self, *, clock: StoreClock, most: int, now_us: Callable[[], int] = monotonic_us) -> None:
        self._counts: Waits[int] = Waits(clock=clock, most=most, now_us=now_us)

    def __len__(self) -> int:
        return len(self._counts)

    def find(self, state_key: bytes, limit: Limit) -> Usage | None:
        """Return how a limit stands, if its counter is known to be over it."""
        wait = self._counts.find(state_key)
        if wait is None or wait.known <= limit.requests_per_unit:
            return None
        return Usage(
            over=True, remaining=0, before=wait.known, reset_after_us=wait.left_us, retry_after_us=wait.left_us
        )

    def note(self, state_key: bytes, limit: Limit, reply: Reply) -> None:
        """Take in what the store has said of a fixed window's counter."""
        count, reset_after_us, store_us = reply
        if count > limit.requests_per_unit:
            self._counts.note(state_key, count, reset_after_us, store_us)
