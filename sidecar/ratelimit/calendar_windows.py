"""Windows of a calendar: where hours, days, weeks, months and years begin in a named time zone.

The store's clock decides which window a call falls into, but Lua knows no time zones. So the script gets four
boundaries, of the windows before, at and after an estimate of the store's time, and picks the one that holds its own
time. An estimate may thus be wrong by a whole window; if it is worse, the script says so and nothing is counted.

A window begins when the local clock shows its start; where the clock is put forward past that, at the moment when it
is (a day that begins with a gap, the day that Samoa left out in 2011). A day, week, month or year whose start is shown
twice begins the first time. An hour begins each time: the hour that autumn repeats is two windows, not one of two
hours. Weeks begin on Monday (ISO 8601).

Rejected: to take windows of constant length from the zone's present offset. They would end an hour off on two days of
the year, and two sidecars would disagree about the window as long as one had not noticed the change.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum
from typing import NamedTuple
from zoneinfo import ZoneInfo  # noqa: TC003 (a field of a dataclass)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)

# Candidates on either side of a time: two windows are needed, and in a zone that left a day out 25 hours begin at once.
_AROUND = {"hour": 30, "day": 4, "week": 3, "month": 3, "year": 3}

_MONTHS = 12

# No script counts exactly beyond (the year 2255), and `datetime` holds all windows around.
_LAST_US = 2**53 - 1


class CalendarUnit(Enum):
    """What a window of a calendar is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class Boundaries(NamedTuple):
    """Where three windows in a row begin, and the last one ends: microseconds since the epoch."""

    previous: int
    present: int
    following: int
    end: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """A unit in a time zone."""

    unit: CalendarUnit
    zone: ZoneInfo


class CalendarWindows:
    """The windows of a calendar, reckoned once for each."""

    __slots__ = ("_boundaries", "_calendar")

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._boundaries = Boundaries(0, 0, 0, 0)

    def at(self, at_us: int) -> Boundaries:
        """Return what `boundaries_around` does."""
        if not self._boundaries.present <= at_us < self._boundaries.following:
            self._boundaries = boundaries_around(self._calendar, at_us)
        return self._boundaries


def boundaries_around(calendar: Calendar, at_us: int) -> Boundaries:
    """Return the windows before, at and after a time; none begins before the epoch."""
    at_us = min(max(at_us, 0), _LAST_US)
    at = _EPOCH + timedelta(microseconds=at_us)
    local = at.astimezone(calendar.zone).replace(tzinfo=None)
    around = _AROUND[calendar.unit.value]
    starts: set[int] = set()
    for number in range(-around, around + 1):
        starts |= _instants(calendar, _start(calendar.unit, local, number))
    ordered = sorted(starts)
    after = bisect_right(ordered, at_us)
    previous, present, following, end = ordered[after - 2 : after + 2]
    return Boundaries(max(0, previous), max(0, present), following, end)


def _start(unit: CalendarUnit, local: datetime, number: int) -> datetime:
    """Return the local start of the window that lies `number` windows after that of `local`."""
    if unit is CalendarUnit.HOUR:
        return local.replace(minute=0, second=0, microsecond=0) + timedelta(hours=number)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit is CalendarUnit.DAY:
        return day + timedelta(days=number)
    if unit is CalendarUnit.WEEK:
        return day + timedelta(weeks=number, days=-day.weekday())
    if unit is CalendarUnit.MONTH:
        years, month = divmod(day.month - 1 + number, _MONTHS)
        return day.replace(year=day.year + years, month=month + 1, day=1)
    return day.replace(year=day.year + number, month=1, day=1)


def _instants(calendar: Calendar, start: datetime) -> set[int]:
    """Return when a window with this local start begins; twice for an hour that is shown twice."""
    zone = calendar.zone
    first, second = (_instant(start, zone, fold) for fold in (0, 1))
    if first > second:  # a gap: fold 0 reckons with the offset before it, fold 1 with the one after
        return {_micros(_transition(second, first, zone))}
    return {_micros(first), _micros(second)} if calendar.unit is CalendarUnit.HOUR else {_micros(first)}


def _instant(local: datetime, zone: tzinfo, fold: int) -> datetime:
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _transition(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return when, after `before` and no later than `after`, the zone's clock is put forward."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
