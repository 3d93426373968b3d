"""From the settings of rate limits to policies and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.policies import (
    CheckedSettings,
    CombinedSettings,
    ConcurrencySettings,
    FixedWindowSettings,
    GcraSettings,
    SlidingLogSettings,
    TokenBucketSettings,
)
from sidecar.config.zones import find_zone
from sidecar.errors import InvalidArgumentError, StartupError
from sidecar.ratelimit.calendar_windows import Calendar, CalendarUnit
from sidecar.ratelimit.exceptions import Rules
from sidecar.ratelimit.lease import LeasePolicy
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.overrides import Effect, Numbers, overridden
from sidecar.ratelimit.policy import (
    CombinedPolicy,
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.reservations_policy import ReservationsPolicy
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
from sidecar.ratelimit.tiers import Tier

if TYPE_CHECKING:
    from sidecar.config.model import Settings
    from sidecar.config.policies import CandidateSettings, RateLimitSettings, SingleLimitSettings
    from sidecar.config.reservations import ReservationSettings
    from sidecar.config.tiers import TierSettings
    from sidecar.ratelimit.policy import Policy


def rate_limit_policy(name: str, settings: RateLimitSettings) -> Policy | CombinedPolicy | ConcurrencyPolicy:
    """Return a limit's policy; raises `StartupError` for what cannot be counted exactly."""
    if isinstance(settings, ConcurrencySettings):
        return ConcurrencyPolicy(
            name=name,
            limit=settings.limit,
            lease_ms=settings.lease.ms,
            max_lease_ms=settings.longest_lease.ms,
        )
    return _checked_policy(f"rate_limits.{name}", name, settings)


def candidate_policy(name: str, settings: CheckedSettings) -> Policy | CombinedPolicy | None:
    """Return the policy of a limit's candidate, if it has one; raises as `rate_limit_policy` does."""
    if settings.candidate is None:
        return None
    return _checked_policy(f"rate_limits.{name}.candidate", name, settings.candidate)


def _checked_policy(path: str, name: str, settings: CandidateSettings) -> Policy | CombinedPolicy:
    if not isinstance(settings, CombinedSettings):
        return _limit_policy(path, name, settings)
    limits = [_limit_policy(f"{path}.limits.{part}", part, limit) for part, limit in settings.limits.items()]
    return CombinedPolicy(name=name, limits=tuple(limits))


def failure_modes(settings: Settings) -> dict[str, OnFailure]:
    """Return what each limit answers while the store cannot decide; those on concurrency have no say."""
    return {
        name: OnFailure(limit.on_failure)
        for name, limit in settings.rate_limits.items()
        if not isinstance(limit, ConcurrencySettings)
    }


def remembered_refusals(settings: Settings) -> list[str]:
    """Return the limits whose refusals are remembered."""
    return [
        name
        for name, limit in settings.rate_limits.items()
        if not isinstance(limit, ConcurrencySettings) and limit.cache_refusals
    ]


def lease_policies(settings: Settings) -> dict[str, LeasePolicy]:
    """Return how the limits are lent from that are."""
    return {
        name: LeasePolicy(max_fraction=limit.lease.max_fraction, ttl_us=limit.lease.ttl.ms * 1_000)
        for name, limit in settings.rate_limits.items()
        if isinstance(limit, CheckedSettings) and limit.lease is not None
    }


def personal_limits(settings: Settings) -> list[str]:
    """Return the limits whose keys name persons."""
    return [name for name, limit in settings.rate_limits.items() if limit.personal]


def _limit_policy(path: str, name: str, settings: SingleLimitSettings) -> Policy:
    try:
        if isinstance(settings, TokenBucketSettings | GcraSettings):
            kind = TokenBucketPolicy if isinstance(settings, TokenBucketSettings) else GcraPolicy
            return kind(
                name=name,
                tokens=settings.rate.amount,
                period_us=settings.rate.per_ms * 1000,
                burst=settings.burst,
            )
        if isinstance(settings, FixedWindowSettings):
            return _fixed_window_policy(name, settings)
        if isinstance(settings, SlidingLogSettings):
            return SlidingLogPolicy(name=name, limit=settings.limit, window_us=settings.window.ms * 1000)
        return SlidingWindowPolicy(
            name=name,
            limit=settings.limit,
            window_us=settings.window.ms * 1000,
            sub_windows=settings.sub_windows,
        )
    except ValueError as error:
        raise StartupError(f"{path}: {error}") from None


def _fixed_window_policy(name: str, settings: FixedWindowSettings) -> FixedWindowPolicy:
    calendar = None
    if settings.calendar is not None:
        calendar = Calendar(CalendarUnit(settings.calendar), find_zone(settings.time_zone))
    window_us = None if settings.window is None else settings.window.ms * 1000
    return FixedWindowPolicy(name=name, limit=settings.limit, window_us=window_us, calendar=calendar)


def rate_limit_rules(settings: Settings) -> dict[str, Rules]:
    """Return what each policy says beside its limits, of those that can."""
    return {
        name: Rules(
            unlimited=limit.unlimited,
            unlimited_keys=limit.unlimited_keys,
            denied_keys=limit.denied_keys,
            shadow=limit.shadow or settings.rate_limits_shadow,
            near_limit=limit.near_limit,
            tiers=tuple([_tier(tier, said) for tier, said in limit.tiers.items()]),
            candidate=candidate_policy(name, limit),
            reservations=_reservations(limit.reservations),
        )
        for name, limit in settings.rate_limits.items()
        if isinstance(limit, CheckedSettings)
    }


def _tier(name: str, settings: TierSettings) -> Tier:
    if settings.unlimited or settings.denied:
        return Tier(name=name, effect=Effect.UNLIMITED if settings.unlimited else Effect.DENIED)
    numbers = settings.limits or {"": settings}
    return Tier(
        name=name,
        effect=Effect.NUMBERS,
        numbers=tuple([
            Numbers(
                limit,
                own.limit or own.burst or 0,
                0 if own.rate is None else own.rate.amount,
                0 if own.rate is None else own.rate.per_ms * 1000,
            )
            for limit, own in numbers.items()
        ]),
    )  # fmt: skip


def _reservations(settings: ReservationSettings | None) -> ReservationsPolicy | None:
    if settings is None:
        return None
    return ReservationsPolicy(ttl_ms=settings.ttl.ms, max_ttl_ms=settings.longest_ttl.ms, max_held=settings.max_held)


def check_policies(settings: Settings) -> None:
    """Raise `StartupError`, a line for each problem, for what the domains refuse although each setting is right."""
    problems: list[str] = []
    for name, limit in settings.rate_limits.items():
        try:
            policy = rate_limit_policy(name, limit)
            if isinstance(limit, CheckedSettings):
                candidate_policy(name, limit)
        except StartupError as error:
            problems.append(str(error))
            continue
        if isinstance(limit, CheckedSettings) and not isinstance(policy, ConcurrencyPolicy):
            problems += [
                f"rate_limits.{name}.tiers.{tier}: {problem}"
                for tier, said in limit.tiers.items()
                if (problem := _problem_of(policy, _tier(tier, said)))
            ]
    if problems:
        raise StartupError("\n".join(problems))


def _problem_of(policy: Policy | CombinedPolicy, tier: Tier) -> str:
    """Return what the domain refuses of a tier; empty for nothing."""
    if tier.effect is not Effect.NUMBERS:
        return ""
    try:
        overridden(policy, tier.numbers)
    except InvalidArgumentError as error:
        return error.message
    return ""
