"""What a policy looks like from outside: the numbers of each of its limits, and a version that changes with them.

A version is a digest of everything that a policy says, so two sidecars with the same policy name the same version, and
during a rolling update an operator sees which of them still has the old one. It means nothing else: an older version
is not smaller, and a policy that is changed back has the version that it had.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.exceptions import NO_RULES
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.overrides import Effect, overridden
from sidecar.ratelimit.policy import (
    CombinedPolicy,
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy

if TYPE_CHECKING:
    from sidecar.ratelimit.exceptions import Rules
    from sidecar.ratelimit.lease import LeasePolicy
    from sidecar.ratelimit.policy import Policy
    from sidecar.ratelimit.tiers import Tier

# 64 bits: no two of the versions that a policy ever has meet, and one can still be read aloud.
_VERSION_HEX = 16


class Algorithm(Enum):
    """How a limit counts; the value is its number in the protocol."""

    TOKEN_BUCKET = 1
    GCRA = 2
    SLIDING_WINDOW = 3
    SLIDING_LOG = 4
    FIXED_WINDOW = 5
    CONCURRENCY = 6


_ALGORITHMS: dict[type[Policy | ConcurrencyPolicy], Algorithm] = {
    TokenBucketPolicy: Algorithm.TOKEN_BUCKET,
    GcraPolicy: Algorithm.GCRA,
    SlidingWindowPolicy: Algorithm.SLIDING_WINDOW,
    SlidingLogPolicy: Algorithm.SLIDING_LOG,
    FixedWindowPolicy: Algorithm.FIXED_WINDOW,
    ConcurrencyPolicy: Algorithm.CONCURRENCY,
}


class LimitDescription(NamedTuple):
    """One limit; what its algorithm does not have is 0 or empty. Durations in microseconds."""

    name: str
    """Its name in a policy of several; empty for the only one."""
    algorithm: Algorithm
    limit: int
    """The most that can be taken at once: the burst, what a window may hold, the slots."""
    window_us: int = 0
    """The window's length; 0 for a calendar's."""
    calendar: str = ""
    """What a window is: hour, day, week, month or year."""
    time_zone: str = ""
    sub_windows: int = 0
    rate_tokens: int = 0
    """What comes back in each `rate_period_us`."""
    rate_period_us: int = 0
    lease_us: int = 0
    max_lease_us: int = 0


class TierDescription(NamedTuple):
    """A tier."""

    name: str
    effect: Effect
    limits: tuple[LimitDescription, ...]
    """With its numbers; none where it is unlimited or refused."""


class PolicyDescription(NamedTuple):
    """A policy."""

    name: str
    version: str
    limits: tuple[LimitDescription, ...]
    """Its only limit, or each of several."""
    rules: Rules
    on_failure: OnFailure
    cache_refusals: bool
    personal: bool = False
    """Whether its keys must not be told as they are."""
    tiers: tuple[TierDescription, ...] = ()
    lease: LeasePolicy | None = None
    """How it is lent from, if it is."""
    candidate: tuple[LimitDescription, ...] = ()
    """What is tried beside its limits."""


def described(
    policy: Policy | CombinedPolicy | ConcurrencyPolicy,
    rules: Rules = NO_RULES,
    *,
    on_failure: OnFailure = OnFailure.ERROR,
    cache_refusals: bool = False,
    personal: bool = False,
    lease: LeasePolicy | None = None,
) -> PolicyDescription:
    """Return what a policy says, with its rules and what it does beside its decisions."""
    tiers = tuple([_tier_described(tier, policy) for tier in rules.tiers])
    candidate = () if rules.candidate is None else _limits_of(rules.candidate)
    version = version_of(policy, rules, on_failure.value, cache_refusals, personal, lease)
    return PolicyDescription(
        policy.name, version, _limits_of(policy), rules, on_failure, cache_refusals, personal, tiers, lease, candidate
    )


def _tier_described(tier: Tier, policy: Policy | CombinedPolicy | ConcurrencyPolicy) -> TierDescription:
    if tier.effect is not Effect.NUMBERS or isinstance(policy, ConcurrencyPolicy):
        return TierDescription(tier.name, tier.effect, ())
    return TierDescription(tier.name, tier.effect, _limits_of(overridden(policy, tier.numbers)))


def _limits_of(policy: Policy | CombinedPolicy | ConcurrencyPolicy) -> tuple[LimitDescription, ...]:
    if isinstance(policy, CombinedPolicy):
        return tuple([limit_described(part, part.name) for part in policy.limits])
    return (limit_described(policy),)


def version_of(*settings: object) -> str:
    """Return the digest of frozen settings, whose representation must not depend on the process that makes it."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:_VERSION_HEX]


def limit_described(policy: Policy | ConcurrencyPolicy, name: str = "") -> LimitDescription:
    """Return what one limit says."""
    bare = LimitDescription(name, _ALGORITHMS[type(policy)], policy.limit)
    if isinstance(policy, TokenBucketPolicy | GcraPolicy):
        return bare._replace(rate_tokens=policy.tokens, rate_period_us=policy.period_us)
    if isinstance(policy, SlidingWindowPolicy):
        return bare._replace(window_us=policy.window_us, sub_windows=policy.sub_windows)
    if isinstance(policy, SlidingLogPolicy):
        return bare._replace(window_us=policy.window_us)
    if isinstance(policy, ConcurrencyPolicy):
        return bare._replace(lease_us=policy.lease_ms * 1_000, max_lease_us=policy.max_lease_ms * 1_000)
    if policy.calendar is not None:
        return bare._replace(calendar=policy.calendar.unit.value, time_zone=str(policy.calendar.zone))
    return bare._replace(window_us=policy.window_us or 0)
