"""The estimate of the store's clock: never behind, and as near as the readings allow."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import MICROS_PER_SECOND, StoreClock

# How far the store's clock is ahead of this process's, and how long a reading's trips took, there and back.
OFFSETS = st.integers(-(10**15), 10**15)
TRIPS = st.lists(st.tuples(st.integers(2, 500_000), st.integers(2, 500_000)), min_size=1, max_size=10)


def observe(clock: StoreClock, offset_us: int, there_us: int, back_us: int) -> None:
    """Have `clock` take in a reading of a store `offset_us` ahead."""
    read_us = time.monotonic_ns() // 1000
    clock.observe(
        read_us + offset_us, (read_us - there_us) / MICROS_PER_SECOND, (read_us + back_us) / MICROS_PER_SECOND
    )


def ahead_us(clock: StoreClock, offset_us: int) -> tuple[int, int]:
    """Return the least and the most by which the estimate is ahead: time passes while it is asked."""
    before_us = time.monotonic_ns() // 1000
    estimate_us = clock.micros() - offset_us
    return estimate_us - time.monotonic_ns() // 1000, estimate_us - before_us


@given(offset_us=OFFSETS, trips=TRIPS)
def test_it_is_never_behind(offset_us: int, trips: list[tuple[int, int]]) -> None:
    """So that nothing seems to have more time left than it was given."""
    clock = StoreClock()
    for trip in trips:
        observe(clock, offset_us, *trip)
    _, most = ahead_us(clock, offset_us)
    assert most >= 0


def test_it_is_not_behind_before_the_first_reading() -> None:
    """The wall clock stands in, and the store of this machine goes by that too."""
    clock = StoreClock()
    before_us = time.time_ns() // 1000
    assert clock.micros() >= before_us


@given(offset_us=OFFSETS, trips=TRIPS)
def test_it_is_ahead_by_the_shortest_way_there(offset_us: int, trips: list[tuple[int, int]]) -> None:
    """A slow reading does not spoil a good one."""
    clock = StoreClock()
    for trip in trips:
        observe(clock, offset_us, *trip)
    least, _ = ahead_us(clock, offset_us)
    assert least <= min(there for there, _ in trips) + 1


@given(offset_us=OFFSETS, step_us=OFFSETS)
def test_it_follows_a_clock_that_jumps(offset_us: int, step_us: int) -> None:
    """Forward or back, with the next reading; what lies within the reading's own doubt is no jump."""
    clock = StoreClock()
    observe(clock, offset_us, 100, 100)
    observe(clock, offset_us + step_us, 100, 100)
    least, most = ahead_us(clock, offset_us + step_us)
    assert (True, True) == (least <= 101, most >= -101)
