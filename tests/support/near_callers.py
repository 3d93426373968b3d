"""Callers who read, write and invalidate at random, beside whatever sidecar, and write down what they are told.

Meanwhile others change the store and the origins behind the sidecars' backs (`outside_writers.py`). Everything that is
answered is written down for the checker (`staleness.py`). A call that ends with an error says nothing, and is counted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from string import Template
from typing import TYPE_CHECKING, Any

import grpc
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, pipeline_pb2, write_behind_pb2
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub
from sidecar_client.gen.sidecar.v1.pipeline_pb2_grpc import PipelineServiceStub
from sidecar_client.gen.sidecar.v1.write_behind_pb2_grpc import WriteBehindServiceStub

from support.contract import milliseconds
from support.outside_writers import BEHIND, CHANNEL, ORIGINS, STREAM, TENANT, OutsideWriters
from support.staleness import NOBODY, Change, Read, Record, Verdict, judge
from support.written_behind import WrittenBehind

if TYPE_CHECKING:
    from support.postgres import Database

KEYS = [f"p:{number}" for number in range(8)]
BOUND = 0.25
TIGHTER = 0.05
WRITTEN = ("plain", "dated", "strong")
BOUNDS = {"plain": BOUND, "dated": BOUND, "strong": 0.0, **dict.fromkeys((*ORIGINS, BEHIND), BOUND)}
_CALL_SECONDS = 30.0
_PATIENCE_SECONDS = 60.0
# About as long as a load takes that is late both ways; and how often is read meanwhile.
_SOON_SECONDS = 0.06
_PAUSE_SECONDS = 0.02
# One operation of so many empties the store.
_FLUSH_RARELY = 3_000

_NEAR = f"l1: {{admission: all, max_staleness: {BOUND * 1000:.0f}ms}}"
_LOADED = """
  $cache:
    strategy: read_through
    generations: true
    $near
    origin: {name: numbers, load: "SELECT key, number::text AS value FROM $cache WHERE key = any(:keys)"}
"""
# It changes its origin within about the time that a slow network takes, and its entries expire before and after.
_BEHIND = """
  $cache:
    strategy: write_behind
    origin:
      name: ledger
      load: "SELECT key, value FROM $cache WHERE key = any(:keys)"
      store: "INSERT INTO $cache VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
      remove: "DELETE FROM $cache WHERE key = :key"
    ttl: 500ms
    write_behind: {flush_after: 100ms, lease: 8s, store_timeout: 4s, retry_base: 10ms, retry_cap: 200ms}
    $near
"""
_CONFIG = Template(
    """
tenant: $tenant
store: {url: "redis://127.0.0.1:$store_port", reply_timeout: 5s, connections: 2}
origins:
  numbers: {kind: postgres, url: "$database_url", applied_table: null, timeout: 10s}
  ledger: {kind: postgres, url: "$database_url", timeout: 10s}
caches:
  plain: {$near}
  dated: {tags: true, generations: true, $near}
  strong: {consistency: strong}
$loaded
$behind
events:
  rows:
    postgres: {url: "$database_url", channels: [rows_changed], tables: {listened: {key_columns: [key]}}}
    rules: [{when: {table: listened}, cache: listened, keys: ["{rows.key}"]}]
  messages:
    pubsub: {channels: [$channel]}
    rules: [{cache: published, keys: ["{key}"]}]
  entries:
    stream: {name: $stream, claim_after: 1s}
    rules:
      - {when: {kind: number}, cache: streamed, keys: ["{key}"]}
      - {when: {kind: key, cache: plain}, cache: plain, keys: ["{key}"]}
      - {when: {kind: key, cache: dated}, cache: dated, keys: ["{key}"]}
      - {when: {kind: key, cache: $cache_behind}, cache: $cache_behind, keys: ["{key}"]}
      - {when: {kind: tag}, cache: dated, tags: [t]}
      - {when: {kind: prefix}, cache: dated, prefix: "p:"}
      - {when: {kind: all}, cache: dated, all: true}
