"""From the configuration's models to what the domains and the store take.

The domains know nothing of pydantic and of files, the configuration knows no domain; here, and only here, one is said
in the words of the other.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.cache.footprint import MemoryBound
from sidecar.cache.near.policy import NearPolicy
from sidecar.cache.policy import LONGEST_TTL_MS, CachePolicy, DataClass, Limits, Strategy
from sidecar.cache.warm_start import WarmPolicy
from sidecar.cache.write_behind.policy import BehindPolicy, Durability, Safety
from sidecar.config.addresses import parse_url
from sidecar.config.behind import BehindSettings
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
from sidecar.rpc.pipeline import PipelinePolicy
from sidecar.server.engine import EnginePolicy
from sidecar.store.address import StoreAddress
from sidecar.store.embedded import EmbeddedPolicy
from sidecar.store.pool import PoolPolicy
from sidecar.store.retry import Backoff
from sidecar.store.subscription import SubscriptionPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.config.model import LimitSettings, Settings, StoreSettings
    from sidecar.config.near import NearSettings
    from sidecar.config.policies import CacheSettings, CandidateSettings, RateLimitSettings, SingleLimitSettings
    from sidecar.config.reservations import ReservationSettings
    from sidecar.config.tiers import TierSettings
    from sidecar.ratelimit.policy import Policy


def cache_policy(name: str, settings: CacheSettings) -> CachePolicy:
    """Return a cache's policy."""
    longest = settings.longest_ttl
    return CachePolicy(
        name=name,
        ttl_ms=settings.ttl.ms,
        max_ttl_ms=LONGEST_TTL_MS if longest is None else longest.ms,
        ttl_jitter=settings.ttl_jitter,
        stale_for_ms=settings.stale_for.ms,
        load_lease_ms=settings.load_lease.ms,
        load_wait_ms=settings.load_wait.ms,
        negative_ttl_ms=settings.negative_ttl.ms,
        tags=settings.tags,
        generations=settings.generations,
        data_class=DataClass(settings.data_class),
        near=None if settings.l1 is None else _near_policy(settings.l1),
        raw_prefix=settings.key_prefix if settings.format == "raw" else None,
        clear_fields=frozenset(settings.clear_fields),
        compress_above_bytes=settings.compress_above,
        max_value_bytes=settings.max_value_bytes,
        strategy=Strategy(settings.strategy),
        soft_timeout_ms=0 if settings.soft_timeout is None else settings.soft_timeout.ms,
        hard_timeout_ms=settings.longest_load.ms,
        fail_safe_for_ms=settings.fail_safe_for.ms,
        refresh_at=settings.refresh_at,
        early_refresh=settings.early_refresh,
        behind=_behind(settings) if settings.strategy == "write_behind" else None,
    )


def _behind(cache: CacheSettings) -> BehindPolicy:
    settings = cache.write_behind or BehindSettings()
    safety, _, replicas = settings.durability.partition(":")
    return BehindPolicy(
        flush_after_ms=settings.flush_after.ms,
        batch=settings.batch,
        concurrency=settings.concurrency,
        coalesce=settings.coalesce,
        max_pending=settings.max_pending,
        max_attempts=settings.max_attempts,
        retry_base_ms=settings.retry_base.ms,
        retry_cap_ms=settings.retry_cap.ms,
        lease_ms=settings.lease.ms,
        store_timeout_ms=settings.store_timeout.ms,
        max_lag_ms=settings.max_lag.ms,
        durability=Durability(
            safety=Safety(safety), replicas=int(replicas or 0), timeout_ms=settings.durability_timeout.ms
        ),
    )


def memory_bounds(settings: Settings) -> dict[str, MemoryBound]:
    """Return the most that caches are to take of the store's memory, of those that have a bound."""
    return {
        name: MemoryBound(cache.max_memory.size_bytes, cache.max_memory.percent)
        for name, cache in settings.caches.items()
        if cache.max_memory is not None
    }


def warm_policies(settings: Settings) -> dict[str, WarmPolicy]:
    """Return what is to be loaded into caches, of those that name anything."""
    return {
        name: WarmPolicy(
            keys=cache.warm.keys,
            file=cache.warm.file,
            per_second=cache.warm.rate.amount * 1000 / cache.warm.rate.per_ms,
            at_start=cache.warm.at_start,
        )
        for name, cache in settings.caches.items()
        if cache.warm is not None
    }


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


def store_address(settings: StoreSettings, environ: Mapping[str, str]) -> StoreAddress:
    """Return the store's address with its credentials; raises `StartupError` for a file that cannot be read."""
    url = parse_url(settings.url or "")
    password = url.password
    if settings.password_env is not None:
        password = environ.get(settings.password_env, "")
        if not password:
            raise StartupError(f"store.password_env: the environment variable {settings.password_env} is not set")
    if settings.password_file is not None:
        try:
            password = Path(settings.password_file).read_text().rstrip("\r\n")
        except OSError as error:
            raise StartupError(f"store.password_file: {settings.password_file}: {error.strerror}") from None
    return StoreAddress(
        host=url.host,
        port=url.port,
        path=url.path,
        username=settings.username or url.username,
        password=password,
        database=url.database,
        tls=_tls_context(settings) if url.tls else None,
        server_name=settings.tls.server_name,
    )


