"""Explanations: costs, durations and words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.description import Algorithm, LimitDescription
from sidecar.ratelimit.explain import costs_for, duration_in_words, in_words

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, [1]), (7, [1, 7]), (10, [1, 10]), (50, [1, 10, 50]), (1_000, [1, 10, 100])]
)
def test_costs_can_all_be_allowed(limit: int, expected: list[int]) -> None:
    """The limit stands in for what is above it."""
    assert expected == costs_for(limit)


@pytest.mark.parametrize(
    ("duration_us", "expected"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (999_999, "1000ms"),
        (SECOND_US, "1s"),
        (SECOND_US + 1, "1s 1ms"),
        (90 * SECOND_US, "1m 30s"),
        (HOUR_US - 1, "60m"),
        (25 * HOUR_US, "1d 1h"),
        (366 * 24 * HOUR_US, "366d"),
    ],
)
def test_durations_have_two_units(duration_us: int, expected: str) -> None:
    """Rounded up."""
    assert expected == duration_in_words(duration_us)


@given(st.integers(0, 2**53))
def test_a_duration_is_never_too_short(duration_us: int) -> None:
    """And too long by less than the smaller of its units."""
    lengths = {"d": 24 * HOUR_US, "h": HOUR_US, "m": 60 * SECOND_US, "s": SECOND_US, "ms": 1_000}
    parts = [
        (int(part.rstrip("dhms")), lengths[part.lstrip("0123456789")])
        for part in duration_in_words(duration_us).split()
    ]
    said_us = sum(number * length for number, length in parts)
    smaller_us = {24 * HOUR_US: HOUR_US, HOUR_US: 60 * SECOND_US, 60 * SECOND_US: SECOND_US}.get(parts[0][1], 1_000)
    assert 0 <= said_us - duration_us < smaller_us


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (
            LimitDescription("", Algorithm.SLIDING_LOG, 8, window_us=60 * SECOND_US),
            "5 of 8 are used in the last 1m; the last of them has left the window in 20s.",
        ),
        (
            LimitDescription("", Algorithm.FIXED_WINDOW, 8, window_us=60 * SECOND_US),
            "5 of 8 are used in this window of 1m; the next window begins in 20s.",
        ),
        (
            LimitDescription("", Algorithm.FIXED_WINDOW, 8, calendar="day", time_zone="UTC"),
            "5 of 8 are used in this calendar day (UTC); the next window begins in 20s.",
        ),
        (
            LimitDescription("", Algorithm.CONCURRENCY, 8),
            "5 of 8 slots are leased; if none is renewed, the last lease ends in 20s.",
        ),
    ],
)
def test_words_say_what_the_numbers_say(limit: LimitDescription, expected: str) -> None:
    """In the terms of the algorithm."""
    assert expected == in_words(limit, Decision(True, 8, 3, 0, 20 * SECOND_US))


def test_a_whole_limit_waits_for_nothing() -> None:
    """Its sentence is the shorter."""
    limit = LimitDescription("", Algorithm.SLIDING_WINDOW, 8, window_us=SECOND_US)
    assert "0 of 8 are used in the last 1s." == in_words(limit, Decision(True, 8, 8, 0, 0))
