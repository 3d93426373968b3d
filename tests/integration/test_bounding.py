"""Caches stay within their part of a real store's memory, under writes as fast as they come."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import KINDS, StoreServer

from sidecar.cache.bounding import Bounding
from sidecar.cache.footprint import MemoryBound
from sidecar.call import Call
from sidecar.clock import after
from sidecar.store.base import Command
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.snapshot import take

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sidecar.store.standalone import StandaloneStore

MEBI = 1 << 20
MOST = 32 * MEBI
KEYS = KeySpace("test")
VALUE = b"v" * 1000
HOT = 200
# More than a worker takes in.
PER_SECOND = 8_000


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(60.0))


@pytest.fixture(params=["allkeys-lfu", "noeviction"])
def eviction(request: pytest.FixtureRequest) -> str:
    """Return what the server does by itself; tests of one policy override this."""
    return str(request.param)


@pytest.fixture(params=KINDS if "SIDECAR_LONG" in os.environ else KINDS[:1])
def server(request: pytest.FixtureRequest, tmp_path: Path, eviction: str) -> Iterator[StoreServer]:
    """Return a server with little memory."""
    made = StoreServer(request.param, tmp_path, ["--maxmemory", str(MOST), "--maxmemory-policy", eviction])
    made.start()
    yield made
    made.stop()


async def write(store: StandaloneStore, cache: str, names: Sequence[int]) -> None:
    """Write entries of a cache, fifty at a time."""
    for start in range(0, len(names), 50):
        keys = [KEYS.entry(cache, b"%d" % name) for name in names[start : start + 50]]
        await store.call_many([Command(("SET", key, VALUE, "PX", 600_000), False) for key in keys], a_call())


async def read_hot(store: StandaloneStore) -> None:
    """Read the hot entries of a cache."""
    await store.get_many([KEYS.entry("bounded", b"%d" % name) for name in range(HOT)], a_call())


def evicted(metrics: Metrics) -> float:
    """Return how many entries were evicted."""
    families = {family.name: family for family in take(metrics)}
    return sum(numbers[0] for _, numbers in families["sidecar_cache_evicted"].rows)


async def highest_under_load(store: StandaloneStore, oracle: Any, count: int) -> int:
    """Write entries, with some that are read again and again; return the most memory ever used."""
    highest = 0
    await write(store, "bounded", range(HOT))
    begun = time.monotonic()
    for start in range(HOT, count, 250):
        await write(store, "bounded", range(start, start + 250))
        await asyncio.sleep(begun + start / PER_SECOND - time.monotonic())
        await read_hot(store)
        highest = max(highest, oracle.info("memory")["used_memory"])
    return highest


async def test_a_cache_stays_below_its_share(store: StandaloneStore, server: StoreServer) -> None:
    """Written twice over what fits, it never takes more than 80 % of maxmemory, and keeps what is used."""
    oracle, metrics = server.oracle(), Metrics()
    bounding = Bounding({"bounded": MemoryBound(percent=80)}, store=store, keys=KEYS, metrics=metrics)
    bounding.start()
    highest = await highest_under_load(store, oracle, 28_000)
    await bounding.stop()
    assert highest < MOST * 0.8
    assert highest > MOST * 0.6  # it makes use of what it is given
    assert evicted(metrics) > 5_000
    kept = await store.get_many([KEYS.entry("bounded", b"%d" % name) for name in range(HOT)], a_call())
    assert HOT * 0.9 < sum(entry is not None for entry in kept)
    assert 0 == oracle.info("stats")["evicted_keys"]  # the store itself never had to


@pytest.mark.parametrize("eviction", ["allkeys-lru"])
async def test_others_keep_what_they_have(store: StandaloneStore, server: StoreServer) -> None:
    """Only the cache that is above its own bound makes room, to some percent."""
    oracle: Any = server.oracle()
    await write(store, "others", range(8_000))
    bounding = Bounding({"bounded": MemoryBound(size_bytes=6 * MEBI)}, store=store, keys=KEYS, metrics=Metrics())
    bounding.start()
    await highest_under_load(store, oracle, 12_000)
    await asyncio.sleep(0.2)
    await bounding.stop()
    names = [key for key in oracle.scan_iter(count=1000) if key.startswith(KEYS.entry_head("others"))]
    assert 8_000 == len(names)
    own = sum(oracle.memory_usage(key) for key in oracle.scan_iter(count=1000) if KEYS.entry_head("bounded") in key)
    assert 3.6 * MEBI < own < 6.6 * MEBI


@pytest.mark.parametrize("eviction", ["noeviction"])
async def test_one_process_at_a_time_looks_after_a_cache(store: StandaloneStore) -> None:
    """The second takes over when the first has stopped."""
    await write(store, "bounded", range(4_000))
    bound = {"bounded": MemoryBound(size_bytes=3 * MEBI)}
    both = [Metrics(), Metrics()]
    first, second = (Bounding(bound, store=store, keys=KEYS, metrics=metrics) for metrics in both)
    first.start()
    while not evicted(both[0]):
        await asyncio.sleep(0.01)
    second.start()
    await asyncio.sleep(0.3)
    assert 0 == evicted(both[1])
    await first.stop()
    await write(store, "bounded", range(4_000))
    while not evicted(both[1]):
        await asyncio.sleep(0.01)
    await second.stop()


@pytest.mark.parametrize("eviction", ["noeviction"])
async def test_a_share_of_a_store_without_bound_is_said_to_mean_nothing(
    store: StandaloneStore, server: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, once, and nothing is evicted."""
    server.oracle().config_set("maxmemory", 0)
    await write(store, "bounded", range(1_000))
    metrics = Metrics()
    bounding = Bounding({"bounded": MemoryBound(percent=1)}, store=store, keys=KEYS, metrics=metrics)
    with caplog.at_level(logging.WARNING, "sidecar.cache"):
        bounding.start()
        while not caplog.records:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.6)
        await bounding.stop()
    assert ["caches.bounded.max_memory bounds nothing: the store has no maxmemory to be a share of"] == caplog.messages
    assert 0 == evicted(metrics)
