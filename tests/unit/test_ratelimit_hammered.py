"""Ten a minute, hammered for ten minutes by a caller who knows the algorithm."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.ratelimit.model import Step, check_sliding_window
from sidecar.ratelimit.models.fixed_window import check_fixed_window
from sidecar.ratelimit.models.sliding_log import check_sliding_log
from sidecar.ratelimit.policy import FixedWindowPolicy, SlidingLogPolicy, SlidingWindowPolicy

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
START_US = 28_333_333 * MINUTE_US
LIMIT = 10

LOG = SlidingLogPolicy(name="log", limit=LIMIT, window_us=MINUTE_US)
WINDOW = SlidingWindowPolicy(name="window", limit=LIMIT, window_us=MINUTE_US)
FIXED = FixedWindowPolicy(name="fixed", limit=LIMIT, window_us=MINUTE_US)


def take_one(policy: Any, state: Any, now_us: int) -> Step[Any]:
    """Make one call."""
    if policy is LOG:
        return check_sliding_log(LOG, state, now_us, 1, commit=True)
    if policy is WINDOW:
        return check_sliding_window(WINDOW, state, now_us, 1, commit=True)
    return check_fixed_window(FIXED, state, now_us, 1, commit=True)


def admitted(policy: Any, first_us: int) -> list[int]:
    """Return when a caller gets in who takes all that there is from `first_us` on, at any moment that pays.

    Those are the moments that a refusal names, and the edges of minutes and of their tenths.
    """
    edges = {START_US + tenth * MINUTE_US // 10 + off for tenth in range(101) for off in (-1, 0, 1)}
    moments = sorted({first_us, *(edge for edge in edges if edge >= first_us)})
    state, times = None, []
    while moments:
        now_us = moments.pop(0)
        while (step := take_one(policy, state, now_us)).verdict.allowed:
            state = step.state
            times.append(now_us)
        state = step.state
        again_us = now_us + step.verdict.retry_after_us
        if again_us < START_US + 10 * MINUTE_US and again_us not in moments:
            moments = sorted([*moments, again_us])
    return times


def most_in_a_minute(times: list[int]) -> int:
    """Return the most calls of any sixty seconds, both ends included."""
    return max(sum(first_us <= then_us <= first_us + MINUTE_US for then_us in times) for first_us in times)


@pytest.mark.parametrize("first_us", [START_US, START_US + 1, START_US + 7 * SECOND_US, START_US + MINUTE_US - 1])
@pytest.mark.parametrize(("policy", "most"), [(LOG, LIMIT), (WINDOW, LIMIT), (FIXED, 2 * LIMIT)])
def test_most_that_sixty_seconds_hold(policy: Any, most: int, first_us: int) -> None:
    """Ten with the log and the sliding window, whenever the caller begins; twenty across the edge of a fixed window."""
    times = admitted(policy, first_us)
    assert (most, True) == (most_in_a_minute(times), len(times) >= 8 * LIMIT)
