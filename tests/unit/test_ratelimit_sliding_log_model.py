"""What a sliding log promises, held against its model; the script equals the model (tests/differential)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.model import Step, Verdict
from sidecar.ratelimit.models.sliding_log import SHORT, Entries, check_sliding_log
from sidecar.ratelimit.policy import MIN_WINDOW_US, SlidingLogPolicy

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
START_US = 1_700_000_000 * SECOND_US + 123_457
LOGINS = SlidingLogPolicy(name="log", limit=10, window_us=MINUTE_US)

policies = st.builds(
    SlidingLogPolicy,
    name=st.just("log"),
    limit=st.integers(1, 20) | st.integers(SHORT - 1, SHORT + 20),
    window_us=st.integers(MIN_WINDOW_US, 90 * SECOND_US),
)
calls = st.lists(
    st.tuples(st.integers(0, 9_000) | st.integers(0, 90 * SECOND_US), st.integers(0, 25)), min_size=1, max_size=40
)
Steps = list[tuple[int, int, Step[Entries]]]


def walk(policy: SlidingLogPolicy, taken: list[tuple[int, int]]) -> Steps:
    """Make calls on one key; return time, cost and step of each."""
    now_us, state, steps = START_US, None, []
    for passed_us, cost in taken:
        now_us += passed_us
        step = check_sliding_log(policy, state, now_us, min(cost, policy.limit), commit=True)
        steps.append((now_us, min(cost, policy.limit), step))
        state = step.state
    return steps


def look(policy: SlidingLogPolicy, state: Entries | None, now_us: int, cost: int) -> Verdict:
    """Return the verdict of a Peek."""
    return check_sliding_log(policy, state, now_us, cost, commit=False).verdict


def admitted_between(steps: Steps, first_us: int, last_us: int) -> int:
    """Return what was admitted from `first_us` to `last_us`, both counted."""
    return sum(cost for now_us, cost, step in steps if step.verdict.allowed and first_us <= now_us <= last_us)


@given(policies, calls)
def test_it_admits_exactly_what_fits(policy: SlidingLogPolicy, taken: list[tuple[int, int]]) -> None:
    """A call is admitted if, and only if, the window up to it then holds no more than the limit."""
    steps = walk(policy, taken)
    for number, (now_us, cost, step) in enumerate(steps):
        before = admitted_between(steps[:number], now_us - policy.window_us, now_us)
        assert step.verdict.allowed is (cost == 0 or before + cost <= policy.limit)


@given(policies, calls)
def test_no_interval_holds_more_than_the_limit(policy: SlidingLogPolicy, taken: list[tuple[int, int]]) -> None:
    """No interval of the window's length, both ends counted, holds more than the limit."""
    steps = walk(policy, taken)
    for now_us, _, _ in steps:
        assert admitted_between(steps, now_us, now_us + policy.window_us) <= policy.limit


@given(policies, calls, st.integers(1, 90))
def test_retry_and_reset_are_exact(policy: SlidingLogPolicy, taken: list[tuple[int, int]], cost: int) -> None:
    """A refused cost fits after `retry_after`, all is back after `reset_after`, and neither a microsecond before."""
    cost = min(cost, policy.limit)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    verdict = look(policy, state, now_us, cost)
    if not verdict.allowed:
        then_us = now_us + verdict.retry_after_us
        assert [False, True] == [look(policy, state, at_us, cost).allowed for at_us in (then_us - 1, then_us)]
    if verdict.reset_after_us:
        then_us = now_us + verdict.reset_after_us
        left = [look(policy, state, at_us, 0).remaining for at_us in (then_us - 1, then_us)]
        assert left[0] < left[1] == policy.limit


@given(policies, calls, st.integers(-90 * SECOND_US, 90 * SECOND_US), st.integers(0, 90))
def test_peek_says_what_check_would_and_changes_nothing(
    policy: SlidingLogPolicy, taken: list[tuple[int, int]], passed_us: int, cost: int
) -> None:
    """A Peek agrees with the Check at the same time, and writes nothing, whatever the clock did."""
    cost = min(cost, policy.limit)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    now_us += passed_us
    peeked = check_sliding_log(policy, state, now_us, cost, commit=False)
    checked = check_sliding_log(policy, state, now_us, cost, commit=True).verdict
    assert (checked.allowed, checked.retry_after_us) == (peeked.verdict.allowed, peeked.verdict.retry_after_us)
    assert (state, None) == (peeked.state, peeked.ttl_ms)


@given(policies, calls)
def test_log_is_never_longer_than_twice_the_limit(policy: SlidingLogPolicy, taken: list[tuple[int, int]]) -> None:
    """What has left makes up no more than what has not, and an entry."""
    for _, _, step in walk(policy, taken):
        assert len(step.state or ()) <= 2 * policy.limit + 1


def test_ten_minutes_of_hammering_admit_ten_a_minute() -> None:
    """A caller who asks at every moment that may pay gets ten in any sixty seconds, and never more."""
    taken = [(0, 1)] * 11 + [(MINUTE_US, 1), (1, 1), *[(0, 1)] * 10] * 10
    steps = walk(LOGINS, taken)
    assert {10} == {admitted_between(steps, now_us, now_us + MINUTE_US) for now_us, _, step in steps if step.ttl_ms}


def test_small_step_back_counts_on_at_the_newest_entry() -> None:
    """A full log stays full until the clock has caught up and the window passed."""
    full = check_sliding_log(LOGINS, None, START_US, 10, commit=True).state
    refused = look(LOGINS, full, START_US - SECOND_US, 1)
    assert (False, MINUTE_US + SECOND_US + 1) == (refused.allowed, refused.retry_after_us)


def test_step_back_beyond_the_window_starts_anew() -> None:
    """Nobody waits for the clock to catch up."""
    full = check_sliding_log(LOGINS, None, START_US, 10, commit=True).state
    assert Verdict(True, 10, 0, 0) == look(LOGINS, full, START_US - MINUTE_US - 1, 10)


def test_shorter_window_counts_less_of_the_same_log() -> None:
    """Entries are times: another window counts those that it holds."""
    shorter = SlidingLogPolicy(name="log", limit=10, window_us=SECOND_US)
    state = check_sliding_log(LOGINS, None, START_US, 4, commit=True).state
    state = check_sliding_log(LOGINS, state, START_US + 2 * SECOND_US, 3, commit=True).state
    assert [3, 7] == [look(policy, state, START_US + 2 * SECOND_US, 0).remaining for policy in (LOGINS, shorter)]


def test_lowered_limit_leaves_nothing() -> None:
    """With more entered than the new limit, nothing remains and nothing is negative."""
    lower = SlidingLogPolicy(name="log", limit=3, window_us=MINUTE_US)
    state = check_sliding_log(LOGINS, None, START_US, 10, commit=True).state
    assert (True, 0) == look(lower, state, START_US, 0)[:2]
