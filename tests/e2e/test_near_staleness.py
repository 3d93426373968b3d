"""Sidecars with near caches over a slow network: nothing is read that is older than it may be.

`NEAR_OPERATIONS` and `NEAR_SIDECARS` say how many there are; `SIDECAR_LONG` makes it 100,000 over four.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub
from support.contract import milliseconds
from support.origin_service import OriginApplication
from support.programs import SidecarProgram
from support.servers import StoreServer
from support.slow_network import slow_network
from support.staleness import Change, Read, Record, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LONG = "SIDECAR_LONG" in os.environ
OPERATIONS = int(os.environ.get("NEAR_OPERATIONS", "100000" if LONG else "4000"))
SIDECARS = int(os.environ.get("NEAR_SIDECARS", "4" if LONG else "2"))
CALLERS = 64
KEYS = 8
BOUND = 0.25
TIGHTER = 0.05

CONFIG = f"""
store: {{url: "redis://127.0.0.1:%d", reply_timeout: 5s, connections: 2}}
caches:
  plain: {{l1: {{admission: all, max_staleness: {BOUND * 1000:.0f}ms}}}}
  dated: {{tags: true, generations: true, l1: {{admission: all, max_staleness: {BOUND * 1000:.0f}ms}}}}
  strong: {{consistency: strong}}
  behind:
    strategy: write_behind
    origin: {{name: ledger}}
    ttl: 500ms
    write_behind: {{flush_after: 100ms, lease: 2s, store_timeout: 1s}}
    l1: {{admission: all, max_staleness: {BOUND * 1000:.0f}ms}}
