"""The fixed window, as a pure function: the specification that `count_window-1.lua` is tested against.

Time is cut into windows at multiples of their length since the epoch, by the store's clock. A hit is counted whether or
not it is within the limit, as envoyproxy/ratelimit does: whoever goes on knocking finds the door shut until the window
ends. What the count means is for the caller to say, who has the limit; a limit that changes takes effect on the count
that there is.

One window is kept, with its number. A count of an earlier window is none. One of a later window is met only after the
clock went back: by one window, and the hit counts in that later one, so that no window gets more than its due; further,
and counting starts anew, since waiting would shut callers out for as long as the clock jumped.

A count stays at 2^53 - 1, where integers end to be exact in a double. No limit is that high.
"""

from __future__ import annotations

from typing import NamedTuple

# 2^53 - 1.
MOST_COUNTED = 9_007_199_254_740_991

# A limit is a uint32, so this many hits are over any limit, and more mean no more.
MOST_HITS = 2**32


class Counted(NamedTuple):
    """The stored state: a window's number from the epoch, and what was counted in it."""

    number: int
    hits: int


class Step(NamedTuple):
    """An answer, and what is stored after it."""

    hits: int
    """All that were counted, with those just made."""
    reset_after_us: int
    """Until the window that was counted in ends."""
    state: Counted | None
    ttl_ms: int | None
    """The TTL that is set with the state; None: nothing is written, state and TTL stay as they are."""


def count_window(length_us: int, state: Counted | None, now_us: int, hits: int) -> Step:
    """Count hits (at most `MOST_HITS`) in the window of `now_us`; none only look."""
    current = now_us // length_us
    counted = 0
    if state is not None and current <= state.number <= current + 1:
        current, counted = state
    reset_after_us = (current + 1) * length_us - now_us
    if hits == 0:
        return Step(counted, reset_after_us, state, None)
    counted = min(counted + hits, MOST_COUNTED)
    return Step(counted, reset_after_us, Counted(current, counted), -(-reset_after_us // 1000))