def _tls_context(settings: StoreSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls.ca_file)
        if settings.tls.cert_file is not None:
            context.load_cert_chain(settings.tls.cert_file, settings.tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise StartupError(f"store.tls: a certificate or key cannot be used: {error.strerror or error}") from None
    return context


def embedded_policy(settings: Settings, environ: Mapping[str, str]) -> EmbeddedPolicy:
    """Return how the embedded store is run."""
    embedded = settings.store.embedded
    return EmbeddedPolicy(
        directory=embedded.folder(environ) / "embedded",
        max_memory_bytes=embedded.max_memory,
        eviction=embedded.eviction,
    )


def _near_policy(settings: NearSettings) -> NearPolicy:
    return NearPolicy(max_staleness=settings.max_staleness.seconds, hot_only=settings.admission == "hot")


def tracking_interval(settings: Settings) -> float | None:
    """Return how often the store is asked on the tracked connection, in seconds; None where there is no near cache.

    Twice within the shortest time that a copy may be out of date, and twice a second at the least: a read-your-writes
    token waits for that, and so does the news that the connection is lost.
    """
    bounds = [cache.l1.max_staleness.seconds for cache in settings.caches.values() if cache.l1 is not None]
    return min([1.0, *bounds]) / 2 if bounds else None


def development_key(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """Return the file of the key that is generated when something is to be sealed and no key is configured."""
    if settings.encryption.keys or not seals(settings):
        return None
    return settings.store.embedded.folder(environ) / "development.kek"


def seals(settings: Settings) -> bool:
    """Say whether any cache holds what must be sealed."""
    return any(cache.data_class == "phi" for cache in settings.caches.values())


def pool_policy(settings: StoreSettings, *, busy_wait: bool) -> PoolPolicy:
    """Return how the pool behaves."""
    return PoolPolicy(
        connections=settings.connections,
        connect_timeout=settings.connect_timeout.seconds,
        reply_timeout=settings.reply_timeout.seconds,
        unavailable_grace=settings.unavailable_grace.seconds,
        backoff=Backoff(base_ms=settings.backoff.base.ms, cap_ms=settings.backoff.cap.ms),
        retry_ratio=settings.retry_budget.ratio,
        retries_per_second=settings.retry_budget.per_second,
        client_name=settings.client_name,
        busy_wait=busy_wait,
    )


def subscription_policy(settings: StoreSettings) -> SubscriptionPolicy:
    """Return how subscriptions behave."""
    return SubscriptionPolicy(
        client_name=settings.client_name,
        connect_timeout=settings.connect_timeout.seconds,
        reply_timeout=settings.reply_timeout.seconds,
        backoff=Backoff(base_ms=settings.backoff.base.ms, cap_ms=settings.backoff.cap.ms),
    )


def request_limits(settings: LimitSettings) -> Limits:
    """Return the bounds of cache requests."""
    return Limits(
        max_key_bytes=settings.max_key_bytes,
        max_value_bytes=settings.max_value_bytes,
        max_unpacked_bytes=settings.max_value_bytes,
        max_batch_keys=settings.max_batch_keys,
        # A sixteenth is for names, versions and framing.
        max_answer_bytes=settings.max_message_bytes - settings.max_message_bytes // 16,
        idempotency_window_ms=settings.idempotency_window.ms,
        # A call ends at its deadline, what it has sent a little later.
        in_flight_ms=settings.max_deadline.ms + 60_000,
    )


def pipeline_policy(settings: LimitSettings) -> PipelinePolicy:
    """Return the bounds of batches."""
    limits = request_limits(settings)
    return PipelinePolicy(
        max_operations=limits.max_batch_keys,
        max_answer_bytes=limits.max_answer_bytes,
        default_timeout=settings.default_deadline.seconds,
        max_timeout=settings.max_deadline.seconds,
    )


def engine_policy(settings: LimitSettings) -> EnginePolicy:
    """Return how an engine treats its callers."""
    return EnginePolicy(
        max_message_bytes=settings.max_message_bytes,
        default_deadline=settings.default_deadline.seconds,
        max_deadline=settings.max_deadline.seconds,
        busy_wait=settings.busy_wait,
    )


def _problem_of(policy: Policy | CombinedPolicy, tier: Tier) -> str:
    """Return what the domain refuses of a tier; empty for nothing."""
    if tier.effect is not Effect.NUMBERS:
        return ""
    try:
        overridden(policy, tier.numbers)
    except InvalidArgumentError as error:
        return error.message
    return ""


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
