"""A sidecar's share of a limit, enforced without the store: pure functions over plain data.

While the store is gone, sidecars cannot know what the others let through. If each of the n that were last alive
enforces an nth of the limit, they enforce the limit together, whatever the load on each. Where the load is uneven some
callers are refused whom the store would have let through: that is the price, and it is paid in refusals.

**A share** is a policy of its own, over the same windows: an nth of the limit, rounded down, but at least 1, since a
share of nothing would refuse a small limit's every caller; of a bucket, an nth of the rate too. It is enforced by the
models that the scripts are tested against (`sidecar.ratelimit.model`), with one difference: in place of a sliding log,
and of a sliding window of many parts, stands a sliding window of ten. It never admits more, room comes free up to a
tenth of the window late, and its state has a bound: eleven counts, where a log has ten thousand entries.

**Overshoot.** A share begins whole, since nobody knows how the store's count stood. So in a window that is partly
before the outage, the store may have let the whole limit through and n shares another n times a share: about twice the
limit in the worst case. That is also what may come of it in any window if only some sidecars are cut off from a store
that serves the others. A bucket goes on filling meanwhile, so what n shares gain in the time in which the policy's own
bucket fills comes on top. `overshoot_of` returns that number. It holds as long as no more than n sidecars are alive,
and for one outage: one more within the same window may add as much again, if the store could not be charged with all
that the first had let through (`sidecar.ratelimit.reconcile`).

Rejected: to go on from the last known count of each key. It would have to be kept for every key all the time, for an
hour a year.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.ratelimit.model import Step, Verdict, check_sliding_window, check_token_bucket
from sidecar.ratelimit.models.fixed_window import check_fixed_window
from sidecar.ratelimit.models.gcra import check_gcra
from sidecar.ratelimit.models.together import check_together
from sidecar.ratelimit.outage import COME_BACK_US
from sidecar.ratelimit.policy import (
    MAX_AHEAD_US,
    MAX_PERIOD_US,
    FixedWindowPolicy,
    GcraPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.policy import Policy

    Share = TokenBucketPolicy | GcraPolicy | SlidingWindowPolicy | FixedWindowPolicy

# A share's window comes free a tenth late at most, and its state has eleven counts.
_MOST_SUB_WINDOWS = 10

_SECOND_US = 1_000_000

# Up to so many tokens a second a rate is written as one token in so many µs, above it as tokens a second: either way
# what rounding down takes off is under a thousandth.
_MANY_PER_SECOND = 1_000


class Local(NamedTuple):
    """What the limits of a policy decided together, and what is to be kept of it."""

    steps: list[Step[Any]]
    expires_us: int | None
    """When what is kept means nothing any more; None where nothing has changed."""


def share_of(policy: Policy, live: int) -> Share:
    """Return the share that each of `live` sidecars, at least 1, has of a limit."""
    limit = min(policy.limit, max(1, policy.limit // live))
    if isinstance(policy, TokenBucketPolicy | GcraPolicy):
        tokens, period_us = _rate_of_share(policy.tokens, policy.period_us * live)
        if isinstance(policy, GcraPolicy):
            # A rate that was rounded down may take a little longer for the burst than such a policy allows.
            limit = min(limit, max(1, MAX_AHEAD_US * tokens // period_us))
        return replace(policy, tokens=tokens, period_us=period_us, burst=limit)
    if isinstance(policy, FixedWindowPolicy):
        return replace(policy, limit=limit)
    parts = policy.sub_windows if isinstance(policy, SlidingWindowPolicy) else _MOST_SUB_WINDOWS
    return SlidingWindowPolicy(
        name=policy.name, limit=limit, window_us=policy.window_us, sub_windows=min(parts, _MOST_SUB_WINDOWS)
    )


def _rate_of_share(tokens: int, period_us: int) -> tuple[int, int]:
    """Return a rate that is no faster and can be counted exactly; none is below one token in 366 days."""
    per_second = tokens * _SECOND_US // period_us
    if per_second > _MANY_PER_SECOND:
        return per_second, _SECOND_US
    return 1, min(MAX_PERIOD_US, -(-period_us // tokens))


def overshoot_of(policy: Policy, live: int) -> int:
    """Return how much above a limit `live` shares of it may let through, as the essay above says."""
    share = share_of(policy, live)
    most = share.limit
    if isinstance(policy, TokenBucketPolicy | GcraPolicy) and not isinstance(
        share, SlidingWindowPolicy | FixedWindowPolicy
    ):
        fills_after_us = -(-policy.burst * policy.period_us // policy.tokens)
        most += -(-fills_after_us * share.tokens // share.period_us)
    return live * most


def check_shares(shares: Sequence[Share], states: Sequence[Any], now_us: int, cost: int, *, commit: bool) -> Local:
    """Decide on one call against the shares of a policy's limits, each with its state; None is a fresh one."""
    checks = [partial(_check, share, now_us, cost) for share in shares]
    steps = check_together(checks, states, commit=commit)
    ends_us = [now_us + step.ttl_ms * 1_000 for step in steps if step.ttl_ms is not None]
    return Local(steps, max(ends_us) if ends_us else None)


def used_of(shares: Sequence[Share], states: Sequence[Any], now_us: int) -> list[int]:
    """Return how much of what was taken from each share still counts now."""
    steps = check_shares(shares, states, now_us, 0, commit=False).steps
    return [share.limit - step.verdict.remaining for share, step in zip(shares, steps, strict=True)]


def _check(share: Share, now_us: int, cost: int, state: Any, *, commit: bool) -> Step[Any]:
    """Decide by the model of a share's algorithm; more than the share holds is refused, also if the limit holds it."""
    if cost > share.limit:
        standing = _check(share, now_us, 0, state, commit=False).verdict
        return Step(Verdict(False, standing.remaining, COME_BACK_US, standing.reset_after_us), state, None)
    if isinstance(share, TokenBucketPolicy):
        return check_token_bucket(share, state, now_us, cost, commit=commit)
    if isinstance(share, GcraPolicy):
        return check_gcra(share, state, now_us, cost, commit=commit)
    if isinstance(share, SlidingWindowPolicy):
        return check_sliding_window(share, state, now_us, cost, commit=commit)
    windows = terms_of(share).windows
    boundaries = None if windows is None else windows.at(now_us)
    return check_fixed_window(share, state, now_us, cost, commit=commit, boundaries=boundaries)
