"""A cache with `max_memory` stays within it under the writes of its callers, and says so on the metrics page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client.gen.sidecar.v1 import cache_admin_pb2, cache_pb2, common_pb2
from support.api import Api
from support.servers import StoreServer
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST = 16 << 20
BATCH = 20


@pytest.fixture
def little_store(tmp_path: Path) -> Iterator[StoreServer]:
    """Return a store with little memory."""
    server = StoreServer("valkey", tmp_path, ["--maxmemory", str(MOST), "--maxmemory-policy", "allkeys-lfu"])
    server.start()
    yield server
    server.stop()


def test_a_bounded_cache_makes_room(little_store: StoreServer) -> None:
    """Every write is taken, the memory stays below the bound, and what was evicted is counted."""
    oracle: Any = little_store.oracle()
    sidecar = RunningSidecar(little_store.url, engine="fast", overrides={"caches.plain.max_memory": "80%"})
    sidecar.start()
    highest = 0
    try:
        with Api(sidecar.address) as api:
            for start in range(0, 14_000, BATCH):
                entries = [
                    cache_pb2.SetManyEntry(key=str(number), value=b"v" * 1_000)
                    for number in range(start, start + BATCH)
                ]
                answer = api.cache.SetMany(cache_pb2.SetManyRequest(cache="plain", entries=entries))
                assert {common_pb2.WRITE_OUTCOME_APPLIED} == {result.written.outcome for result in answer.results}
                highest = max(highest, oracle.info("memory")["used_memory"])
            request = cache_admin_pb2.GetCacheStatsRequest(cache="plain")
            (stats,) = api.cache_admin.GetCacheStats(request).caches
    finally:
        sidecar.stop()
    assert MOST * 0.6 < highest < MOST * 0.8
    assert 1_000 < stats.evicted
    assert 0 < stats.memory_bytes < MOST * 0.8
    assert 0 == oracle.info("stats")["evicted_keys"]
