"""How many calls may be in flight, decided from what became of the last ones."""

from __future__ import annotations

import pytest

from sidecar.interceptors.admission import AdmissionPolicy, Window, is_late, next_bound

POLICY = AdmissionPolicy(most=1000, least=10)


def window(*, ended: int = 100, late: int = 0, peak: int = 100, refused: bool = False) -> Window:
    """Return a window."""
    return Window(ended=ended, late=late, peak=peak, refused=refused)


@pytest.mark.parametrize(("taken", "late"), [(0.0, False), (0.25, False), (0.26, True), (2.0, True)])
def test_late_is_more_than_a_quarter_of_the_time(taken: float, *, late: bool) -> None:
    """Of one second."""
    assert late == is_late(taken, 1.0)


@pytest.mark.parametrize(("taken", "late"), [(0.02, False), (0.05, False), (0.051, True)])
def test_a_missed_deadline_of_a_few_milliseconds_is_not(taken: float, *, late: bool) -> None:
    """It tells of its caller's hopes."""
    assert late == is_late(taken, 0.01)


def test_a_call_without_a_deadline_is_never_late() -> None:
    """It has all the time there is."""
    assert not is_late(1e9, float("inf"))


def test_late_calls_lower_the_bound() -> None:
    """To 0.7 of what was in flight, which may be far below the bound."""
    assert next_bound(1000, window(late=11, peak=200), POLICY) == 140


def test_a_few_late_calls_do_not() -> None:
    """One in ten may be late for reasons of its own."""
    assert next_bound(1000, window(late=10), POLICY) == 1000


def test_the_bound_never_rises_while_calls_are_late() -> None:
    """Also when more were in flight than the bound, as it has just fallen."""
    assert next_bound(50, window(late=100, peak=400), POLICY) == 50


def test_it_does_not_fall_below_the_least() -> None:
    """What is admitted finds out when things get better."""
    assert next_bound(12, window(ended=1, late=1, peak=11), POLICY) == 10


def test_a_late_call_that_met_no_queue_changes_nothing() -> None:
    """A slow answer on an idle sidecar says nothing of how many are too many."""
    assert next_bound(1000, window(ended=1, late=1, peak=10), POLICY) == 1000


def test_a_bound_that_was_reached_in_time_rises() -> None:
    """By a quarter."""
    assert next_bound(100, window(refused=True), POLICY) == 126


def test_it_rises_to_the_most_and_no_further() -> None:
    """The operator's bound holds."""
    assert next_bound(950, window(refused=True), POLICY) == 1000


def test_a_bound_that_nobody_reached_stays() -> None:
    """Nothing was learnt about more calls."""
    assert next_bound(100, window(), POLICY) == 100


def test_a_window_in_which_nothing_ended_says_nothing() -> None:
    """Neither late nor in time."""
    assert next_bound(100, window(ended=0), POLICY) == 100


def test_it_recovers_within_two_seconds() -> None:
    """From the least to the most, judged ten times a second."""
    bound, rounds = 64, 0
    while bound < 1000:
        bound, rounds = next_bound(bound, window(refused=True), AdmissionPolicy(most=1000)), rounds + 1
    assert rounds <= 20


def test_the_least_is_no_more_than_the_most() -> None:
    """A small bound of the operator's is kept."""
    assert next_bound(5, window(late=100, peak=5), AdmissionPolicy(most=5)) == 5
