"""What copies answer the store keeps, when it has to make room."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2
from support.api import Api
from support.programs import wait_until
from support.servers import KINDS, StoreServer
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MOST = 8 << 20
KEYS = [f"hot-{number}" for number in range(20)]
HIT, L1 = common_pb2.OUTCOME_HIT, common_pb2.SOURCE_L1
# A new key has a frequency of 5. Those in whose favour others are evicted were read this often.
COLD_READS = 3


@pytest.fixture(params=KINDS if "SIDECAR_LONG" in os.environ else KINDS[:1])
def little_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreServer]:
    """Return a store with little memory, whose frequencies are the numbers of reads (a factor of 0: each counts)."""
    options = ["--maxmemory", str(MOST), "--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0"]
    server = StoreServer(request.param, tmp_path, [*options, "--maxmemory-samples", "32"])
    server.start()
    yield server
    server.stop()


def read(api: Api) -> Sequence[cache_pb2.GetResponse]:
    """Read all hot keys."""
    found = api.cache.GetMany(cache_pb2.GetManyRequest(cache="plain", keys=KEYS)).results
    return [one.entry for one in found]


def test_keys_that_only_copies_answer_are_not_evicted(little_store: StoreServer) -> None:
    """Their frequency rises although nobody reads them from the store, and what is colder goes in their place."""
    oracle: Any = little_store.oracle()
    sidecar = RunningSidecar(little_store.url, engine="fast", overrides={"caches.plain.l1": {"admission": "all"}})
    sidecar.start()
    try:
        with Api(sidecar.address) as api:
            entries = [cache_pb2.SetManyEntry(key=key, value=b"value") for key in KEYS]
            api.cache.SetMany(cache_pb2.SetManyRequest(cache="plain", entries=entries))
            wait_until(lambda: {L1} == {entry.source for entry in read(api)}, "copies answer")
            stored = list(oracle.scan_iter("*hot-*"))
            before = oracle.info("commandstats")["cmdstat_get"]["calls"]

            def warm() -> bool:
                read(api)
                frequencies: list[int] = [oracle.object("FREQ", key) for key in stored]
                return min(frequencies) > 5 + COLD_READS

            wait_until(warm, "the store counts what copies answer")
            assert oracle.info("commandstats")["cmdstat_get"]["calls"] - before < len(KEYS)

            for start in range(0, 12_000, 200):
                names = [f"cold-{number}" for number in range(start, start + 200)]
                pipeline = oracle.pipeline(transaction=False)
                for name in names:
                    pipeline.set(name, bytes(1000))
                for _ in range(COLD_READS):
                    pipeline.mget(names)
                pipeline.execute()
                read(api)
            found = read(api)
    finally:
        sidecar.stop()
    assert 4_000 < oracle.info("stats")["evicted_keys"]
    assert [HIT] * len(KEYS) == [entry.outcome for entry in found]


def test_the_store_remembers_few_keys_of_many(little_store: StoreServer) -> None:
    """Of a cache with copies of all that is read: as many as go into a fiftieth of its memory, and some by chance."""
    oracle: Any = little_store.oracle()
    oracle.config_set("maxmemory", 24 << 20)
    sidecar = RunningSidecar(little_store.url, engine="fast", overrides={"caches.plain.l1": {"admission": "all"}})
    sidecar.start()
    keys = [f"key-{number}" for number in range(10_000)]
    try:
        with Api(sidecar.address) as api:
            for start in range(0, len(keys), 20):
                entries = [cache_pb2.SetManyEntry(key=key, value=b"value") for key in keys[start : start + 20]]
                api.cache.SetMany(cache_pb2.SetManyRequest(cache="plain", entries=entries))
            wait_until(lambda: api.cache.Get(cache_pb2.GetRequest(cache="plain", key="key-0")).source == L1, "a copy")
            for start in range(0, len(keys), 20):
                api.cache.GetMany(cache_pb2.GetManyRequest(cache="plain", keys=keys[start : start + 20]))
    finally:
        sidecar.stop()
    bound = (24 << 20) // 50 // 130
    assert bound * 0.5 < oracle.info("stats")["tracking_total_keys"] < bound * 1.3
