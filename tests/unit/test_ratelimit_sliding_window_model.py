"""What a sliding window promises, held against its model; the script equals the model (tests/differential)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.model import Step, Verdict, Window, check_sliding_window
from sidecar.ratelimit.policy import MAX_LIMIT, SlidingWindowPolicy

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US + 123_457

# Windows that their sub-windows divide: only then is "a sub-window late" exact.
policies = st.builds(
    lambda limit, sub_window_us, sub_windows: SlidingWindowPolicy(
        name="auth", limit=limit, window_us=sub_window_us * sub_windows, sub_windows=sub_windows
    ),
    st.integers(1, 20) | st.integers(1, MAX_LIMIT),
    st.integers(1, 100) | st.just(6 * SECOND_US),
    st.integers(1, 12),
)
uneven = st.builds(
    SlidingWindowPolicy,
    name=st.just("auth"),
    limit=st.integers(1, 20),
    window_us=st.integers(12, 500),
    sub_windows=st.integers(1, 12),
)
calls = st.lists(
    st.tuples(st.integers(0, 300) | st.integers(0, 90 * SECOND_US), st.integers(0, 20)), min_size=1, max_size=40
)
Steps = list[tuple[int, int, Step[Window]]]


def walk(policy: SlidingWindowPolicy, taken: list[tuple[int, int]]) -> Steps:
    """Make calls on one key; return time, cost and step of each."""
    now_us, state, steps = START_US, None, []
    for passed_us, cost in taken:
        now_us += passed_us
        step = check_sliding_window(policy, state, now_us, min(cost, policy.limit), commit=True)
        steps.append((now_us, min(cost, policy.limit), step))
        state = step.state
    return steps


def look(policy: SlidingWindowPolicy, state: Window | None, now_us: int, cost: int) -> Verdict:
    """Return the verdict of a Peek."""
    return check_sliding_window(policy, state, now_us, cost, commit=False).verdict


def admitted_between(steps: Steps, first_us: int, last_us: int) -> int:
    """Return what was admitted from `first_us` to `last_us`, both counted."""
    return sum(cost for now_us, cost, step in steps if step.verdict.allowed and first_us <= now_us <= last_us)


@given(policies | uneven, calls)
def test_no_interval_holds_more_than_the_limit(policy: SlidingWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """No interval of the window's length, both ends counted, holds more than the limit."""
    steps = walk(policy, taken)
    for now_us, _, _ in steps:
        assert admitted_between(steps, now_us, now_us + policy.window_us) <= policy.limit


