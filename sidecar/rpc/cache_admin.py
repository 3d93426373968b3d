"""`sidecar.v1.CacheAdminService`: for operators."""

from __future__ import annotations

import os
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from sidecar.cache.policy import LONGEST_TTL_MS, Outcome
from sidecar.cache.statistics import statistics_of
from sidecar.cache.warm_list import Asked
from sidecar.cache.warming import Progress
from sidecar.errors import SidecarError
from sidecar.gen.sidecar.v1 import cache_admin_pb2 as pb
from sidecar.rpc.convert import OUTCOMES, set_ms, set_us
from sidecar.rpc.status import fill_failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from sidecar.cache.catalog import Caches
    from sidecar.cache.inspection import Inspected
    from sidecar.cache.policy import CachePolicy
    from sidecar.cache.statistics import CacheStatistics
    from sidecar.cache.warm_list import Listed, WarmList
    from sidecar.call import Call
    from sidecar.telemetry.snapshot import Gathered


# Often enough for a bar that moves, and no load on anybody.
_TELL_SECONDS = 0.2

# As a file of keys may have.
_MOST_KEYS = 1_000_000


class CacheAdminServicer:
    """Shows what the caches are, how they fare, and what lies in them."""

    def __init__(
        self,
        caches: Caches,
        gather: Callable[[], Awaitable[Gathered]],
        *,
        warm_list: WarmList,
        max_value_bytes: int,
    ) -> None:
        self._caches = caches
        self._gather = gather
        self._warm_list = warm_list
        self._max_value_bytes = max_value_bytes

    async def list_caches(self, request: pb.ListCachesRequest, _call: Call) -> pb.ListCachesResponse:
        """List one cache, or all."""
        response = pb.ListCachesResponse()
        for policy in self._caches.policies(request.cache):
            self._describe(response.caches.add(), policy)
        return response

    def _describe(self, message: pb.CacheDescription, policy: CachePolicy) -> None:
        message.name = policy.name
        message.strategy = policy.strategy.value
        message.data_class = policy.data_class.value
        message.raw = policy.raw_prefix is not None
        set_ms(message.ttl, policy.ttl_ms)
        if policy.max_ttl_ms != LONGEST_TTL_MS:
            set_ms(message.max_ttl, policy.max_ttl_ms)
        set_us(message.stale_for, policy.stale_for_ms * 1000)
        set_us(message.negative_ttl, policy.negative_ttl_ms * 1000)
        message.tags = policy.tags
        message.generations = policy.generations
        if policy.compress_above_bytes is not None:
            message.compress_above = policy.compress_above_bytes
        own = policy.max_value_bytes
        message.max_value_bytes = self._max_value_bytes if own is None else min(own, self._max_value_bytes)

    async def get_cache_stats(self, request: pb.GetCacheStatsRequest, _call: Call) -> pb.GetCacheStatsResponse:
        """Tell how one cache fares, or all."""
        names = [policy.name for policy in self._caches.policies(request.cache)]
        gathered = await self._gather()
        response = pb.GetCacheStatsResponse(
            process_id=os.getpid(), processes=gathered.processes, workers=gathered.workers
        )
        response.since.FromMicroseconds(gathered.since_us)
        for statistics in statistics_of(gathered.families, names):
            _fill_statistics(response.caches.add(), statistics)
        return response

    async def inspect_entry(self, request: pb.InspectEntryRequest, call: Call) -> pb.InspectEntryResponse:
        """Look at one entry."""
        inspected = await self._caches.inspection(request.cache).inspect(request.key, call)
        return _inspected(inspected)

    async def warm(
        self,
        requests: AsyncIterator[pb.WarmRequest],
        call: Call,  # noqa: ARG002 (it lasts as long as it takes)
    ) -> AsyncGenerator[pb.WarmResponse, None]:
        """Load entries, and tell how far it is."""
        async for request in requests:
            warming = self._caches.warming(request.cache)
            asked = Asked(
                request.keys, request.configured, request.query, request.from_cache, min(request.limit, _MOST_KEYS)
            )
            self._warm_list.check(request.cache, asked)
            warming.check()
            listed = await self._warm_list.listed(request.cache, asked)
            per_second = request.rate or self._warm_list.policy(request.cache).per_second
            told, progress = 0.0, Progress(0)
            try:
                async with aclosing(warming.warm(listed.keys, per_second)) as steps:
                    async for progress in steps:
                        if time.monotonic() - told >= _TELL_SECONDS:
                            told = time.monotonic()
                            yield _warmed(progress, listed)
            except SidecarError:
                # What was loaded until then is there.
                yield _warmed_last(progress, listed)
                raise
            yield _warmed_last(progress, listed)


def _warmed(progress: Progress, listed: Listed) -> pb.WarmResponse:
    return pb.WarmResponse(
        total=progress.total,
        loaded=progress.loaded,
        present=progress.present,
        absent=progress.absent,
        failed=progress.failed,
        cut=listed.cut,
        processes=listed.processes,
    )


def _warmed_last(progress: Progress, listed: Listed) -> pb.WarmResponse:
    response = _warmed(progress, listed)
    for key, error in progress.failures:
        fill_failure(response.failures.add(key=key).failure, error)
    return response


def _fill_statistics(message: pb.CacheStats, statistics: CacheStatistics) -> None:
    message.cache = statistics.cache
    message.hits = statistics.hits
    message.misses = statistics.misses
    message.stale = statistics.stale
    message.loads.update(statistics.loads)
    message.origin_loads.update(statistics.origin_loads)
    message.origin_waits = statistics.origin_waits
    message.refreshes = statistics.refreshes
    message.evicted = statistics.evicted
    if statistics.memory_bytes is not None:
        message.memory_bytes = statistics.memory_bytes
    message.write_behind_pending = statistics.write_behind_pending
    set_us(message.write_behind_lag, round(statistics.write_behind_lag_seconds * 1_000_000))
    message.l1_hits = statistics.l1_hits
    times = statistics.origin_times
    if times is not None:
        message.origin_times.count = times.count
        for part in ("mean", "p50", "p95", "p99"):
            set_us(getattr(message.origin_times, part), round(getattr(times, part) * 1_000_000))


def _inspected(inspected: Inspected) -> pb.InspectEntryResponse:
    lookup = inspected.lookup
    response = pb.InspectEntryResponse(
        outcome=OUTCOMES[lookup.outcome], stored_bytes=inspected.stored_bytes, pending=inspected.pending
    )
    if inspected.expires_ms is not None:
        set_ms(response.expires_after, inspected.expires_ms)
    if lookup.outcome is Outcome.MISS:
        return response
    response.version = lookup.version
    if lookup.ttl_ms is not None:
        set_us(response.ttl, lookup.ttl_ms * 1000)
    if lookup.age_ms is not None:
        set_us(response.age, lookup.age_ms * 1000)
    response.memory_bytes = inspected.memory_bytes
    if inspected.value_bytes is not None and not inspected.fields:
        response.value_bytes = inspected.value_bytes
    response.compressed = inspected.compressed
    response.sealed = inspected.sealed
    response.fields = inspected.fields
    response.tags.extend(inspected.tags)
    response.tag_count = inspected.tag_count
    return response
