"""What a fixed window promises, held against its model; the script equals the model (tests/differential)."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.calendar_windows import Boundaries, Calendar, CalendarUnit
from sidecar.ratelimit.model import Step, Verdict
from sidecar.ratelimit.models.fixed_window import MOST_COUNTED, ClockError, Counter, check_fixed_window
from sidecar.ratelimit.policy import MAX_LIMIT, MIN_WINDOW_US, FixedWindowPolicy

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
START_US = 1_700_000_040 * SECOND_US
MINUTELY = FixedWindowPolicy(name="f", limit=10, window_us=MINUTE_US)
CHARGING = FixedWindowPolicy(name="f", limit=10, window_us=MINUTE_US, charge_refused=True)
# Which calendar it is, the boundaries of the tests say.
CLOSED = FixedWindowPolicy(name="f", limit=0, calendar=Calendar(CalendarUnit.DAY, ZoneInfo("UTC")))
HOURLY = FixedWindowPolicy(name="f", limit=10, window_us=60 * MINUTE_US)

policies = st.builds(
    FixedWindowPolicy,
    name=st.just("f"),
    limit=st.integers(0, 20) | st.integers(0, MAX_LIMIT),
    window_us=st.integers(MIN_WINDOW_US, 90 * SECOND_US),
    charge_refused=st.booleans(),
)
calls = st.lists(
    st.tuples(st.integers(0, 20_000) | st.integers(0, 90 * SECOND_US), st.integers(0, 25)), min_size=1, max_size=40
)
Steps = list[tuple[int, int, Step[Counter]]]


def walk(policy: FixedWindowPolicy, taken: list[tuple[int, int]]) -> Steps:
    """Make calls on one key; return time, cost and step of each."""
    now_us, state, steps = START_US, None, []
    for passed_us, cost in taken:
        now_us += passed_us
        step = check_fixed_window(policy, state, now_us, cost, commit=True)
        steps.append((now_us, cost, step))
        state = step.state
    return steps


def look(policy: FixedWindowPolicy, state: Counter | None, now_us: int, cost: int) -> Verdict:
    """Return the verdict of a Peek."""
    return check_fixed_window(policy, state, now_us, cost, commit=False).verdict


@given(policies, calls)
def test_no_window_admits_more_than_the_limit(policy: FixedWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """Whatever is asked, what a window admits is within the limit."""
    admitted: dict[int, int] = {}
    for now_us, cost, step in walk(policy, taken):
        if step.verdict.allowed:
            window = now_us // (policy.window_us or 1)
            admitted[window] = admitted.get(window, 0) + cost
    assert all(total <= policy.limit for total in admitted.values())


@given(policies.filter(lambda policy: not policy.charge_refused), calls)
def test_what_fits_is_admitted(policy: FixedWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """Only what would pass the limit is refused, and costs nothing."""
    admitted: dict[int, int] = {}
    for now_us, cost, step in walk(policy, taken):
        window = now_us // (policy.window_us or 1)
        before = admitted.get(window, 0)
        assert step.verdict.allowed is (cost == 0 or before + cost <= policy.limit)
        admitted[window] = before + cost if step.verdict.allowed else before


@given(policies, calls)
def test_ttl_lasts_to_the_windows_end(policy: FixedWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """Rounded up to the millisecond, and at least one."""
    for now_us, _, step in walk(policy, taken):
        if step.ttl_ms is not None:
            end_us = (now_us // (policy.window_us or 1) + 1) * (policy.window_us or 1)
            assert step.ttl_ms >= 1
            assert 0 <= now_us + step.ttl_ms * 1_000 - end_us < 1_000


@given(policies, calls, st.integers(1, 25))
def test_retry_and_reset_are_exact(policy: FixedWindowPolicy, taken: list[tuple[int, int]], cost: int) -> None:
    """At the window's end, and not a microsecond before, what was refused fits and all is back."""
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    verdict = look(policy, state, now_us, cost)
    if not verdict.allowed and cost <= policy.limit:
        then_us = now_us + verdict.retry_after_us
        assert [False, True] == [look(policy, state, at_us, cost).allowed for at_us in (then_us - 1, then_us)]
    then_us = now_us + verdict.reset_after_us
    assert policy.limit == look(policy, state, then_us, 0).remaining


