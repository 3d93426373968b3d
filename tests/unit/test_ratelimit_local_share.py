"""A share of a limit: what it is, that it holds, and that many of them hold together."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.limit_models import random_bucket, random_gcra, random_log, random_window

from sidecar.ratelimit.calendar_windows import Calendar, CalendarUnit
from sidecar.ratelimit.local_share import check_shares, overshoot_of, share_of
from sidecar.ratelimit.outage import COME_BACK_US
from sidecar.ratelimit.policy import (
    MAX_PERIOD_US,
    FixedWindowPolicy,
    GcraPolicy,
    Policy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
START_US = 1_750_000_000 * SECOND_US
# As many entries as a share's state may have: the counts of ten sub-windows and of the one before.
MOST_COUNTS = 11


def random_fixed(rng: random.Random) -> FixedWindowPolicy:
    """Return any policy of fixed windows, one of a limit of nothing too."""
    limit = rng.choice([0, 1, rng.randint(2, 1_000)])
    if rng.random() < 1 / 2:
        return FixedWindowPolicy(name="fixed", limit=limit, window_us=rng.choice([10_000, SECOND_US, DAY_US]))
    unit = rng.choice(list(CalendarUnit))
    return FixedWindowPolicy(name="fixed", limit=limit, calendar=Calendar(unit, ZoneInfo("Europe/Berlin")))


KINDS: list[Callable[[random.Random], Policy]] = [random_bucket, random_gcra, random_log, random_window, random_fixed]
policies = st.builds(lambda seed, kind: kind(random.Random(seed)), st.integers(0, 2**32), st.sampled_from(KINDS))


@given(policies, st.integers(1, 10_000))
def test_shares_are_no_more_than_the_limit(policy: Policy, live: int) -> None:
    """An nth, rounded down, but at least one of a limit that is not nothing; all of it for one alone."""
    share = share_of(policy, live)
    assert min(policy.limit, max(1, policy.limit // live)) >= share.limit
    assert (share.limit == 0) is (policy.limit == 0)
    if live == 1 and not isinstance(policy, GcraPolicy):
        assert policy.limit == share.limit


@given(policies.filter(lambda policy: isinstance(policy, TokenBucketPolicy | GcraPolicy)), st.integers(1, 10_000))
def test_a_shares_rate_is_an_nth_and_hardly_less(policy: TokenBucketPolicy | GcraPolicy, live: int) -> None:
    """Never more, but for rates below a token a year; less by a thousandth at most."""
    share = share_of(policy, live)
    assert isinstance(share, TokenBucketPolicy | GcraPolicy)
    # Both as tokens in the product of the three: no fraction is rounded.
    due = policy.tokens * share.period_us
    given_ = share.tokens * policy.period_us * live
    if share.period_us < MAX_PERIOD_US:
        assert due * 999 <= given_ * 1_000
        assert given_ <= due


@given(policies, st.integers(1, 50), st.lists(st.tuples(st.integers(0, 2 * DAY_US), st.integers(0, 30)), max_size=60))
@settings(deadline=None)
def test_a_share_keeps_little_and_never_says_nonsense(
    policy: Policy, live: int, steps: list[tuple[int, int]]
) -> None:  # fmt: skip
    """Whatever is asked for: a state has a bound, what remains is within the share, who is refused is told when."""
    share = share_of(policy, live)
    now_us, state = START_US, None
    for wait_us, cost in steps:
        now_us += wait_us
        local = check_shares([share], [state], now_us, cost, commit=True)
        ((verdict, state, ttl_ms),) = local.steps
        assert 0 <= verdict.remaining <= share.limit
        assert verdict.allowed is (verdict.retry_after_us == 0)
        assert (local.expires_us is None) is (ttl_ms is None)
        if isinstance(share, SlidingWindowPolicy) and state is not None:
            assert len(state.counts) <= MOST_COUNTS


WINDOWED = [
    SlidingWindowPolicy(name="window", limit=20, window_us=SECOND_US, sub_windows=40),
    SlidingLogPolicy(name="log", limit=20, window_us=SECOND_US),
    FixedWindowPolicy(name="fixed", limit=20, window_us=SECOND_US),
]
calls = st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 6), st.integers(1, 5)), min_size=20, max_size=120)


@pytest.mark.parametrize("policy", WINDOWED, ids=lambda policy: policy.name)
@given(calls)
@settings(deadline=None)
def test_all_shares_together_stay_within_what_is_said(policy: Policy, asked: list[tuple[int, int, int]]) -> None:
    """Seven sidecars admit no more than the overshoot in any window; it is below the limit."""
    live = 7
    shares = [share_of(policy, live)] * live
    states: list[Any] = [None] * live
    now_us, admitted = START_US, []
    for wait_us, sidecar, cost in asked:
        now_us += wait_us
        ((verdict, states[sidecar], _),) = check_shares(
            [shares[sidecar]], [states[sidecar]], now_us, cost, commit=True
        ).steps
        if verdict.allowed:
            admitted.append((now_us, cost))
    for at_us, _ in admitted:
        if isinstance(policy, FixedWindowPolicy):
            held = sum(cost for then_us, cost in admitted if then_us // SECOND_US == at_us // SECOND_US)
        else:
            held = sum(cost for then_us, cost in admitted if at_us - SECOND_US < then_us <= at_us)
        assert held <= overshoot_of(policy, live) <= policy.limit


@given(calls)
@settings(deadline=None)
def test_all_shares_of_a_bucket_stay_within_what_is_said(asked: list[tuple[int, int, int]]) -> None:
    """In any time in which the policy's own bucket fills."""
    policy, live = TokenBucketPolicy(name="bucket", tokens=20, period_us=SECOND_US, burst=20), 7
    share = share_of(policy, live)
    states: list[Any] = [None] * live
    now_us, admitted = START_US, []
    for wait_us, sidecar, cost in asked:
        now_us += wait_us
        ((verdict, states[sidecar], _),) = check_shares([share], [states[sidecar]], now_us, cost, commit=True).steps
        if verdict.allowed:
            admitted.append((now_us, cost))
    for at_us, _ in admitted:
        held = sum(cost for then_us, cost in admitted if at_us - SECOND_US <= then_us <= at_us)
        assert held <= overshoot_of(policy, live) <= 2 * policy.limit


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_share_is_refused_until_the_store_is_back(kind: Callable[[random.Random], Policy]) -> None:
    """Though the limit may hold it: no wait that the share knows of would help."""
    rng = random.Random(5)
    policy = kind(rng)
    while policy.limit < 2:
        policy = kind(rng)
    share = share_of(policy, 10_000)
    ((verdict, state, _),) = check_shares([share], [None], START_US, share.limit + 1, commit=True).steps
    assert (False, share.limit, COME_BACK_US, None) == (*verdict[:3], state)


def test_limits_are_charged_all_or_nothing() -> None:
    """What one share refuses is not taken from the other."""
    shares = [
        share_of(TokenBucketPolicy(name="bucket", tokens=1, period_us=DAY_US, burst=40), 4),
        share_of(FixedWindowPolicy(name="fixed", limit=20, window_us=DAY_US), 4),
    ]
    local = check_shares(shares, [None, None], START_US, 6, commit=True)
    assert ([(True, 10), (False, 5)], None) == ([step.verdict[:2] for step in local.steps], local.expires_us)


def test_overshoot_of_limits() -> None:
    """Of windows, the shares; of a bucket, also what they gain while it fills; each share is at least one."""
    window = SlidingWindowPolicy(name="window", limit=10, window_us=SECOND_US)
    bucket = TokenBucketPolicy(name="bucket", tokens=10, period_us=SECOND_US, burst=10)
    assert [10, 9, 20] == [overshoot_of(window, live) for live in (1, 3, 20)]
    assert [20, 20] == [overshoot_of(bucket, live) for live in (1, 5)]
