"""A write-behind cache with copies: of entries, and never of what is read of a pending change in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, pipeline_pb2
from support.api import Api
from support.contract import TENANT, milliseconds
from support.metrics_page import MetricsPage
from support.programs import wait_until
from support.servers import free_port
from support.sidecars import RunningSidecar

from sidecar.store.keys import KeySpace, behind_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import StoreServer

    Goes = Callable[[Api, str, str, StoreServer], None]

HIT, L1 = common_pb2.OUTCOME_HIT, common_pb2.SOURCE_L1
# What is pending stays so: nobody is where the origin is to be.
BEHIND = {"strategy": "write_behind", "origin": {"name": "nowhere"}, "l1": {"admission": "all"}}
OVERRIDES = {
    "origins.nowhere": {"kind": "service", "address": f"127.0.0.1:{free_port()}"},
    "caches.behind": BEHIND,
    "caches.kept_stale": {**BEHIND, "stale_for": "1h"},
    "shutdown_grace": "0s",
}


@pytest.fixture(scope="module")
def sidecar(shared_store: StoreServer) -> Iterator[RunningSidecar]:
    """Return a sidecar whose writes stay pending."""
    made = RunningSidecar(shared_store.url, engine="fast", overrides=OVERRIDES, metrics=True)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def api(sidecar: RunningSidecar) -> Iterator[Api]:
    """Return its services."""
    with Api(sidecar.address) as made:
        yield made


def copies_of(sidecar: RunningSidecar) -> float:
    """Return how many copies it has."""
    assert sidecar.metrics_address is not None
    return MetricsPage(sidecar.metrics_address)("sidecar_l1_entries")


def write(api: Api, cache: str, key: str, ttl_ms: int = 60_000) -> None:
    """Write the entry, and have it read until there is a copy, or there was time for one."""
    api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"1", ttl=milliseconds(ttl_ms)))
    get = pb.GetRequest(cache=cache, key=key)
    wait_until(lambda: api.cache.Get(get).source == L1 or ttl_ms < 1_000, "there is a copy")


def expire(api: Api, cache: str, key: str, _server: StoreServer) -> None:
    """Have the entry expire: what is pending is fresh for a second with every answer."""
    write(api, cache, key, ttl_ms=20)
    get = pb.GetRequest(cache=cache, key=key)
    wait_until(lambda: api.cache.Get(get).ttl.ToMilliseconds() > 500, "the entry is not fresh")


def delete(api: Api, cache: str, key: str, server: StoreServer) -> None:
    """Have another program delete it."""
    write(api, cache, key)
    partition = KeySpace(TENANT).behind(cache)[behind_partition(key.encode())]
    assert 1 == server.oracle().delete(partition.entry_head + key.encode())
    wait_until(lambda: api.cache.Get(pb.GetRequest(cache=cache, key=key)).source != L1, "the copy is gone")


def invalidate(api: Api, cache: str, key: str, _server: StoreServer) -> None:
    """Have it invalidated."""
    write(api, cache, key)
    api.cache.Invalidate(pb.InvalidateRequest(cache=cache, keys=pb.InvalidateKeys(keys=[key])))


def in_every_way(api: Api, cache: str, key: str) -> list[pb.GetResponse]:
    """Read a key in all ways there are."""
    get = pb.GetRequest(cache=cache, key=key)
    operations = pipeline_pb2.ExecuteRequest(operations=[pipeline_pb2.Operation(get=get)])
    return [
        api.cache.Get(get),
        api.cache.GetMany(pb.GetManyRequest(cache=cache, keys=[key])).results[0].entry,
        api.pipeline.Execute(operations).results[0].get,
        api.cache.GetOrLoad(pb.GetOrLoadRequest(cache=cache, key=key)).entry,
    ]


def test_an_entry_is_kept(api: Api, sidecar: RunningSidecar) -> None:
    """While its change is pending."""
    before = copies_of(sidecar)
    write(api, "behind", "kept")
    assert before + 1 == copies_of(sidecar)


@pytest.mark.parametrize(
    ("cache", "goes"),
    [("behind", expire), ("behind", delete), ("behind", invalidate), ("kept_stale", expire), ("kept_stale", delete)],
)
def test_what_is_pending_is_not_kept(
    api: Api, sidecar: RunningSidecar, shared_store: StoreServer, cache: str, goes: Goes
) -> None:
    """However its entry went, though it is stale and still there, and in whatever way it is read."""
    before, key = copies_of(sidecar), f"{cache} {goes.__name__}"
    goes(api, cache, key, shared_store)
    for _ in range(20):
        found = in_every_way(api, cache, key)
        assert {(HIT, b"1")} == {(one.outcome, one.value) for one in found}
        assert L1 not in {one.source for one in found}
    assert before == copies_of(sidecar)
