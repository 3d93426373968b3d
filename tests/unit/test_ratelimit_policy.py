"""What a policy accepts, and the integers that it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.policy import (
    EXACT,
    MAX_BURST,
    MAX_LIMIT,
    MAX_LOGGED,
    MAX_PERIOD_US,
    MIN_WINDOW_US,
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TickRate,
    TokenBucketPolicy,
    tick_rate,
)

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


@pytest.mark.parametrize(
    ("tokens", "period_us", "expected"),
    [
        (1, DAY_US, TickRate(1, DAY_US, 1)),
        (100, SECOND_US, TickRate(1, 10_000, 1)),
        (1_000_000, SECOND_US, TickRate(1, 1, 1)),
        (86_400_000_000, DAY_US, TickRate(1, 1, 1)),
        (999_999, SECOND_US, TickRate(999_999, 1_000_000, 1)),
        (999_983, DAY_US, TickRate(999_983, DAY_US // 10, 10)),
        (9_999_991, DAY_US, TickRate(9_999_991, DAY_US // 100, 100)),
        (99_999_989, DAY_US, TickRate(99_999_989, DAY_US // 1_000, 1_000)),
    ],
)
def test_rate_is_reduced_on_the_finest_exact_tick(tokens: int, period_us: int, expected: TickRate) -> None:
    """The fraction loses its common factor, and the tick grows only as far as exactness wants."""
    assert expected == tick_rate(tokens, period_us)


@given(st.integers(1, 10**12), st.integers(1, MAX_PERIOD_US))
def test_rate_is_equal_to_what_was_asked_and_exact(tokens: int, period_us: int) -> None:
    """A rate that is accepted is the one asked for, to the last token, and no product of the script reaches 2^53."""
    try:
        num, den, tick_us = tick_rate(tokens, period_us)
    except ValueError:
        return
    assert (tokens * den * tick_us, True) == (num * period_us, (num + 1) * den < EXACT)


@pytest.mark.parametrize(("tokens", "period_us"), [(999_999_937, DAY_US), (MAX_BURST + 7, DAY_US + 1)])
def test_rate_that_cannot_be_exact_is_refused(tokens: int, period_us: int) -> None:
    """Too large terms without a common factor end in a sentence that says what to do."""
    with pytest.raises(ValueError, match=r"cannot be counted exactly in 53 bits; choose a shorter period or a rounder"):
        tick_rate(tokens, period_us)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"tokens": 0}, "tokens must be at least 1, not 0"),
        ({"period_us": 0}, f"period must be from 1 to {MAX_PERIOD_US} µs, not 0"),
        ({"period_us": MAX_PERIOD_US + 1}, f"period must be from 1 to {MAX_PERIOD_US} µs, not {MAX_PERIOD_US + 1}"),
        ({"burst": 0}, f"burst must be from 1 to {MAX_BURST}, not 0"),
        ({"burst": MAX_BURST + 1}, f"burst must be from 1 to {MAX_BURST}, not {MAX_BURST + 1}"),
        ({"tokens": 999_999_937, "period_us": DAY_US}, "cannot be counted exactly"),
    ],
)
def test_token_bucket_out_of_bounds_is_refused(wrong: dict[str, int], sentence: str) -> None:
    """Each bound of a bucket has its sentence."""
    with pytest.raises(ValueError, match=sentence):
        TokenBucketPolicy(name="api", **({"tokens": 100, "period_us": SECOND_US, "burst": 200} | wrong))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"limit": -1}, f"limit must be from 0 to {MAX_LIMIT}, not -1"),
        ({"limit": MAX_LIMIT + 1}, f"limit must be from 0 to {MAX_LIMIT}, not {MAX_LIMIT + 1}"),
        ({"sub_windows": 0}, "sub_windows must be from 1 to 100, not 0"),
        ({"sub_windows": 101}, "sub_windows must be from 1 to 100, not 101"),
        ({"window_us": 9}, f"window must be from 10 to {MAX_PERIOD_US} µs, not 9"),
        ({"window_us": MAX_PERIOD_US + 1}, f"window must be from 10 to {MAX_PERIOD_US} µs, not {MAX_PERIOD_US + 1}"),
    ],
)
def test_sliding_window_out_of_bounds_is_refused(wrong: dict[str, int], sentence: str) -> None:
    """Each bound of a window has its sentence."""
    with pytest.raises(ValueError, match=sentence):
        SlidingWindowPolicy(name="auth", **({"limit": 10, "window_us": 60 * SECOND_US} | wrong))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"limit": -1}, f"limit must be from 0 to {MAX_LOGGED}, not -1"),
        ({"limit": MAX_LOGGED + 1}, f"limit must be from 0 to {MAX_LOGGED}, not {MAX_LOGGED + 1}"),
        ({"window_us": MIN_WINDOW_US - 1}, f"window must be from {MIN_WINDOW_US} to {MAX_PERIOD_US} µs, not 9999"),
        ({"window_us": MAX_PERIOD_US + 1}, f"window must be from {MIN_WINDOW_US} to {MAX_PERIOD_US} µs, not"),
    ],
)
def test_sliding_log_out_of_bounds_is_refused(wrong: dict[str, int], sentence: str) -> None:
    """Each bound of a log has its sentence."""
    with pytest.raises(ValueError, match=sentence):
        SlidingLogPolicy(name="auth", **({"limit": 10, "window_us": 60 * SECOND_US} | wrong))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"limit": -1}, f"limit must be from 0 to {MAX_LIMIT}, not -1"),
        ({"limit": MAX_LIMIT + 1}, f"limit must be from 0 to {MAX_LIMIT}, not {MAX_LIMIT + 1}"),
        ({"window_us": MIN_WINDOW_US - 1}, f"window must be from {MIN_WINDOW_US} to {MAX_PERIOD_US} µs, not 9999"),
        ({"window_us": None}, "a fixed window has either a length or a calendar"),
    ],
)
def test_fixed_window_out_of_bounds_is_refused(wrong: dict[str, int | None], sentence: str) -> None:
    """Each bound of a fixed window has its sentence."""
    values: dict[str, Any] = {"limit": 10, "window_us": 60 * SECOND_US} | wrong
    with pytest.raises(ValueError, match=sentence):
        FixedWindowPolicy(name="auth", **values)


def test_gcra_of_more_than_ten_years_is_refused() -> None:
    """A burst that takes longer to come than times are exact for; 3660 days' worth is the most."""
    GcraPolicy(name="api", tokens=1, period_us=DAY_US, burst=3_660)
    with pytest.raises(ValueError, match="burst must be no more than ten years' worth of the rate"):
        GcraPolicy(name="api", tokens=1, period_us=DAY_US, burst=3_661)


def test_token_bucket_gives_its_script_burst_and_rate() -> None:
    """The constants stand in the order of the script's arguments."""
    policy = TokenBucketPolicy(name="api", tokens=100, period_us=SECOND_US, burst=200)
    assert (200, 1, 10_000, 1) == policy.constants


def test_sliding_window_gives_its_script_limit_and_sub_windows() -> None:
    """One sub-window more than the window has is counted."""
    policy = SlidingWindowPolicy(name="auth", limit=10, window_us=60 * SECOND_US)
    assert (10, 6 * SECOND_US, 11) == policy.constants


def test_sub_windows_cover_a_window_that_they_do_not_divide() -> None:
    """A sub-window's length is rounded up, so that the window is never shorter than asked for."""
    policy = SlidingWindowPolicy(name="auth", limit=10, window_us=1_000_003, sub_windows=10)
    assert 100_001 == policy.sub_window_us