@given(policies, calls, st.integers(-90 * SECOND_US, 90 * SECOND_US), st.integers(0, 30))
def test_peek_says_what_check_would_and_changes_nothing(
    policy: FixedWindowPolicy, taken: list[tuple[int, int]], passed_us: int, cost: int
) -> None:
    """A Peek agrees with the Check at the same time, and writes nothing, whatever the clock did."""
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    now_us += passed_us
    peeked = check_fixed_window(policy, state, now_us, cost, commit=False)
    checked = check_fixed_window(policy, state, now_us, cost, commit=True).verdict
    assert (checked.allowed, checked.retry_after_us) == (peeked.verdict.allowed, peeked.verdict.retry_after_us)
    assert (state, None) == (peeked.state, peeked.ttl_ms)


def test_twice_the_limit_passes_across_a_boundary() -> None:
    """Ten at the end of a minute and ten at the start of the next: the algorithm's known price."""
    steps = walk(MINUTELY, [(MINUTE_US - 1, 10), (1, 10), (0, 1)])
    assert [True, True, False] == [step.verdict.allowed for _, _, step in steps]


def test_refused_cost_is_charged_where_the_policy_says_so() -> None:
    """What is refused is counted: nothing remains, and a smaller cost does not fit any more."""
    steps = walk(CHARGING, [(0, 8), (0, 5), (0, 1)])
    assert [(True, 2), (False, 0), (False, 0)] == [step.verdict[:2] for _, _, step in steps]


def test_cost_above_the_limit_is_charged_too() -> None:
    """As a plain counter would."""
    step = check_fixed_window(CHARGING, None, START_US, 11, commit=True)
    assert (False, 0, 11) == (*step.verdict[:2], (step.state or Counter(0, 0, 0)).counted)


def test_charges_end_where_counts_are_not_exact_any_more() -> None:
    """A year of refused costs passes no bound of the script."""
    full = Counter(START_US, START_US + MINUTE_US, MOST_COUNTED - 1)
    assert MOST_COUNTED == (check_fixed_window(CHARGING, full, START_US, 5, commit=True).state or full).counted


def test_limit_of_zero_refuses_everything_but_nothing() -> None:
    """Until the end of each window, over and over."""
    none = FixedWindowPolicy(name="f", limit=0, window_us=MINUTE_US)
    refused, nothing = look(none, None, START_US, 1), look(none, None, START_US, 0)
    assert (Verdict(False, 0, MINUTE_US, 0), True) == (refused, nothing.allowed)


def test_small_step_back_counts_on_in_the_window_that_had_begun() -> None:
    """A full window stays full until the clock gets to its end."""
    full = check_fixed_window(MINUTELY, None, START_US, 10, commit=True).state
    refused = check_fixed_window(MINUTELY, full, START_US - 1, 1, commit=True)
    assert (False, MINUTE_US + 1) == (refused.verdict.allowed, refused.verdict.retry_after_us)


def test_step_back_beyond_a_window_starts_anew() -> None:
    """Nobody waits for the clock to catch up."""
    full = check_fixed_window(MINUTELY, None, START_US, 10, commit=True).state
    assert look(MINUTELY, full, START_US - MINUTE_US - 1, 10).allowed


def test_shorter_windows_count_what_the_old_one_held_once() -> None:
    """A refused call moves the count into the present window, so that the next one is whole."""
    full = check_fixed_window(HOURLY, None, START_US, 10, commit=True).state
    refused = check_fixed_window(MINUTELY, full, START_US + 1, 1, commit=True)
    assert (False, 10) == (refused.verdict.allowed, look(MINUTELY, refused.state, START_US + MINUTE_US, 10).remaining)


def test_longer_windows_count_what_the_old_one_held() -> None:
    """A change of the length gives no fresh allowance."""
    used = check_fixed_window(MINUTELY, None, START_US, 7, commit=True).state
    assert 3 == look(HOURLY, used, START_US + 1, 0).remaining


@pytest.mark.parametrize(("now_us", "retry_after_us"), [(0, 10), (9, 1), (10, 20), (29, 1), (30, 30), (59, 1)])
def test_calendar_window_is_the_one_that_holds_the_time(now_us: int, retry_after_us: int) -> None:
    """The boundaries may be reckoned for a time that is a window off."""
    step = check_fixed_window(CLOSED, None, now_us, 1, commit=True, boundaries=Boundaries(0, 10, 30, 60))
    assert retry_after_us == step.verdict.retry_after_us


@pytest.mark.parametrize("now_us", [4, 60])
def test_time_in_no_window_is_an_error(now_us: int) -> None:
    """The caller's estimate was more than a window off."""
    with pytest.raises(ClockError):
        check_fixed_window(CLOSED, None, now_us, 1, commit=True, boundaries=Boundaries(5, 10, 30, 60))
