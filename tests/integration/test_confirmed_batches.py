"""Batches with writes that are to be on disk, or with replicas, before they are acknowledged."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client.gen.sidecar.v1 import common_pb2
from support.servers import StoreServer
from support.write_behind import CACHE, PLAIN, Ledger, make_rig, some_call

from sidecar.cache.catalog import Caches
from sidecar.cache.policy import CachePolicy, Limits
from sidecar.cache.values import NewValue, ValueCache
from sidecar.cache.write_behind.policy import BehindPolicy, Durability, Safety
from sidecar.clock import StoreClock
from sidecar.errors import Reason, SidecarError
from sidecar.gen.sidecar.v1 import pipeline_pb2 as pb
from sidecar.rpc.pipeline import PipelinePolicy, PipelineServicer
from sidecar.store.address import StoreAddress
from sidecar.store.confirmed import ConfirmedWrites, ConfirmingStore, on_disk, on_replicas
from sidecar.store.keys import KeySpace
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from sidecar.store.confirmed import Question

TIMEOUT_MS = 10_000
ASIDE = "aside"
UNKNOWN = 2
HIT, MISS = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS


@dataclass
class Bench:
    """A pipeline over a cache whose writes are confirmed and one beside it."""

    pipeline: PipelineServicer
    values: ValueCache

    async def execute(self, operations: Sequence[pb.Operation], seconds: float = 30.0) -> list[Any]:
        """Carry out a batch; return of each operation what it answers, the reason where it fails."""
        answer = await self.pipeline.execute(pb.ExecuteRequest(operations=operations), some_call(seconds))
        return [_said(result) for result in answer.results]


def _said(result: Any) -> Any:
    kind = result.WhichOneof("result")
    if kind == "failure":
        assert UNKNOWN == result.failure.code
        return Reason(result.failure.reason)
    return (result.get.outcome, result.get.value) if kind == "get" else kind


def set_(key: str, value: str = "v", cache: str = CACHE) -> pb.Operation:
    """Return a write."""
    operation = pb.Operation()
    operation.set.cache, operation.set.key, operation.set.value = cache, key, value.encode()
    return operation


def get(key: str, cache: str = CACHE) -> pb.Operation:
    """Return a read."""
    operation = pb.Operation()
    operation.get.cache, operation.get.key = cache, key
    return operation


def delete(key: str) -> pb.Operation:
    """Return a removal."""
    operation = pb.Operation()
    operation.delete.cache, operation.delete.key = CACHE, key
    return operation


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    """Return a Valkey with an append-only file."""
    made = StoreServer("valkey", tmp_path, ["--appendonly", "yes", "--appendfsync", "everysec"])
    made.start()
    yield made
    made.stop()


@asynccontextmanager
async def confirming(server: StoreServer, question: Question) -> AsyncIterator[Bench]:
    """Return a pipeline whose writes to one cache are confirmed by a question."""
    address, counters = StoreAddress(host="127.0.0.1", port=server.port), PoolCounters(Metrics())
    pools = [Pool(address, PoolPolicy(connections=1, reply_timeout=60.0), counters) for _ in range(2)]
    for pool in pools:
        pool.start()
    store, writes = StandaloneStore(pools[0]), ConfirmedWrites(pools[1], question)
    behind = BehindPolicy(durability=Durability(safety=Safety.FSYNC))
    values = make_rig(ConfirmingStore(store, writes), Ledger(), behind).values
    aside = ValueCache(
        policy=CachePolicy(name=ASIDE, ttl_ms=60_000), limits=Limits(), store=store, keys=KeySpace("aside"),
        clock=StoreClock(), sealer=None, reads=Metrics().counter("reads", "Reads.", "cache", "outcome"),
    )  # fmt: skip
    nobody: Any = None
    caches = Caches({CACHE: values, ASIDE: aside}, {}, {}, {}, inspections={})
    pipeline = PipelineServicer(
        caches=caches, limiter=nobody, store=store, admission=nobody, policy=PipelinePolicy(max_operations=2_000)
    )
    try:
        yield Bench(pipeline, values)
    finally:
        await writes.close()
        for pool in pools:
            await pool.close()


def questions(server: StoreServer) -> int:
    """Return how often the server was asked to confirm."""
    found: Any = server.oracle().info("commandstats")
    return sum(int(found.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("wait", "waitaof"))


async def test_a_batch_is_confirmed_once(server: StoreServer) -> None:
    """All of it, whatever its length, and then it survives a crash."""
    async with confirming(server, on_disk(TIMEOUT_MS)) as bench:
        writes = [set_(f"k{number}") for number in range(300)]
        reads = [get(f"other{number}") for number in range(100)]
        answers = await bench.execute([*writes, *reads, set_("beside", "b", ASIDE), get("beside", ASIDE)])
        asked = questions(server)
        server.kill()
        server.start()
        found = await bench.execute([get(f"k{number}") for number in range(300)])
    assert ["set"] * 300 + [(MISS, b"")] * 100 + ["set", (HIT, b"b")] == answers
    assert 1 == asked
    assert [(HIT, b"v")] * 300 == found


async def test_many_entries_are_confirmed_once(server: StoreServer) -> None:
    """Of one call too."""
    async with confirming(server, on_disk(TIMEOUT_MS)) as bench:
        new = [NewValue(f"k{number}", b"v", PLAIN) for number in range(300)]
        written = await bench.values.set_many(new, some_call())
        removed = await bench.values.delete_many([f"k{number}" for number in range(300)], PLAIN, some_call())
        asked = questions(server)
    assert not [one for one in (*written, *removed) if isinstance(one, SidecarError)]
    assert 2 == asked


async def test_order_of_a_key_is_kept(server: StoreServer) -> None:
    """Between what is confirmed and what is only read, and between scripts of which the server knows some."""
    async with confirming(server, on_disk(TIMEOUT_MS)) as bench:
        await bench.execute([set_("known")])
        batch = [set_("k", "1"), get("k"), delete("k"), set_("k", "2"), get("other"), get("k"), delete("k"), get("k")]
        answers = await bench.execute(batch)
    assert ["set", (HIT, b"1"), "delete", "set", (MISS, b""), (HIT, b"2"), "delete", (MISS, b"")] == answers


async def test_what_is_not_confirmed_is_said_of_each(server: StoreServer) -> None:
    """It was made; what needs no confirmation is answered."""
    async with confirming(server, on_replicas(1, 50)) as bench:
        batch = [set_("a"), get("b"), set_("c", "v", ASIDE), delete("d"), get("a")]
        answers = await bench.execute(batch)
    lacking = Reason.WRITE_NOT_CONFIRMED
    assert [lacking, (MISS, b""), "set", lacking, (HIT, b"v")] == answers


async def test_a_deadline_bounds_the_wait(server: StoreServer) -> None:
    """And leaves time to say so: of a batch as of a single write."""
    async with confirming(server, on_replicas(1, 60_000)) as bench:
        begun = time.monotonic()
        single = asyncio.create_task(bench.values.set("c", b"v", PLAIN, some_call(2.0)))
        answers = await bench.execute([set_("a"), set_("b")], seconds=2.0)
        with pytest.raises(SidecarError) as error:
            await single
        took = time.monotonic() - begun
    lacking = Reason.WRITE_NOT_CONFIRMED
    assert ([lacking] * 2, lacking) == (answers, error.value.reason)
    assert took < 30


async def test_batches_of_many_callers_share_a_question(server: StoreServer) -> None:
    """Those that come while one is open."""
    async with confirming(server, on_disk(TIMEOUT_MS)) as bench:
        batches = [bench.execute([set_(f"{batch}:{number}") for number in range(10)]) for batch in range(50)]
        answers = await asyncio.gather(*batches)
    assert [["set"] * 10] * 50 == answers
    assert questions(server) <= 4