origins: {{ledger: {{kind: service, address: "%s"}}}}
"""
BOUNDS = {"plain": BOUND, "dated": BOUND, "strong": 0.0, "behind": BOUND}


class Callers:
    """Callers who read, write and invalidate at random, beside whatever sidecar, and write down what they are told."""

    def __init__(self, stubs: list[CacheServiceStub], seed: int, caches: Sequence[str], operations: int) -> None:
        self._stubs: list[Any] = stubs
        self._draw = random.Random(seed)
        self._caches = caches
        self._left = operations
        self.records = {cache: Record() for cache in caches}
        self._tokens: dict[tuple[str, str], str] = {}
        self._values = 0
        self._written: dict[bytes, int] = {}
        """The version that each value was written with."""
        self._of_origin: list[tuple[Read, bytes]] = []

    def judged(self) -> dict[str, Verdict]:
        """Say what is wrong with what was read.

        What came by an origin is as old as its value, whatever version it was given when it was loaded.
        """
        for read, value in self._of_origin:
            self.records["behind"].reads.append(read._replace(version=self._written[value]))
        self._of_origin.clear()
        return {cache: judge(record) for cache, record in self.records.items()}

    async def call(self) -> None:
        """Make calls until there are enough."""
        while self._left > 0:
            self._left -= 1
            cache, key = (
                self._draw.choice(self._caches),
                f"p:{self._draw.randrange(KEYS)}",
            )
            chance = self._draw.random()
            stub = self._draw.choice(self._stubs)
            if chance < 0.86:
                await self._read(stub, cache, key)
            elif chance < 0.96:
                await self._write(stub, cache, key)
            elif chance < 0.99 or cache not in {"dated", "behind"}:
                await self._delete(stub, cache, key)
            elif cache == "dated":
                await self._invalidate(stub)
            else:
                # No change of what is pending, which is read from then on, nor of what the origin has.
                await stub.Invalidate(pb.InvalidateRequest(cache=cache, keys=pb.InvalidateKeys(keys=[key])))

    async def _read(self, stub: Any, cache: str, key: str) -> None:
        request: dict[str, Any] = {}
        bound, token, chance = BOUNDS[cache], "", self._draw.random()
        if chance < 0.2:
            token = request["token"] = self._tokens.get((cache, key), "")
        elif chance < 0.3:
            bound = min(bound, TIGHTER)
            request["max_staleness"] = milliseconds(TIGHTER * 1000)
        elif chance < 0.35:
            bound = 0.0
            request["max_staleness"] = milliseconds(0)
        begun_at = time.monotonic()
        if self._draw.random() < 0.2:
            many = await stub.GetMany(pb.GetManyRequest(cache=cache, keys=[key, f"{key}:other"], **request))
            answer = many.results[0].entry
        else:
            answer = await stub.Get(pb.GetRequest(cache=cache, key=key, **request))
        if answer.outcome == common_pb2.OUTCOME_HIT:
            copied = answer.source == common_pb2.SOURCE_L1
            read = Read(key, begun_at, answer.version, bound, token, copied)
            if cache == "behind":
                self._of_origin.append((read, answer.value))
            else:
                self.records[cache].reads.append(read)

    async def _write(self, stub: Any, cache: str, key: str) -> None:
        tags = ["t"] if cache == "dated" else []
        self._values += 1
        value = b"%d" % self._values
        answer = await stub.Set(pb.SetRequest(cache=cache, key=key, value=value, tags=tags))
        self._written[value] = answer.version
        self._told(cache, key, answer.version, answer.token)

    async def _delete(self, stub: Any, cache: str, key: str) -> None:
        answer = await stub.Delete(pb.DeleteRequest(cache=cache, key=key))
        self._told(cache, key, int(answer.token[1:], 16), answer.token)

    def _told(self, cache: str, key: str, version: int, token: str) -> None:
        self.records[cache].changes[key].append(Change(time.monotonic(), version))
        self._tokens[cache, key] = max(token, self._tokens.get((cache, key), ""))

    async def _invalidate(self, stub: Any) -> None:
        what: dict[str, Any] = self._draw.choice(
            [{"all": True}, {"prefix": "p:"}, {"tags": pb.InvalidateTags(tags=["t"])}]
        )
        answer = await stub.Invalidate(pb.InvalidateRequest(cache="dated", **what))
        self.records["dated"].of_all.append(Change(time.monotonic(), answer.generation))


@pytest.fixture
def ledger() -> OriginApplication:
    """Return the origin of the write-behind cache, which is not served yet."""
    return OriginApplication(delay=0.05)


@pytest.fixture
def addresses(tmp_path: Path, ledger: OriginApplication) -> Iterator[list[str]]:
    """Return the addresses of sidecars, each with a slow network of its own to the same store."""
    with ExitStack() as stack:
        store = StoreServer("valkey", tmp_path)
        store.start()
        stack.callback(store.stop)
        ports = [stack.enter_context(slow_network(store.port, number)) for number in range(SIDECARS)]
        programs = [
            SidecarProgram(tmp_path / str(number), config=CONFIG % (port, ledger.address))
            for number, port in enumerate(ports)
        ]
        for program in programs:
            stack.callback(program.spawn().stop)
        yield [program.wait_ready().address for program in programs]


async def judged(addresses: list[str], caches: Sequence[str], operations: int) -> dict[str, Verdict]:
    """Make calls, and say what is wrong with what they read."""
    channels = [grpc.aio.insecure_channel(address) for address in addresses]
    callers = Callers([CacheServiceStub(channel) for channel in channels], 1, caches, operations)
    begun_at = time.monotonic()
    await asyncio.gather(*(callers.call() for _ in range(CALLERS)))
    for channel in channels:
        await channel.close()

    verdicts = callers.judged()
    for cache, verdict in verdicts.items():
        print(  # noqa: T201 (the figures are of interest)
            f"{cache}: {verdict.reads} found, {verdict.copies} copies, {verdict.late} behind by "
            f"{verdict.most_behind * 1000:.1f} ms at most, {len(verdict.wrong)} wrong"
        )
    print(f"{operations} operations, {SIDECARS} sidecars, {time.monotonic() - begun_at:.1f} s")  # noqa: T201 (as above)
    assert {cache: [] for cache in verdicts} == {cache: verdict.wrong for cache, verdict in verdicts.items()}
    return verdicts


async def test_nothing_is_read_that_is_older_than_it_may_be(addresses: list[str]) -> None:
    """Whatever is late, lost in order or in between; what is read within the bound may be old, and some of it is."""
    verdicts = await judged(addresses, ["plain", "plain", "dated", "strong"], OPERATIONS)
    assert verdicts["strong"].copies == verdicts["strong"].late == 0
    assert verdicts["plain"].copies > verdicts["plain"].reads / 10
    # The checker sees what is old: the network makes it so, and the bound allows it.
    assert verdicts["plain"].late > 0


async def test_what_is_pending_is_read_in_time(addresses: list[str], ledger: OriginApplication) -> None:
    """Of a write-behind cache, whose entries expire and are invalidated before the origin has them, and after."""
    async with ledger:
        verdicts = await judged(addresses, ["behind"], OPERATIONS // 3)
    assert verdicts["behind"].copies > verdicts["behind"].reads / 20
    assert ledger.tokens
