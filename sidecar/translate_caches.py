"""From the settings of caches to policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.footprint import MemoryBound
from sidecar.cache.near.policy import NearPolicy
from sidecar.cache.policy import LONGEST_TTL_MS, CachePolicy, DataClass, Strategy
from sidecar.cache.warm_list import WarmPolicy
from sidecar.cache.write_behind.policy import BehindPolicy, Durability, Safety
from sidecar.config.behind import BehindSettings

if TYPE_CHECKING:
    from sidecar.config.model import Settings
    from sidecar.config.near import NearSettings
    from sidecar.config.policies import CacheSettings


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


def _near_policy(settings: NearSettings) -> NearPolicy:
    return NearPolicy(max_staleness=settings.max_staleness.seconds, hot_only=settings.admission == "hot")


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
            query=cache.warm.query is not None,
            from_cache=cache.warm.from_cache,
            limit=cache.warm.limit,
            per_second=cache.warm.rate.amount * 1000 / cache.warm.rate.per_ms,
            at_start=cache.warm.at_start,
        )
        for name, cache in settings.caches.items()
        if cache.warm is not None
    }


def hot_sources(settings: Settings) -> list[str]:
    """Return the caches whose hot keys others are warmed with."""
    named = [cache.warm.from_cache for cache in settings.caches.values() if cache.warm is not None]
    return list(dict.fromkeys(name for name in named if name is not None))
