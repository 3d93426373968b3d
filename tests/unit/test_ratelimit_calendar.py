"""Where the windows of a calendar begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.calendar_windows import Calendar, CalendarUnit, CalendarWindows, boundaries_around

SECOND_US = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]

calendars = st.builds(Calendar, st.sampled_from(CalendarUnit), st.sampled_from(ZONES).map(ZoneInfo))
# To where scripts stop counting exactly, less a window.
times = st.integers(0, 2**53 - 3 * 366 * 86_400 * SECOND_US) | st.integers(0, 60 * 366 * 86_400 * SECOND_US)


def micros(at: datetime) -> int:
    """Return a time as the store tells it."""
    return (at - EPOCH) // timedelta(microseconds=1)


def shown(unit: str, zone: str, at: str) -> list[str]:
    """Return the boundaries around a time, as the zone's clocks show them."""
    calendar = Calendar(CalendarUnit(unit), ZoneInfo(zone))
    found = boundaries_around(calendar, micros(datetime.fromisoformat(at)))
    local = [(EPOCH + timedelta(microseconds=bound)).astimezone(calendar.zone) for bound in found]
    return [at.isoformat(timespec="minutes") for at in local]


@pytest.mark.parametrize(
    ("unit", "zone", "at", "expected"),
    [
        (
            "day",
            "Asia/Kolkata",
            "2025-06-01T20:00Z",
            ["2025-06-01T00:00+05:30", "2025-06-02T00:00+05:30", "2025-06-03T00:00+05:30", "2025-06-04T00:00+05:30"],
        ),
        (  # a Sunday
            "week",
            "UTC",
            "2025-06-01T20:00Z",
            ["2025-05-19T00:00+00:00", "2025-05-26T00:00+00:00", "2025-06-02T00:00+00:00", "2025-06-09T00:00+00:00"],
        ),
        (
            "month",
            "America/New_York",
            "2025-01-01T01:00Z",
            ["2024-11-01T00:00-04:00", "2024-12-01T00:00-05:00", "2025-01-01T00:00-05:00", "2025-02-01T00:00-05:00"],
        ),
        (
            "year",
            "UTC",
            "2024-02-29T12:00Z",
            ["2023-01-01T00:00+00:00", "2024-01-01T00:00+00:00", "2025-01-01T00:00+00:00", "2026-01-01T00:00+00:00"],
        ),
        (  # autumn shows an hour twice: two windows
            "hour",
            "Europe/Berlin",
            "2025-10-26T01:30Z",
            ["2025-10-26T02:00+02:00", "2025-10-26T02:00+01:00", "2025-10-26T03:00+01:00", "2025-10-26T04:00+01:00"],
        ),
        (  # spring leaves one out
            "hour",
            "Europe/Berlin",
            "2025-03-30T00:59Z",
            ["2025-03-30T00:00+01:00", "2025-03-30T01:00+01:00", "2025-03-30T03:00+02:00", "2025-03-30T04:00+02:00"],
        ),
        (  # the clock is put forward by half an hour: a window of thirty minutes
            "hour",
            "Australia/Lord_Howe",
            "2025-10-04T15:45Z",
            ["2025-10-05T01:00+10:30", "2025-10-05T02:30+11:00", "2025-10-05T03:00+11:00", "2025-10-05T04:00+11:00"],
        ),
        (  # a day that begins at one o'clock
            "day",
            "America/Sao_Paulo",
            "2018-11-04T12:00Z",
            ["2018-11-03T00:00-03:00", "2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00", "2018-11-06T00:00-02:00"],
        ),
        (  # Samoa left the thirtieth of December out
            "day",
            "Pacific/Apia",
            "2011-12-30T10:00Z",
            ["2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00", "2012-01-02T00:00+14:00"],
        ),
    ],
)
def test_windows_begin_as_the_local_clock_says(unit: str, zone: str, at: str, expected: list[str]) -> None:
    """Also where it jumps."""
    assert expected == shown(unit, zone, at)


def test_window_whose_start_lies_within_a_gap_begins_at_the_jump() -> None:
    """Troll goes from 01:00 to 03:00 at once: the hours of one and of two begin when that of three does."""
    assert "2025-03-30T03:00+02:00" == shown("hour", "Antarctica/Troll", "2025-03-30T00:30Z")[2]


@given(calendars, times)
def test_boundaries_grow_and_hold_the_time(calendar: Calendar, at_us: int) -> None:
    """The time is in the second of three windows, and none is empty."""
    found = boundaries_around(calendar, at_us)
    assert found.present <= at_us < found.following
    assert all(before < after for before, after in pairwise(found) if before > 0)


@given(calendars, times)
def test_windows_follow_each_other(calendar: Calendar, at_us: int) -> None:
    """Whoever asks at the next window's start is told the same bounds: no two sidecars disagree about a window."""
    found = boundaries_around(calendar, at_us)
    at_next = boundaries_around(calendar, found.following)
    assert (found.present, found.following, found.end) == (at_next.previous, at_next.present, at_next.following)


@pytest.mark.parametrize("at_us", [-1, 0, 2**53 - 1, 2**63])
def test_any_time_that_a_store_can_tell_has_windows(at_us: int) -> None:
    """A clock that is far out leads to no error here: the script finds that its time is in none of these windows."""
    assert len(boundaries_around(Calendar(CalendarUnit.YEAR, ZoneInfo("Europe/Berlin")), at_us)) == 4


def test_windows_are_reckoned_again_when_they_have_passed() -> None:
    """What is remembered is what a fresh reckoning gives."""
    calendar = Calendar(CalendarUnit.HOUR, ZoneInfo("Europe/Berlin"))
    windows = CalendarWindows(calendar)
    start_us = micros(datetime(2025, 10, 25, 23, 10, tzinfo=UTC))
    asked = [start_us + minutes * 60 * SECOND_US for minutes in (0, 20, 50, 110, 170, 30)]
    assert [boundaries_around(calendar, at_us) for at_us in asked] == [windows.at(at_us) for at_us in asked]
