"""Why a sliding window is not estimated from two buckets: ten a minute, and a caller who knows how they are counted.

Others keep one count for each minute and take the past sixty seconds for the current count, plus as much of the one
before as the minute has left. That is right if calls come evenly. A caller who spends a minute's allowance in its last
moment has it weighed as if it had been spread over the minute, and gets nearly all of it a second time.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.model import check_sliding_window
from sidecar.ratelimit.models.fixed_window import check_fixed_window
from sidecar.ratelimit.models.sliding_log import check_sliding_log
from sidecar.ratelimit.policy import FixedWindowPolicy, SlidingLogPolicy, SlidingWindowPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Take = Callable[[Any, int], tuple[bool, Any]]
    """Asks for one call, of a state at a time in µs: whether it is let in, and the next state."""

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
TRIAL_US = 10 * MINUTE_US
# The edge of a minute, as the windows that begin at the epoch have it.
START_US = 28_333_333 * MINUTE_US
LIMIT = 10
# So often does the caller try: a hundred times for each call that any of them lets in.
STEP_US = 60_000

LOG = SlidingLogPolicy(name="log", limit=LIMIT, window_us=MINUTE_US)
WINDOW = SlidingWindowPolicy(name="window", limit=LIMIT, window_us=MINUTE_US)
FIXED = FixedWindowPolicy(name="fixed", limit=LIMIT, window_us=MINUTE_US)


class TwoBuckets(NamedTuple):
    """The calls let in within a minute, and within the one before."""

    minute: int
    now: int
    before: int


def sliding_log(state: Any, now_us: int) -> tuple[bool, Any]:
    """Ask the log."""
    step = check_sliding_log(LOG, state, now_us, 1, commit=True)
    return step.verdict.allowed, step.state


def sliding_window(state: Any, now_us: int) -> tuple[bool, Any]:
    """Ask the sliding window of ten parts."""
    step = check_sliding_window(WINDOW, state, now_us, 1, commit=True)
    return step.verdict.allowed, step.state


def fixed_window(state: Any, now_us: int) -> tuple[bool, Any]:
    """Ask the fixed window."""
    step = check_fixed_window(FIXED, state, now_us, 1, commit=True)
    return step.verdict.allowed, step.state


def two_buckets(state: TwoBuckets | None, now_us: int) -> tuple[bool, TwoBuckets]:
    """Ask the estimate of two buckets, computed in integers: it is rounded in nobody's favour."""
    minute, gone_us = divmod(now_us, MINUTE_US)
    now = before = 0
    if state is not None and state.minute == minute:
        now, before = state.now, state.before
    elif state is not None and state.minute == minute - 1:
        before = state.now
    if before * (MINUTE_US - gone_us) + (now + 1) * MINUTE_US > LIMIT * MINUTE_US:
        return False, TwoBuckets(minute, now, before)
    return True, TwoBuckets(minute, now + 1, before)


def relentless() -> list[int]:
    """Return when a caller calls who never stops."""
    return list(range(START_US, START_US + TRIAL_US, STEP_US))


def at_edges() -> list[int]:
    """Return when a caller calls who saves up for the last moment of every third minute, and goes on for a minute."""
    moments: list[int] = []
    for edge_us in range(START_US + MINUTE_US, START_US + TRIAL_US, 3 * MINUTE_US):
        moments += [edge_us - 1] * (2 * LIMIT)
        moments += (edge_us + after_us for after_us in range(0, MINUTE_US, STEP_US) for _ in range(2 * LIMIT))
    return moments


def most_in_a_minute(take: Take, moments: Iterable[int]) -> int:
    """Return the most calls of any sixty seconds, both ends included, of all that are let in."""
    state, times = None, []
    for now_us in moments:
        is_let_in, state = take(state, now_us)
        if is_let_in:
            times.append(now_us)
    return max((bisect_right(times, first_us + MINUTE_US) - place for place, first_us in enumerate(times)), default=0)


@pytest.mark.parametrize("moments", [relentless(), at_edges()], ids=["relentless", "at edges"])
@pytest.mark.parametrize("take", [sliding_log, sliding_window])
def test_no_sixty_seconds_hold_more_than_ten(take: Take, moments: list[int]) -> None:
    """The log and the sliding window let in ten, and neither fewer nor more."""
    assert LIMIT == most_in_a_minute(take, moments)


def test_a_fixed_window_lets_twice_as_many_in() -> None:
    """Ten before the edge and ten behind it: it promises something else."""
    assert 2 * LIMIT == most_in_a_minute(fixed_window, at_edges())


def test_two_buckets_let_nearly_twice_as_many_in() -> None:
    """Nineteen: against a caller who knows it, it is hardly better than a fixed window; so none is in use here."""
    assert LIMIT < 2 * LIMIT - 1 == most_in_a_minute(two_buckets, at_edges())


bursts = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from([0, 1, SECOND_US, 6 * SECOND_US - 1, 6 * SECOND_US, MINUTE_US - 1, MINUTE_US]),
            st.integers(0, 2 * MINUTE_US),
        ),
        st.integers(1, LIMIT + 1),
    ),
    max_size=60,
)


@pytest.mark.parametrize("take", [sliding_log, sliding_window])
@given(pauses=bursts, first_us=st.integers(START_US, START_US + MINUTE_US))
def test_no_plan_gets_more_than_ten_in(take: Take, pauses: list[tuple[int, int]], first_us: int) -> None:
    """Whatever the pauses between whatever bursts."""
    moments, now_us = [], first_us
    for pause_us, calls in pauses:
        now_us += pause_us
        moments += [now_us] * calls
    assert most_in_a_minute(take, moments) <= LIMIT
