"""What a key has left when its limit's numbers change, by a reload or from call to call by its tier: never a new burst.

The record of the decision is docs/adr/0019-buckets-keep-tokens-not-shares.md; its figures are from here.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.model import Bucket, check_sliding_window, check_token_bucket
from sidecar.ratelimit.models.fixed_window import check_fixed_window
from sidecar.ratelimit.models.gcra import check_gcra
from sidecar.ratelimit.models.sliding_log import check_sliding_log
from sidecar.ratelimit.policy import (
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND_US = 1_000_000
NOW_US = 1_700_000_000 * SECOND_US

bursts = st.integers(1, 60)
rates = st.tuples(st.integers(1, 100), st.sampled_from([SECOND_US, 60 * SECOND_US, 999_983]))


def bucket(burst: int, rate: tuple[int, int] = (1, SECOND_US)) -> TokenBucketPolicy:
    """Return a token bucket."""
    return TokenBucketPolicy(name="api", tokens=rate[0], period_us=rate[1], burst=burst)


def gcra(burst: int, rate: tuple[int, int] = (1, SECOND_US)) -> GcraPolicy:
    """Return a GCRA."""
    return GcraPolicy(name="api", tokens=rate[0], period_us=rate[1], burst=burst)


buckets = st.builds(bucket, bursts, rates)


def left(check: Callable[..., Any], policy: object, state: object, now_us: int = NOW_US) -> int:
    """Return what Peek says is left."""
    remaining: int = check(policy, state, now_us, 0, commit=False).verdict.remaining
    return remaining


@given(buckets, buckets, st.integers(0, 59))
def test_a_bucket_keeps_its_tokens_up_to_the_new_burst(
    before: TokenBucketPolicy, after: TokenBucketPolicy, tokens: int
) -> None:
    """A key that had some left has as many, if so many fit; nothing is added."""
    state = Bucket(min(tokens, before.burst), 0, NOW_US)
    assert min(state.whole, after.burst) == left(check_token_bucket, after, state)


@given(st.lists(st.tuples(buckets, st.integers(0, 60)), min_size=1, max_size=30), st.integers(1, 60))
def test_alternating_tiers_win_nothing(calls: list[tuple[TokenBucketPolicy, int]], tokens: int) -> None:
    """At one moment all of them together take no more than was there, in whatever order they ask."""
    state: Bucket | None = Bucket(tokens, 0, NOW_US)
    taken = 0
    for policy, cost in calls:
        cost = min(cost, policy.burst)  # noqa: PLW2901 (what can be asked)
        step = check_token_bucket(policy, state, NOW_US, cost, commit=True)
        taken += cost * step.verdict.allowed
        state = step.state
    assert taken <= tokens


@given(buckets, st.lists(buckets, min_size=1, max_size=10), st.integers(0, 59))
def test_asking_by_other_tiers_changes_nothing(
    own: TokenBucketPolicy, others: list[TokenBucketPolicy], tokens: int
) -> None:
    """Who only looks, or is refused, leaves what there is, whatever its burst."""
    state: Bucket | None = Bucket(min(tokens, own.burst), 0, NOW_US)
    expected = left(check_token_bucket, own, state)
    for other in others:
        cost = min(other.burst, min(tokens, own.burst) + 1)
        commit = cost > left(check_token_bucket, other, state)
        state = check_token_bucket(other, state, NOW_US, cost, commit=commit).state
    assert expected == left(check_token_bucket, own, state)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 50))
def test_a_window_counts_the_same_for_every_limit(before: int, after: int, cost: int) -> None:
    """What is used is used."""
    for check, policy in (
        (check_sliding_window, SlidingWindowPolicy(name="w", limit=before, window_us=SECOND_US)),
        (check_sliding_log, SlidingLogPolicy(name="l", limit=before, window_us=SECOND_US)),
        (check_fixed_window, FixedWindowPolicy(name="f", limit=before, window_us=SECOND_US)),
    ):
        asking: Callable[..., Any] = check
        used = min(cost, before)
        state = asking(policy, None, NOW_US, used, commit=True).state
        assert max(0, after - used) == left(asking, replace(policy, limit=after), state)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 50))
def test_a_gcra_owes_the_same_time(before: int, after: int, cost: int) -> None:
    """A raised burst gives what is above the old one at once; a lowered one forgives what it cannot owe."""
    used = min(cost, before)
    state = check_gcra(gcra(before), None, NOW_US, used, commit=True).state
    assert max(0, after - used) == left(check_gcra, gcra(after), state)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=30))
def test_a_gcra_keeps_its_share_where_tiers_fill_in_the_same_time(calls: list[tuple[int, int]]) -> None:
    """Ten seconds each: what one takes is so much of the ten seconds, for all, and nothing is lost on the way."""
    tiers = {size: gcra(10 * size, (size, SECOND_US)) for size, _ in calls}
    state, owed_us, roundings = None, Fraction(0), 0
    for size, cost in calls:
        cost = min(cost, 10 * size)  # noqa: PLW2901 (what can be asked)
        step = check_gcra(tiers[size], state, NOW_US, cost, commit=True)
        state = step.state
        # A part of a tick that is none of the next one's counts as a whole: a microsecond each time, at the most.
        if step.verdict.allowed:
            owed_us, roundings = owed_us + Fraction(cost * SECOND_US, size), roundings + 1
        told_us = step.verdict.reset_after_us
        assert owed_us - 1 <= told_us <= owed_us + roundings + 1


def test_a_share_in_whole_tokens_would_be_lost_by_alternation() -> None:
    """Why it is not kept: a hundred tokens are gone after ten calls, five by each of two tiers of 100 and of 10."""
    level, burst, calls = 100, 100, 0
    while True:
        other = 110 - burst
        if calls:
            level, burst = level * other // burst, other
        if level < 1:
            break
        level, calls = level - 1, calls + 1
    assert 10 == calls


def test_what_is_full_by_one_tier_is_full_by_all() -> None:
    """What the lower tier's numbers let go is forgotten: a key lives as long as its bucket takes to fill by these."""
    pro, free = bucket(1_000, (10, SECOND_US)), bucket(10, (1, SECOND_US))
    used_up = check_token_bucket(pro, None, NOW_US, 1_000, commit=True)
    asked = check_token_bucket(free, used_up.state, NOW_US + SECOND_US, 1, commit=True)
    assert (100_000, True, 10_000) == (used_up.ttl_ms, asked.verdict.allowed, asked.ttl_ms)
