"""Counters over their limit that are remembered: they say what the store would say, and no longer than it would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import StoreClock
from sidecar.ratelimit.envoy.counters import Usage
from sidecar.ratelimit.envoy.refusals import Refusals
from sidecar.ratelimit.envoy.rules import Limit, Unit
from sidecar.ratelimit.envoy.window import Counted, count_window

MINUTE_US = Unit.MINUTE.length_us
START_US = 1_000 * MINUTE_US
KEY = b"k"
TEN = Limit(10, Unit.MINUTE)


class Clock(StoreClock):
    """A store's clock that a test moves, and the estimate of it that is ahead by some µs."""

    __slots__ = ("ahead_us", "now_us")

    def __init__(self) -> None:
        super().__init__()
        self.now_us = START_US
        self.ahead_us = 0

    def micros(self) -> int:
        """Return the estimate."""
        return self.now_us + self.ahead_us


class Trial:
    """A counter at a store, and what is remembered of it."""

    def __init__(self, *, most: int = 3) -> None:
        self.clock = Clock()
        self.refusals = Refusals(clock=self.clock, most=most, now_us=lambda: self.clock.now_us)
        self.state: Counted | None = None

    def looked_up(self, hits: int) -> tuple[int, int]:
        """Return the count that the store would have after some hits, and the time to its window's end."""
        step = count_window(MINUTE_US, self.state, self.clock.now_us, hits)
        return step.hits, step.reset_after_us

    def ask(self, limit: Limit, hits: int) -> Usage | None:
        """Return what is remembered; where that is nothing, count at the store."""
        found = self.refusals.find(KEY, limit)
        if found is None:
            step = count_window(MINUTE_US, self.state, self.clock.now_us, hits)
            self.state = step.state
            self.refusals.note(KEY, limit, [step.hits, step.reset_after_us, self.clock.now_us])
        return found


@pytest.fixture
def trial() -> Trial:
    """Return room for three counters."""
    return Trial()


def test_a_limit_that_is_reached_and_not_passed_is_not_remembered(trial: Trial) -> None:
    """A look at it would be let through."""
    for hits in (10, 0):
        assert trial.ask(TEN, hits) is None
    assert 0 == len(trial.refusals)


def test_a_limit_that_is_passed_is_known(trial: Trial) -> None:
    """Also to fewer hits than those that passed it, as they were counted; the time to the window's end runs."""
    trial.ask(TEN, 12)
    trial.clock.now_us += 5
    left_us = MINUTE_US - 5
    assert Usage(True, 0, 12, left_us, left_us) == trial.ask(TEN, 0)


def test_a_higher_limit_on_the_same_counter_asks(trial: Trial) -> None:
    """What is remembered is the count."""
    trial.ask(TEN, 12)
    assert trial.ask(TEN._replace(requests_per_unit=12), 0) is None
    assert trial.ask(TEN._replace(requests_per_unit=11), 0) is not None


def test_a_window_that_has_ended_is_forgotten(trial: Trial) -> None:
    """With its last microsecond, and before it where the way to the store may have taken longer."""
    trial.ask(TEN, 11)
    trial.clock.now_us += MINUTE_US - 1
    assert trial.ask(TEN, 0) is not None
    trial.clock.now_us += 1
    assert trial.ask(TEN, 11) is None
    trial.clock.ahead_us = MINUTE_US - 1
    trial.ask(TEN._replace(requests_per_unit=99), 99)
    assert trial.ask(TEN, 0) is not None
    trial.clock.now_us += MINUTE_US
    trial.clock.ahead_us = MINUTE_US
    assert [None, None] == [trial.ask(TEN, 11) for _ in range(2)]


def test_the_oldest_is_forgotten_where_there_are_too_many(trial: Trial) -> None:
    """And it is no more than asked for."""
    for name in (b"a", b"b", b"c", b"d"):
        trial.refusals.note(name, TEN, [11, MINUTE_US, trial.clock.now_us])
    assert [False, True, True, True] == [
        trial.refusals.find(name, TEN) is not None for name in (b"a", b"b", b"c", b"d")
    ]


STEPS = st.lists(
    st.tuples(st.integers(0, MINUTE_US // 2), st.integers(0, 200_000), st.integers(0, 12), st.integers(0, 20)),
    max_size=60,
)


@given(STEPS)
def test_nobody_is_refused_whom_the_store_would_let_through(steps: list[tuple[int, int, int, int]]) -> None:
    """Whatever limits, hits and estimates of the store's clock there are."""
    trial = Trial()
    for passed_us, ahead_us, hits, most in steps:
        trial.clock.now_us += passed_us
        trial.clock.ahead_us = ahead_us
        found = trial.ask(TEN._replace(requests_per_unit=most), hits)
        if found is not None:
            count, reset_after_us = trial.looked_up(0)
            assert count > most
            assert 0 < found.reset_after_us <= reset_after_us


@given(STEPS)
def test_answers_are_those_without_it(steps: list[tuple[int, int, int, int]]) -> None:
    """For a limit that stays as it is: the same verdicts, and resets that are earlier by the estimate's error alone."""
    trial = Trial()
    state: Counted | None = None
    for passed_us, _, hits, _ in steps:
        trial.clock.now_us += passed_us
        found = trial.ask(TEN, hits)
        step = count_window(MINUTE_US, state, trial.clock.now_us, hits)
        state = step.state
        if found is None:
            count, reset_after_us = trial.looked_up(0)
            assert (step.hits > 10, step.reset_after_us) == (count > 10, reset_after_us)
            assert step.hits == count or count > 10
        else:
            assert step.hits > 10
            assert step.reset_after_us == found.reset_after_us
