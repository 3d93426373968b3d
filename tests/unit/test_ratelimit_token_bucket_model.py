"""What a token bucket promises, held against its model; the script equals the model (tests/differential)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.model import FOREVER_US, Bucket, Step, Verdict, check_token_bucket
from sidecar.ratelimit.policy import MAX_BURST, TokenBucketPolicy

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
START_US = 1_700_000_000 * SECOND_US + 123_457

policies = st.builds(
    TokenBucketPolicy,
    name=st.just("api"),
    tokens=st.integers(1, 50),
    period_us=st.integers(1, 200) | st.sampled_from([SECOND_US, DAY_US, 999_983]),
    burst=st.integers(1, 20) | st.integers(1, MAX_BURST),
)
coarse = TokenBucketPolicy(name="coarse", tokens=99_999_989, period_us=DAY_US, burst=50)
# Time passed since the call before, and the cost as a share of what makes it interesting.
calls = st.lists(st.tuples(st.integers(0, 300) | st.integers(0, DAY_US), st.integers(0, 20)), min_size=1, max_size=30)


def walk(
    policy: TokenBucketPolicy, taken: list[tuple[int, int]], *, commit: bool = True
) -> list[tuple[int, int, Step[Bucket]]]:
    """Make calls on one bucket; return time, cost and step of each."""
    now_us, state, steps = START_US, None, []
    for passed_us, cost in taken:
        now_us += passed_us
        step = check_token_bucket(policy, state, now_us, min(cost, policy.burst), commit=commit)
        steps.append((now_us, min(cost, policy.burst), step))
        state = step.state
    return steps


def look(policy: TokenBucketPolicy, state: Bucket | None, now_us: int, cost: int) -> Verdict:
    """Return the verdict of a Peek."""
    return check_token_bucket(policy, state, now_us, cost, commit=False).verdict


@given(policies | st.just(coarse), calls)
def test_never_admits_more_than_burst_and_rate(policy: TokenBucketPolicy, taken: list[tuple[int, int]]) -> None:
    """Between any two calls, both counted, at most the burst and the rate for the time between is admitted."""
    num, den, tick_us = policy.rate
    steps = walk(policy, taken)
    for first, (since_us, _, _) in enumerate(steps):
        admitted = 0
        for now_us, cost, step in steps[first:]:
            admitted += cost * step.verdict.allowed
            ticks = now_us // tick_us - since_us // tick_us
            assert admitted * den <= policy.burst * den + num * ticks


@given(policies, calls)
def test_asking_often_loses_nothing(policy: TokenBucketPolicy, taken: list[tuple[int, int]]) -> None:
    """However often a bucket was asked in between, it fills at its exact rate."""
    num, den, _ = policy.rate
    empty = check_token_bucket(policy, None, START_US, policy.burst, commit=True).state
    state, now_us = empty, START_US
    for passed_us, _ in taken:
        now_us += passed_us
        state = check_token_bucket(policy, state, now_us, policy.burst, commit=True).state
        if state != empty:
            return  # it was full and is now taken from
    assert (now_us - START_US) * num // den == look(policy, state, now_us, 1).remaining


@given(policies | st.just(coarse), calls, st.integers(1, MAX_BURST))
def test_retry_after_is_exact(policy: TokenBucketPolicy, taken: list[tuple[int, int]], cost: int) -> None:
    """A refused cost is allowed after `retry_after`, and not a microsecond before."""
    cost = min(cost, policy.burst)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    wait_us = look(policy, state, now_us, cost).retry_after_us
    if 0 < wait_us < FOREVER_US:
        then_us = now_us + wait_us
        assert [False, True] == [look(policy, state, at_us, cost).allowed for at_us in (then_us - 1, then_us)]


@given(policies | st.just(coarse), calls)
def test_reset_after_is_exact(policy: TokenBucketPolicy, taken: list[tuple[int, int]]) -> None:
    """The bucket is full after `reset_after`, and not a microsecond before."""
    now_us, _, (verdict, state, _) = walk(policy, taken)[-1]
    if 0 < verdict.reset_after_us < FOREVER_US:
        then_us = now_us + verdict.reset_after_us
        left = [look(policy, state, at_us, 0).remaining for at_us in (then_us - 1, then_us)]
        assert [policy.burst - 1, policy.burst] == [max(left[0], policy.burst - 1), left[1]]
        assert left[0] < policy.burst


@given(policies, calls)
def test_refused_call_costs_nothing(policy: TokenBucketPolicy, taken: list[tuple[int, int]]) -> None:
    """A refused call writes nothing, so that the state stays what it was."""
    steps = walk(policy, taken)
    before: Bucket | None = None
    for _, _, step in steps:
        if not step.verdict.allowed:
            assert (before, None) == (step.state, step.ttl_ms)
        before = step.state


@given(policies, calls, st.integers(-DAY_US, DAY_US), st.integers(0, MAX_BURST))
def test_peek_says_what_check_would_and_changes_nothing(
    policy: TokenBucketPolicy, taken: list[tuple[int, int]], passed_us: int, cost: int
) -> None:
    """A Peek agrees with the Check at the same time, and writes nothing, whatever the clock did."""
    cost = min(cost, policy.burst)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    now_us += passed_us
    peeked = check_token_bucket(policy, state, now_us, cost, commit=False)
    checked = check_token_bucket(policy, state, now_us, cost, commit=True).verdict
    assert (checked.allowed, checked.retry_after_us) == (peeked.verdict.allowed, peeked.verdict.retry_after_us)
    assert (state, None) == (peeked.state, peeked.ttl_ms)


@given(policies, calls, st.integers(-DAY_US, DAY_US))
def test_cost_of_zero_is_allowed_and_changes_nothing(
    policy: TokenBucketPolicy, taken: list[tuple[int, int]], passed_us: int
) -> None:
    """Nothing is always there to take, and taking it writes nothing."""
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    step = check_token_bucket(policy, state, now_us + passed_us, 0, commit=True)
    assert (True, 0, state, None) == (step.verdict.allowed, step.verdict.retry_after_us, step.state, step.ttl_ms)


@given(policies | st.just(coarse), calls)
def test_ttl_lasts_until_full(policy: TokenBucketPolicy, taken: list[tuple[int, int]]) -> None:
    """What is written lives until the bucket is full, rounded up to the millisecond."""
    for _, _, step in walk(policy, taken):
        if step.ttl_ms is not None:
            assert step.ttl_ms >= 1
            assert 0 <= step.ttl_ms * 1_000 - step.verdict.reset_after_us < 1_000


def test_duration_beyond_2_53_is_cut() -> None:
    """An empty bucket of a billion tokens at one a day is full in 2.7 million years, and says 285."""
    policy = TokenBucketPolicy(name="slow", tokens=1, period_us=DAY_US, burst=MAX_BURST)
    step = check_token_bucket(policy, None, START_US, MAX_BURST, commit=True)
    assert (2**53 - 1, -(-(2**53 - 1) // 1_000)) == (step.verdict.reset_after_us, step.ttl_ms)


@given(policies, st.integers(1, DAY_US))
def test_clock_that_went_back_does_not_stall_the_bucket(policy: TokenBucketPolicy, jump_us: int) -> None:
    """An empty bucket refuses at the earlier time, and fills from then on at its rate."""
    state = check_token_bucket(policy, None, START_US, policy.burst, commit=True).state
    refused = check_token_bucket(policy, state, START_US - jump_us, 1, commit=True)
    then_us = START_US - jump_us + refused.verdict.retry_after_us
    assert (False, True) == (refused.verdict.allowed, look(policy, refused.state, then_us, 1).allowed)


@pytest.mark.parametrize(
    ("changed", "remaining"),
    [
        ({"burst": 50}, 50),
        ({"burst": 1_000}, 79),
        ({"tokens": 1, "period_us": DAY_US}, 79),
        ({"tokens": 99_999_989, "period_us": DAY_US}, 79),
        ({"tokens": 1_000_000, "period_us": SECOND_US}, 79),
    ],
)
def test_changed_policy_keeps_the_whole_tokens(changed: dict[str, Any], remaining: int) -> None:
    """A new burst or rate goes on from the tokens that are there, and a fraction of the old rate is no tokens of it."""
    terms = {"tokens": 7, "period_us": 9 * SECOND_US, "burst": 100}
    old = TokenBucketPolicy(name="api", **terms)
    state = check_token_bucket(old, None, START_US, 20, commit=True).state
    now_us = START_US + SECOND_US  # seven ninths of a token later
    state = check_token_bucket(old, state, now_us, 1, commit=True).state
    assert remaining == look(TokenBucketPolicy(name="api", **(terms | changed)), state, now_us, 0).remaining
