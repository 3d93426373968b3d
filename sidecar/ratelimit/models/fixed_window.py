"""The fixed window, as a pure function over plain data; what `sidecar.ratelimit.model` says of times holds here too.

Time is cut into windows, of one length from the epoch on or by a calendar (`sidecar.ratelimit.calendar_windows`), and
each has its own count. It is the cheapest limit to state and the one that quotas and bills are written in ("1,000 a
day"); the price is that an interval across a boundary may hold twice the limit, half of it on either side.

A refused call costs nothing, unless the policy charges it: then the count goes on past the limit, as that of a plain
counter does, and nothing remains; a cost above the limit is charged too. Either way a window that is full stays so
until its end, which is also the TTL.

The state names the bounds of its window, so that a window which has passed is told from the present one even if its
key has outlived it, and two sidecars that think of different windows see each other's calls.

When the clock goes back by less than a window, calls count in the window that had begun, as if time stood at its start;
the promise holds in real time, and callers wait longer by the jump. Further back, the window of the new time starts
anew.

**A changed policy** finds a window of other bounds. While that lasts, all that it holds counts in the present one; a
refused call moves it there, so that all is back when the present window ends, however long the old one was to last.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.model import Step, Verdict

if TYPE_CHECKING:
    from sidecar.ratelimit.calendar_windows import Boundaries
    from sidecar.ratelimit.policy import FixedWindowPolicy

# Refused costs are counted too, and may add up to anything in a year: counts end here, far beyond every limit.
MOST_COUNTED = 2**52


class Counter(NamedTuple):
    """The stored state of a fixed window."""

    from_us: int
    to_us: int
    counted: int


class ClockError(Exception):
    """The time is in none of the windows that were named; the script answers SCCLOCK."""


def check_fixed_window(
    policy: FixedWindowPolicy,
    state: Counter | None,
    now_us: int,
    cost: int,
    *,
    commit: bool,
    boundaries: Boundaries | None = None,
) -> Step[Counter]:
    """Decide on a call of `cost`; without `commit` nothing is written. `boundaries` are those of a calendar's windows.

    Raises `ClockError`.
    """
    from_us, to_us = _window(policy, now_us, boundaries)
    count, moved = 0, False
    if state is not None and state.from_us == to_us:
        from_us, to_us, count = state
    elif state is not None and state.from_us <= now_us < state.to_us:
        count, moved = state.counted, (state.from_us, state.to_us) != (from_us, to_us)

    allowed = cost == 0 or count + cost <= policy.limit
    takes = commit and cost > 0
    charged = takes and (allowed or policy.charge_refused)
    if charged:
        count = min(count + cost, MOST_COUNTED)
    verdict = Verdict(
        allowed=allowed,
        remaining=max(0, policy.limit - count),
        retry_after_us=0 if allowed else to_us - now_us,
        reset_after_us=to_us - now_us if count else 0,
    )
    if charged or (takes and moved):
        return Step(verdict, Counter(from_us, to_us, count), -(-(to_us - now_us) // 1_000))
    return Step(verdict, state, None)


def _window(policy: FixedWindowPolicy, now_us: int, boundaries: Boundaries | None) -> tuple[int, int]:
    """Return the bounds of the window that holds `now_us`."""
    if policy.window_us is not None:
        from_us = now_us - now_us % policy.window_us
        return from_us, from_us + policy.window_us
    if boundaries is None:
        raise ClockError
    for from_us, to_us in pairwise(boundaries):
        if from_us <= now_us < to_us:
            return from_us, to_us
    raise ClockError