"""
)


def config(store_port: int, database_url: str) -> str:
    """Return a sidecar's configuration."""
    loaded = "".join(Template(_LOADED).substitute(cache=cache, near=_NEAR) for cache in ORIGINS)
    return _CONFIG.substitute(
        tenant=TENANT,
        store_port=store_port,
        database_url=database_url,
        near=_NEAR,
        loaded=loaded,
        behind=Template(_BEHIND).substitute(cache=BEHIND, near=_NEAR),
        cache_behind=BEHIND,
        channel=CHANNEL,
        stream=STREAM,
    )


class Callers:
    """Make `operations` calls, and what others do meanwhile."""

    def __init__(
        self, channels: list[grpc.aio.Channel], store_port: int, database: Database, *, operations: int, seed: int
    ) -> None:
        self._stubs: list[Any] = [CacheServiceStub(channel) for channel in channels]
        self._pipelines: list[Any] = [PipelineServiceStub(channel) for channel in channels]
        self._senders: list[Any] = [WriteBehindServiceStub(channel) for channel in channels]
        self._draw = random.Random(seed)
        self._left = operations
        self._tokens: dict[tuple[str, str], str] = {}
        self.records = {cache: Record() for cache in BOUNDS}
        self.failures: Counter[str] = Counter()
        """Calls that ended with an error, by its code."""
        self.outside = OutsideWriters(store_port, database, told=self._told_outside, number_of=self._number_of)
        self._behind = WrittenBehind()

    async def call(self) -> None:
        """Make calls until there are enough."""
        while self._left > 0:
            self._left -= 1
            cache = self._draw.choice(["plain", "plain", "dated", "strong", BEHIND, *ORIGINS])
            key, beside = self._draw.choice(KEYS), self._draw.randrange(len(self._stubs))
            try:
                if self._draw.randrange(_FLUSH_RARELY) == 0:
                    await self._flush(beside)
                elif cache == BEHIND:
                    await self._use_behind(beside, key)
                elif cache in ORIGINS:
                    await self._use_origin(beside, cache, key)
                else:
                    await self._use(beside, cache, key)
            except grpc.aio.AioRpcError as error:
                self.failures[error.code().name] += 1

    def verdicts(self) -> dict[str, Verdict]:
        """Say what the record of each cache says, once all calls have ended."""
        self.records[BEHIND].reads = self._behind.reads()
        return {cache: judge(record) for cache, record in self.records.items()}

    async def _use(self, beside: int, cache: str, key: str) -> None:
        """Do something with a cache that is written by its callers."""
        chance = self._draw.random()
        if chance < 0.84:
            await self._read(beside, cache, key)
        elif chance < 0.95:
            await self._write(beside, cache, key)
            await self._look_after(beside, cache, key)
        elif chance < 0.97:
            await self._delete(beside, cache, key)
            await self._look_after(beside, cache, key)
        elif chance < 0.975:
            await self.outside.remove(cache, key)
        elif cache == "strong":
            await self._read(beside, cache, key)
        elif chance < 0.99:
            await self.outside.invalidate(cache, "key", key)
        elif cache == "plain":
            await self._invalidate_key(beside, cache, key)
        elif chance < 0.995:
            await self.outside.invalidate(cache, self._draw.choice(["tag", "prefix", "all"]), None)
        else:
            await self._invalidate(beside)

    async def _use_origin(self, beside: int, cache: str, key: str) -> None:
        """Do something with a cache of an origin's numbers."""
        chance = self._draw.random()
        if chance < 0.95:
            await self._read(beside, cache, key)
        elif chance < 0.99:
            await self._change(beside, cache, key)
        else:
            await self._invalidate_numbers(beside, cache, key)
            await self._look_after(beside, cache, key)

    async def _use_behind(self, beside: int, key: str) -> None:
        """Do something with a write-behind cache. To drop its entries changes nothing: what is pending stays."""
        chance = self._draw.random()
        if chance < 0.83:
            await self._read(beside, BEHIND, key)
            return
        if chance < 0.92:
            await self._write_behind(beside, key)
        elif chance < 0.94:
            await self._delete_behind(beside, key)
        elif chance < 0.96:
            await self._delete_pending(beside, key)
        elif chance < 0.97:
            await self.outside.remove(BEHIND, key)
        elif chance < 0.98:
            await self.outside.invalidate(BEHIND, "key", key)
        else:
            request = pb.InvalidateRequest(cache=BEHIND, keys=pb.InvalidateKeys(keys=[key]))
            await self._stubs[beside].Invalidate(request, timeout=_CALL_SECONDS)
        await self._look_after(beside, BEHIND, key)

    async def _change(self, beside: int, cache: str, key: str) -> None:
        """Have a number changed twice, and read it meanwhile: it is loaded while it changes."""

        async def again() -> None:
            await asyncio.sleep(self._draw.random() * _SOON_SECONDS)
            await self.outside.change(cache, key)

        both = asyncio.gather(self.outside.change(cache, key), again())
        try:
            while not both.done():
                await self._read(beside, cache, key)
                await asyncio.sleep(self._draw.random() * _PAUSE_SECONDS)
        finally:
            await both

    # --- reads ---

    async def _look_after(self, beside: int, cache: str, key: str) -> None:
        """Read what was changed at once, most often beside the same sidecar."""
        await self._read(self._draw.choice([beside, beside, self._draw.randrange(len(self._stubs))]), cache, key)

    async def _read(self, beside: int, cache: str, key: str) -> None:
        asked: dict[str, Any] = {}
        bound, token, chance = BOUNDS[cache], "", self._draw.random()
        if chance < 0.2:
            token = asked["token"] = self._tokens.get((cache, key), "")
        elif chance < 0.3:
            bound = min(bound, TIGHTER)
            asked["max_staleness"] = milliseconds(TIGHTER * 1000)
        elif chance < 0.35:
            bound = 0.0
            asked["max_staleness"] = milliseconds(0)
        begun_at = time.monotonic()
        answer = await self._ask(beside, cache, key, asked)
        if answer.outcome == common_pb2.OUTCOME_HIT:
            version = int(answer.value) if cache in ORIGINS else answer.version
            copied = answer.source == common_pb2.SOURCE_L1
            read = Read(key, begun_at, time.monotonic(), version, bound, beside, token, copied)
            if cache == BEHIND:
                self._behind.found(read, answer.value)
            else:
                self.records[cache].reads.append(read)

    async def _ask(self, beside: int, cache: str, key: str, asked: dict[str, Any]) -> pb.GetResponse:
        """Ask in one of the ways there are."""
        stub, chance = self._stubs[beside], self._draw.random()
        get = pb.GetRequest(cache=cache, key=key, **asked)
        answer: pb.GetResponse
        if chance < 0.2:
            request = pb.GetManyRequest(cache=cache, keys=[key, f"{key}:other"], **asked)
            many = await stub.GetMany(request, timeout=_CALL_SECONDS)
            answer = many.results[0].entry
        elif chance < 0.3:
            operations = pipeline_pb2.ExecuteRequest(operations=[pipeline_pb2.Operation(get=get)])
            done = await self._pipelines[beside].Execute(operations, timeout=_CALL_SECONDS)
            answer = done.results[0].get
        elif chance < 0.4 and cache in {*ORIGINS, BEHIND} and not asked:
            loaded = await stub.GetOrLoad(pb.GetOrLoadRequest(cache=cache, key=key), timeout=_CALL_SECONDS)
            answer = loaded.entry
        else:
            answer = await stub.Get(get, timeout=_CALL_SECONDS)
        return answer

    async def _number_of(self, cache: str, key: str) -> int:
        """Return what a cache has for a key in the store, beside any sidecar."""
        beside = self._draw.randrange(len(self._stubs))
        request, begun_at = pb.GetRequest(cache=cache, key=key, max_staleness=milliseconds(0)), time.monotonic()
        try:
            answer = await self._stubs[beside].Get(request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            self.failures[error.code().name] += 1
            return 0
        if answer.outcome != common_pb2.OUTCOME_HIT:
            return 0
        read = Read(key, begun_at, time.monotonic(), int(answer.value), 0.0, beside)
        self.records[cache].reads.append(read)
        return read.version

    # --- changes ---

    async def _write(self, beside: int, cache: str, key: str) -> None:
        request = pb.SetRequest(cache=cache, key=key, value=b"1", tags=["t"] if cache == "dated" else [])
        answer = await self._stubs[beside].Set(request, timeout=_CALL_SECONDS)
        self._told(cache, key, answer.version, beside)
        self._note(cache, key, answer.token)

    async def _delete(self, beside: int, cache: str, key: str) -> None:
        answer = await self._stubs[beside].Delete(pb.DeleteRequest(cache=cache, key=key), timeout=_CALL_SECONDS)
        self._told(cache, key, int(answer.token[1:], 16), beside)
        self._note(cache, key, answer.token)

    async def _write_behind(self, beside: int, key: str) -> None:
        value = self._behind.new_value()
        request = pb.SetRequest(cache=BEHIND, key=key, value=value, idempotency_key=f"{key} {value.decode()}")
        async with self._behind.writing():
            answer = await self._until_answered(self._stubs[beside].Set, request)
            self._behind.written(value, answer.version)
            self._told(BEHIND, key, answer.version, beside)
            self._note(BEHIND, key, answer.token)

    async def _delete_behind(self, beside: int, key: str) -> None:
        async with self._behind.writing():
            await self._delete(beside, BEHIND, key)

    async def _delete_pending(self, beside: int, key: str) -> None:
        """Delete what is pending alone, having read it beside all: the store has no entry that it could tell of."""
        await self._write_behind(beside, key)
        await self.outside.remove(BEHIND, key)
        for _ in range(2):
            await asyncio.gather(*(self._read(other, BEHIND, key) for other in range(len(self._stubs))))
        await self._delete_behind(beside, key)
        await asyncio.sleep(BOUND)
        await asyncio.gather(*(self._read(other, BEHIND, key) for other in range(len(self._stubs))))

    async def _flush(self, beside: int) -> None:
        """Empty the store, but not of what is pending: that would be lost, as an origin has nothing of it."""
        async with self._behind.closed():
            left = 1
            while left:
                request = write_behind_pb2.FlushRequest(cache=BEHIND)
                left = (await self._until_answered(self._senders[beside].Flush, request)).pending
            await self.outside.flush(list(WRITTEN), list(ORIGINS))

    async def _until_answered(self, method: Any, request: Any) -> Any:
        """Call until there is an answer, if need be again and again; it must be safe to repeat."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await method(request, timeout=_CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if time.monotonic() > until:
                    raise
                self.failures[error.code().name] += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _invalidate_key(self, beside: int, cache: str, key: str) -> None:
        request = pb.InvalidateRequest(cache=cache, keys=pb.InvalidateKeys(keys=[key]))
        answer = await self._stubs[beside].Invalidate(request, timeout=_CALL_SECONDS)
        if not answer.failures:
            self._told(cache, key, int(answer.token[1:], 16), beside)

    async def _invalidate(self, beside: int) -> None:
        what: dict[str, Any] = self._draw.choice(
            [{"all": True}, {"prefix": "p:"}, {"tags": pb.InvalidateTags(tags=["t"])}]
        )
        request = pb.InvalidateRequest(cache="dated", **what)
        answer = await self._stubs[beside].Invalidate(request, timeout=_CALL_SECONDS)
        self._told("dated", None, answer.generation, beside)

    async def _invalidate_numbers(self, beside: int, cache: str, key: str) -> None:
        """Invalidate some or all of what was loaded: what is read from then on is what the origin had by then."""
        numbers = self.outside.committed(cache)
        what: dict[str, Any] = self._draw.choice([{"all": True}, {"prefix": "p:"}, {"keys": None}])
        if "keys" in what:
            what, numbers = {"keys": pb.InvalidateKeys(keys=[key])}, {key: numbers.get(key, 0)}
        request = pb.InvalidateRequest(cache=cache, **what)
        answer = await self._stubs[beside].Invalidate(request, timeout=_CALL_SECONDS)
        if not answer.failures:
            for name, number in numbers.items():
                self._told(cache, name, number, beside)

    def _note(self, cache: str, key: str, token: str) -> None:
        self._tokens[cache, key] = max(token, self._tokens.get((cache, key), ""))

    def _told(self, cache: str, key: str | None, version: int, beside: int) -> None:
        record = self.records[cache]
        changes = record.of_all if key is None else record.changes[key]
        changes.append(Change(time.monotonic(), version, beside))

    def _told_outside(self, cache: str, key: str | None, version: int) -> None:
        if cache != BEHIND:  # of which only entries were dropped
            self._told(cache, key, version, NOBODY)