@given(policies, calls)
def test_slot_comes_free_at_most_a_sub_window_late(policy: SlidingWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """What is refused would also be refused by an exact log of a window and a sub-window."""
    steps = walk(policy, taken)
    for number, (now_us, cost, step) in enumerate(steps):
        if not step.verdict.allowed:
            log_us = policy.window_us + policy.sub_window_us
            assert admitted_between(steps[:number], now_us - log_us + 1, now_us) + cost > policy.limit


@given(policies | uneven, calls, st.integers(1, MAX_LIMIT))
def test_retry_after_is_exact(policy: SlidingWindowPolicy, taken: list[tuple[int, int]], cost: int) -> None:
    """A refused cost is allowed after `retry_after`, and not a microsecond before."""
    cost = min(cost, policy.limit)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    verdict = look(policy, state, now_us, cost)
    if not verdict.allowed:
        then_us = now_us + verdict.retry_after_us
        assert [False, True] == [look(policy, state, at_us, cost).allowed for at_us in (then_us - 1, then_us)]


@given(policies | uneven, calls)
def test_reset_after_is_exact(policy: SlidingWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """All of the limit is there after `reset_after`, and not a microsecond before."""
    now_us, _, (verdict, state, _) = walk(policy, taken)[-1]
    then_us = now_us + verdict.reset_after_us
    assert policy.limit == look(policy, state, then_us, 0).remaining
    if verdict.reset_after_us:
        assert look(policy, state, then_us - 1, 0).remaining < policy.limit


@given(policies, calls)
def test_refused_call_costs_nothing(policy: SlidingWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """A refused call writes nothing, so that the state stays what it was."""
    before: Window | None = None
    for _, _, step in walk(policy, taken):
        if not step.verdict.allowed:
            assert (before, None) == (step.state, step.ttl_ms)
        before = step.state


@given(policies, calls, st.integers(-90 * SECOND_US, 90 * SECOND_US), st.integers(0, MAX_LIMIT))
def test_peek_says_what_check_would_and_changes_nothing(
    policy: SlidingWindowPolicy, taken: list[tuple[int, int]], passed_us: int, cost: int
) -> None:
    """A Peek agrees with the Check at the same time, and writes nothing, whatever the clock did."""
    cost = min(cost, policy.limit)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    now_us += passed_us
    peeked = check_sliding_window(policy, state, now_us, cost, commit=False)
    checked = check_sliding_window(policy, state, now_us, cost, commit=True).verdict
    assert (checked.allowed, checked.retry_after_us) == (peeked.verdict.allowed, peeked.verdict.retry_after_us)
    assert (state, None) == (peeked.state, peeked.ttl_ms)


@given(policies, calls, st.integers(-90 * SECOND_US, 90 * SECOND_US))
def test_cost_of_zero_is_allowed_and_changes_nothing(
    policy: SlidingWindowPolicy, taken: list[tuple[int, int]], passed_us: int
) -> None:
    """Nothing can always be had, and counting it writes nothing."""
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    step = check_sliding_window(policy, state, now_us + passed_us, 0, commit=True)
    assert (True, 0, state, None) == (step.verdict.allowed, step.verdict.retry_after_us, step.state, step.ttl_ms)


@given(policies | uneven, calls)
def test_ttl_lasts_until_the_newest_count_leaves(policy: SlidingWindowPolicy, taken: list[tuple[int, int]]) -> None:
    """What is written lives until nothing of it counts, rounded up to the millisecond."""
    for _, _, step in walk(policy, taken):
        if step.ttl_ms is not None:
            assert step.ttl_ms >= 1
            assert 0 <= step.ttl_ms * 1_000 - step.verdict.reset_after_us < 1_000


@given(policies, st.data())
def test_small_step_back_admits_no_more(policy: SlidingWindowPolicy, data: st.DataObject) -> None:
    """When the clock goes back by less than the window, a full window stays full until the clock gets there."""
    state = check_sliding_window(policy, None, START_US, policy.limit, commit=True).state
    now_us = START_US - data.draw(st.integers(0, policy.window_us - 1))
    refused = check_sliding_window(policy, state, now_us, 1, commit=True)
    then_us = now_us + refused.verdict.retry_after_us
    assert (False, True) == (refused.verdict.allowed, look(policy, refused.state, then_us, 1).allowed)


@given(policies, st.integers(1, 90 * SECOND_US))
def test_step_back_beyond_the_window_starts_anew(policy: SlidingWindowPolicy, further_us: int) -> None:
    """When the clock goes back by more than the window, nobody waits for it to catch up."""
    state = check_sliding_window(policy, None, START_US, policy.limit, commit=True).state
    now_us = START_US - policy.counted * policy.sub_window_us - further_us
    assert Verdict(True, policy.limit, 0, 0) == look(policy, state, now_us, policy.limit)


def test_eleventh_login_of_a_minute_waits_for_the_first() -> None:
    """Ten logins in ten seconds: the eleventh may come when the first one's sub-window has left."""
    policy = SlidingWindowPolicy(name="auth", limit=10, window_us=60 * SECOND_US)
    aligned_us = 1_700_000_040 * SECOND_US
    state = None
    for second in range(10):
        state = check_sliding_window(policy, state, aligned_us + second * SECOND_US, 1, commit=True).state
    refused = check_sliding_window(policy, state, aligned_us + 10 * SECOND_US, 1, commit=True)
    assert Verdict(False, 0, 56 * SECOND_US, 62 * SECOND_US) == refused.verdict


def test_lowered_limit_leaves_nothing_but_refuses_nothing_free() -> None:
    """With more counted than the new limit, `remaining` is zero, not negative, and a cost of zero is allowed."""
    old = SlidingWindowPolicy(name="auth", limit=10, window_us=60 * SECOND_US)
    new = SlidingWindowPolicy(name="auth", limit=3, window_us=60 * SECOND_US)
    state = check_sliding_window(old, None, START_US, 10, commit=True).state
    verdict = look(new, state, START_US, 0)
    assert (True, 0) == (verdict.allowed, verdict.remaining)


def test_other_sub_windows_count_from_now() -> None:
    """A policy with other sub-windows counts all that the old one counted, from now."""
    old = SlidingWindowPolicy(name="auth", limit=10, window_us=60 * SECOND_US)
    new = SlidingWindowPolicy(name="auth", limit=10, window_us=30 * SECOND_US)
    state = check_sliding_window(old, None, START_US, 4, commit=True).state
    state = check_sliding_window(old, state, START_US + 7 * SECOND_US, 3, commit=True).state
    assert 3 == look(new, state, START_US + 20 * SECOND_US, 0).remaining


def test_old_windows_count_is_over_after_a_window_even_if_every_call_is_refused() -> None:
    """A day's thousand is far above a minute's ten; it counts for that minute, and not for the rest of the day."""
    old = SlidingWindowPolicy(name="auth", limit=1_000, window_us=86_400 * SECOND_US)
    new = SlidingWindowPolicy(name="auth", limit=10, window_us=60 * SECOND_US)
    state = check_sliding_window(old, None, START_US, 1_000, commit=True).state
    refused = check_sliding_window(new, state, START_US + SECOND_US, 1, commit=True)
    then_us = START_US + SECOND_US + refused.verdict.retry_after_us
    assert (False, True) == (refused.verdict.allowed, look(new, refused.state, then_us, 10).allowed)
    assert refused.verdict.retry_after_us <= 66 * SECOND_US
