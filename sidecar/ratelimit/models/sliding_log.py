"""The sliding log, as a pure function over plain data; what `sidecar.ratelimit.model` says of times holds here too.

Each admitted call is an entry, its time and its cost. What counts is every entry of the past window: no interval of the
window's length ever holds more than the limit, and what fits is admitted, at once and not a sub-window late. A time
stands for the whole microsecond, so an entry counts for the window and one microsecond more: both ends of an interval
belong to it.

The price is memory, 14 bytes for each call that was admitted; so the limit is bounded (`policy.MAX_LOGGED`). Refused
calls enter nothing, and a call of any cost is one entry. Entries that have left the window are dropped when they make
up more than half of the log, so that each is copied once or twice in its life; a short log is written whole each time,
which is one command instead of several. On Redis a call takes 6 to 8 µs with a short log and 10 to 14 with one of up to
ten thousand entries, refused or not. (A sorted set, as is often used, takes 6 to 8, but some 110 bytes an entry, a name
made up for each call, and a removal with each look; and what its entries cost together it does not know.)

When the clock goes back by no more than the window, calls are entered at the newest entry's time, as if time stood
there: the promise holds in real time, and room comes free late by the jump. Further back, the log starts anew.

**A changed policy** finds the entries as they are, and they count by its own window. What the old one has dropped, or
its TTL let go, is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.ratelimit.model import Step, Verdict

if TYPE_CHECKING:
    from sidecar.ratelimit.policy import SlidingLogPolicy

# Up to so many entries are written whole: less than a kilobyte, which costs less than two commands.
SHORT = 64

Entries = tuple[tuple[int, int], ...]
"""The stored state: time and cost, oldest first."""


def check_sliding_log(
    policy: SlidingLogPolicy, state: Entries | None, now_us: int, cost: int, *, commit: bool
) -> Step[Entries]:
    """Decide on a call of `cost` (at most the limit); without `commit` nothing is written."""
    stored = state or ()
    if stored and stored[-1][0] - now_us > policy.window_us:
        stored = ()
    at_us = max(now_us, stored[-1][0]) if stored else now_us
    live = tuple(entry for entry in stored if entry[0] >= at_us - policy.window_us)
    used = sum(cost for _, cost in live)

    def leaves_after_us(then_us: int) -> int:
        return then_us + policy.window_us + 1 - now_us

    allowed = cost == 0 or used + cost <= policy.limit
    retry_after_us = 0
    if not allowed:
        excess = used + cost - policy.limit
        for then_us, entered in live:
            excess -= entered
            if excess <= 0:
                retry_after_us = leaves_after_us(then_us)
                break
    writes = commit and allowed and cost > 0
    if writes:
        drops = not live or policy.limit <= SHORT or len(stored) - len(live) > len(live)
        stored = (*(live if drops else stored), (at_us, cost))
        live = (*live, (at_us, cost))
        used += cost
    reset_after_us = leaves_after_us(live[-1][0]) if live else 0
    verdict = Verdict(allowed, max(0, policy.limit - used), retry_after_us, reset_after_us)
    if writes:
        return Step(verdict, stored, -(-reset_after_us // 1_000))
    return Step(verdict, state, None)
