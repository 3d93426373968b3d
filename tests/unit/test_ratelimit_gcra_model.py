"""What the generic cell rate algorithm promises, held against its model and the token bucket's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.model import Bucket, Step, Verdict, check_token_bucket
from sidecar.ratelimit.models.gcra import Arrival, check_gcra
from sidecar.ratelimit.policy import GcraPolicy, TokenBucketPolicy

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
START_US = 1_700_000_000 * SECOND_US + 123_457
PER_MINUTE = GcraPolicy(name="g", tokens=10, period_us=MINUTE_US, burst=10)

policies = st.builds(
    GcraPolicy,
    name=st.just("g"),
    tokens=st.integers(1, 1_000) | st.just(999_983),
    period_us=st.sampled_from([1, 7, 1_000, SECOND_US, MINUTE_US, 86_400 * SECOND_US]),
    burst=st.integers(1, 30) | st.integers(1, 3_000),
)
calls = st.lists(
    st.tuples(st.integers(0, 300) | st.integers(0, 90 * SECOND_US), st.integers(0, 40)), min_size=1, max_size=40
)


def walk(policy: GcraPolicy, taken: list[tuple[int, int]]) -> list[tuple[int, int, Step[Arrival]]]:
    """Make calls on one key; return time, cost and step of each."""
    now_us, state, steps = START_US, None, []
    for passed_us, cost in taken:
        now_us += passed_us
        step = check_gcra(policy, state, now_us, min(cost, policy.burst), commit=True)
        steps.append((now_us, min(cost, policy.burst), step))
        state = step.state
    return steps


def look(policy: GcraPolicy, state: Arrival | None, now_us: int, cost: int) -> Verdict:
    """Return the verdict of a Peek."""
    return check_gcra(policy, state, now_us, cost, commit=False).verdict


@given(policies, calls)
def test_it_answers_as_the_token_bucket(policy: GcraPolicy, taken: list[tuple[int, int]]) -> None:
    """While the clock runs forward every verdict and TTL are the bucket's, to the microsecond."""
    bucket = TokenBucketPolicy(name="b", tokens=policy.tokens, period_us=policy.period_us, burst=policy.burst)
    state: Bucket | None = None
    for now_us, cost, step in walk(policy, taken):
        other = check_token_bucket(bucket, state, now_us, cost, commit=True)
        state = other.state
        assert (other.verdict, other.ttl_ms) == (step.verdict, step.ttl_ms)


@given(policies, calls)
def test_no_time_admits_more_than_burst_and_rate(policy: GcraPolicy, taken: list[tuple[int, int]]) -> None:
    """From any call to any other no more passes than a burst and what the rate gives, a tick's worth included."""
    num, den, tick_us = policy.rate
    admitted = [(now_us, cost) for now_us, cost, step in walk(policy, taken) if step.verdict.allowed]
    for number, (first_us, _) in enumerate(admitted):
        total = 0
        for now_us, cost in admitted[number:]:
            total += cost
            ticks = now_us // tick_us - first_us // tick_us
            assert total * den <= policy.burst * den + ticks * num


@given(policies, calls, st.integers(1, 3_000))
def test_retry_after_is_exact(policy: GcraPolicy, taken: list[tuple[int, int]], cost: int) -> None:
    """A refused cost is allowed after `retry_after`, and not a microsecond before."""
    cost = min(cost, policy.burst)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    verdict = look(policy, state, now_us, cost)
    if not verdict.allowed:
        then_us = now_us + verdict.retry_after_us
        assert [False, True] == [look(policy, state, at_us, cost).allowed for at_us in (then_us - 1, then_us)]


@given(policies, calls, st.integers(-90 * SECOND_US, 90 * SECOND_US), st.integers(0, 3_000))
def test_peek_says_what_check_would_and_changes_nothing(
    policy: GcraPolicy, taken: list[tuple[int, int]], passed_us: int, cost: int
) -> None:
    """A Peek agrees with the Check at the same time, and writes nothing, whatever the clock did."""
    cost = min(cost, policy.burst)
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    now_us += passed_us
    peeked = check_gcra(policy, state, now_us, cost, commit=False)
    checked = check_gcra(policy, state, now_us, cost, commit=True).verdict
    assert (checked.allowed, checked.retry_after_us) == (peeked.verdict.allowed, peeked.verdict.retry_after_us)
    assert (state, None) == (peeked.state, peeked.ttl_ms)


@given(policies, calls, st.integers(1, 3_650 * 86_400 * SECOND_US))
def test_nobody_waits_longer_than_an_empty_bucket_when_the_clock_goes_back(
    policy: GcraPolicy, taken: list[tuple[int, int]], back_us: int
) -> None:
    """However far it goes back, all that is owed is a burst, and once a call was refused it stays at that."""
    now_us, _, (_, state, _) = walk(policy, taken)[-1]
    now_us -= back_us
    refused = check_gcra(policy, state, now_us, policy.burst, commit=True)
    if refused.verdict.allowed:
        return
    then_us = now_us + refused.verdict.retry_after_us
    _, den, _ = policy.rate
    assert refused.verdict.retry_after_us <= policy.burst * den * policy.rate.tick_us // policy.rate.num + 1_000
    assert look(policy, refused.state, then_us, policy.burst).allowed


def test_small_step_back_lengthens_the_wait_by_the_jump() -> None:
    """It errs on the side of refusing."""
    state = check_gcra(PER_MINUTE, None, START_US, 5, commit=True).state
    before, after = look(PER_MINUTE, state, START_US, 10), look(PER_MINUTE, state, START_US - SECOND_US, 10)
    assert SECOND_US == after.retry_after_us - before.retry_after_us


def test_changed_rate_keeps_the_time_owed() -> None:
    """Half a minute is owed at ten a minute; at twenty a minute it still is: ten tokens instead of five."""
    state = check_gcra(PER_MINUTE, None, START_US, 5, commit=True).state
    faster = GcraPolicy(name="g", tokens=20, period_us=MINUTE_US, burst=20)
    assert 10 == look(faster, state, START_US, 0).remaining


def test_changed_rate_owes_no_more_than_the_new_burst() -> None:
    """Ten days' worth at one a day is an empty bucket at a hundred a second, for a second and not for ten days."""
    slow = GcraPolicy(name="g", tokens=1, period_us=86_400 * SECOND_US, burst=10)
    fast = GcraPolicy(name="g", tokens=100, period_us=SECOND_US, burst=100)
    state = check_gcra(slow, None, START_US, 10, commit=True).state
    refused = check_gcra(fast, state, START_US, 1, commit=True)
    assert (0, 10_000) == (refused.verdict.remaining, refused.verdict.retry_after_us)
    assert 100 == look(fast, refused.state, START_US + SECOND_US, 0).remaining
