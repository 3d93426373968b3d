"""How caches fare, read off the metrics of a process, or of several as one. Pure.

Nothing is counted for this: it is what the metrics page has, by cache, for those who have no Prometheus at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.telemetry.snapshot import FamilySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTimes:
    """How long loads took, in seconds."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """What was counted of one cache."""

    cache: str
    hits: int
    misses: int
    stale: int
    loads: Mapping[str, int]
    """What became of loads by callers, by outcome."""
    origin_loads: Mapping[str, int]
    origin_times: LoadTimes | None
    origin_waits: int
    refreshes: int
    evicted: int
    memory_bytes: int | None
    write_behind_pending: int
    write_behind_lag_seconds: float
    l1_hits: int


def statistics_of(families: Sequence[FamilySnapshot], caches: Sequence[str]) -> list[CacheStatistics]:
    """Return how each of these caches fares; a metric that there is not counts as 0."""
    by_name = {family.name: family for family in families}
    return [_of_one(by_name, cache) for cache in caches]


def _of_one(families: Mapping[str, FamilySnapshot], cache: str) -> CacheStatistics:
    reads = _by_label(families, "sidecar_cache_reads", cache)
    memory = _by_label(families, "sidecar_cache_memory_bytes", cache)
    return CacheStatistics(
        cache=cache,
        hits=reads.get("hit", 0),
        misses=reads.get("miss", 0),
        stale=reads.get("stale", 0),
        loads=_by_label(families, "sidecar_cache_loads", cache),
        origin_loads=_by_label(families, "sidecar_cache_origin_loads", cache),
        origin_times=_times(families, cache),
        origin_waits=sum(_by_label(families, "sidecar_cache_origin_waits", cache).values()),
        refreshes=sum(_by_label(families, "sidecar_cache_refreshes", cache).values()),
        evicted=sum(_by_label(families, "sidecar_cache_evicted", cache).values()),
        # One process at a time keeps a cache within its bound; in what several tell, its number stands beside it.
        memory_bytes=max(memory.values(), default=None),
        write_behind_pending=sum(_by_label(families, "sidecar_write_behind_pending", cache).values()),
        write_behind_lag_seconds=max(_numbers(families, "sidecar_write_behind_lag_seconds", cache), default=0.0),
        l1_hits=sum(_by_label(families, "sidecar_l1_hits", cache).values()),
    )


def _by_label(families: Mapping[str, FamilySnapshot], name: str, cache: str) -> dict[str, int]:
    """Return a metric's numbers of a cache by the label beside its name, "" where there is none."""
    family = families.get(name)
    rows = () if family is None else family.rows
    return {"".join(labels[1:]): int(numbers[0]) for labels, numbers in rows if labels[0] == cache}


def _numbers(families: Mapping[str, FamilySnapshot], name: str, cache: str) -> list[float]:
    """Return a metric's numbers of a cache, whatever labels stand beside its name."""
    family = families.get(name)
    return [] if family is None else [numbers[0] for labels, numbers in family.rows if labels[0] == cache]


def _times(families: Mapping[str, FamilySnapshot], cache: str) -> LoadTimes | None:
    family = families.get("sidecar_cache_origin_load_seconds")
    if family is None:
        return None
    for labels, (*buckets, total) in family.rows:
        count = int(sum(buckets))
        if labels[0] == cache and count:
            p50, p95, p99 = (percentile(buckets, family.bounds, part) for part in (0.5, 0.95, 0.99))
            return LoadTimes(count=count, mean=total / count, p50=p50, p95=p95, p99=p99)
    return None


def percentile(buckets: Sequence[float], bounds: Sequence[float], part: float) -> float:
    """Return what so great a part of the observations is not above, as if each bucket's were spread evenly in it.

    Of those above the last bound only that is known: the bound is returned.
    """
    wanted, below, least = part * sum(buckets), 0.0, 0.0
    for count, bound in zip(buckets, bounds, strict=False):
        if below + count >= wanted and count:
            return least + (bound - least) * (wanted - below) / count
        below, least = below + count, bound
    return least
