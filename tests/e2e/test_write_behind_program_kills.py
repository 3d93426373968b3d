"""`sidecar serve` is killed again and again while it writes behind: a ledger in a PostgreSQL has each change once.

Writers repeat what was not answered, with the same idempotency key, beside whatever sidecar; so in the end each write
was acknowledged, and the ledger must have exactly those, each key's in their order. `WRITE_BEHIND_KILLS` says how often
a sidecar is killed; `SIDECAR_LONG` makes it 200.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub
from support.programs import SidecarProgram, run_sidecar, wait_until

from sidecar.store.keys import KeySpace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.postgres import Database
    from support.servers import StoreServer

LONG = "SIDECAR_LONG" in os.environ
KILLS = int(os.environ.get("WRITE_BEHIND_KILLS", "200" if LONG else "5"))
SIDECARS = 3 if LONG else 2
SEED = int(os.environ.get("WRITE_BEHIND_SEED", "18"))
TENANT = "killed"
CACHES = ("each", "newest")
KEYS = 12
LEASE_SECONDS = 1.0
# Between two writes of a key, at most: slower than the database, which must keep up although its callers die.
PAUSE_SECONDS = 0.25
# What becomes of what a dead sidecar has sent is not known before the lease is over.
PATIENCE_SECONDS = 60.0

# Whoever has been killed is called again as soon as it is back.
_OPTIONS = [(f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")]
# A change takes the database a while, in which its sidecar may die.
_STORE = (
    "INSERT INTO ledger (cache, key, number, token) SELECT '{cache}', :key, :value::bigint, :token FROM pg_sleep(0.003)"
)
_LOAD = "SELECT key, max(number)::text AS value FROM ledger WHERE cache = '{cache}' AND key = any(:keys) GROUP BY key"
_CACHE = f"""
  {{cache}}:
    strategy: write_behind
    origin: {{{{name: ledger, load: "{_LOAD}", store: "{_STORE}"}}}}
    write_behind:
      {{{{coalesce: {{coalesce}}, flush_after: 20ms, batch: 4, lease: {LEASE_SECONDS:.0f}s, store_timeout: 400ms,
        retry_base: 10ms, retry_cap: 200ms}}}}
"""
TABLES = "CREATE TABLE ledger (id bigserial PRIMARY KEY, cache text, key text, number bigint, token text);"


def config(store: StoreServer, database: Database) -> str:
    """Return the sidecars' configuration."""
    caches = [_CACHE.format(cache=cache, coalesce=str(cache == "newest").lower()) for cache in CACHES]
    return (
        f"tenant: {TENANT}\nstore: {{url: '{store.url}'}}\n"
        f"origins: {{ledger: {{kind: postgres, url: '{database.url}'}}}}\ncaches:{''.join(caches)}"
    )


@dataclass
class Kill:
    """What a kill met."""

    under_way: int
    """Writes beside the sidecar that had no answer."""
    taken: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    """The partitions of which something was under way to the origin, with their owner and when its lease ends."""
    batches: int = 0
    """Those of them that were the dead one's."""


class Writers:
    """Write numbers to keys, each key's in their order; what is not answered is repeated."""

    def __init__(self, addresses: list[str]) -> None:
        self._channels = [grpc.aio.insecure_channel(address, _OPTIONS) for address in addresses]
        self._stubs: list[Any] = [CacheServiceStub(channel) for channel in self._channels]
        self._draw = random.Random(SEED)
        self.ended = False
        self.acknowledged: dict[tuple[str, str], int] = {}
        """The last number of each key of each cache."""
        self.under_way: Counter[int] = Counter()
        """How many writes have no answer, by the number of their sidecar."""
        self.answered: Counter[int] = Counter()
        """How many had one."""
        self.failed = self.repeats = 0
        """Attempts that failed; writes that had been made when they were repeated."""
        self.seen = 0
        self.wrong: list[str] = []
        """What a reader saw in place of what was acknowledged."""

    async def write(self, cache: str, key: str) -> None:
        """Write on and on."""
        for number in range(1, 1_000_000):
            if self.ended:
                return
            await self._written(cache, key, number)
            self.acknowledged[cache, key] = number
            if self._draw.random() < 0.2:
                await self._look(cache, key, number)
            await asyncio.sleep(self._draw.random() * PAUSE_SECONDS)

    async def _written(self, cache: str, key: str, number: int) -> None:
        """Write a number, however often that takes."""
        request = pb.SetRequest(cache=cache, key=key, value=b"%d" % number, idempotency_key=f"{key}-{number}")
        until, failed_us = time.monotonic() + PATIENCE_SECONDS, 0
        while True:
            beside = self._draw.randrange(len(self._stubs))
            self.under_way[beside] += 1
            try:
                answer = await self._stubs[beside].Set(request, timeout=5)
            except grpc.aio.AioRpcError:
                if time.monotonic() > until:
                    raise
                self.failed += 1
                failed_us = failed_us or time.time_ns() // 1_000
                await asyncio.sleep(0.02)
            else:
                # A version is when the write was made, by a clock of this machine.
                self.repeats += answer.version < failed_us
                self.answered[beside] += 1
                return
            finally:
                self.under_way[beside] -= 1

    async def _look(self, cache: str, key: str, number: int) -> None:
        """See that what was acknowledged is read, until the next write."""
        request = pb.GetRequest(cache=cache, key=key)
        try:
            answer = await self._draw.choice(self._stubs).Get(request, timeout=5)
        except grpc.aio.AioRpcError:
            return
        self.seen += 1
        if (answer.outcome, answer.value) != (common_pb2.OUTCOME_HIT, b"%d" % number):
            self.wrong.append(f"{cache} {key} {number}: {answer.outcome} {answer.value!r}")

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


class Partitions:
    """What the store has of the changes of all caches."""

    def __init__(self, store: StoreServer) -> None:
        self._oracle: Any = store.oracle()
        self._keys = {
            f"{cache} {number}".encode(): keys
            for cache in CACHES
            for number, keys in enumerate(KeySpace(TENANT).behind(cache))
        }

    def taken(self) -> dict[bytes, tuple[bytes, bytes]]:
        """Return the partitions of which something is under way, with their owner and when its lease ends."""
        pipeline = self._oracle.pipeline(transaction=False)
        for keys in self._keys.values():
            pipeline.hlen(keys.taken).hmget(keys.owner, "h", "u")
        answers = pipeline.execute()
        found = zip(self._keys, answers[::2], answers[1::2], strict=True)
        return {partition: tuple(owner) for partition, count, owner in found if count}

    def owners(self) -> dict[bytes, tuple[bytes, bytes]]:
        """Return who owns each partition, and when the lease ends."""
        return {name: tuple(self._oracle.hmget(keys.owner, "h", "u")) for name, keys in self._keys.items()}

    def pending(self) -> dict[bytes, tuple[int, int, list[bytes]]]:
        """Return how much waits and is under way in each partition that has any, and its owner."""
        found = {}
        for name, keys in self._keys.items():
            waiting, taken = self._oracle.xlen(keys.stream), self._oracle.hlen(keys.taken)
            if waiting or taken:
                found[name] = (waiting, taken, self._oracle.hmget(keys.owner, "h", "u"))
        return found

    def dead_letters(self) -> int:
        """Return how many changes were given up."""
        return sum(self._oracle.xlen(keys.dead) for keys in self._keys.values())


async def kill_one(program: SidecarProgram, number: int, writers: Writers, partitions: Partitions) -> Kill:
    """Kill a sidecar, start it again, and return what that met."""
    kill = Kill(writers.under_way[number])
    program.kill()
    kill.taken = partitions.taken()
    program.spawn()
    await asyncio.sleep(LEASE_SECONDS * 0.6)
    # Whoever lives has prolonged its lease by now, or has taken over.
    now = partitions.owners()
    kill.batches = sum(now[name] == owner for name, owner in kill.taken.items())
    return kill


@pytest.fixture
async def programs(
    lasting_store: StoreServer, database: Database, tmp_path: Path
) -> AsyncIterator[list[SidecarProgram]]:
    """Return sidecars over one store."""
    text = config(lasting_store, database)
    # No ports: while a sidecar is down, somebody else on the machine may take its port.
    made = [
        SidecarProgram(
            tmp_path / str(number),
            config=text,
            listen=f"unix:{tmp_path}/{number}.sock",
            environ={"SIDECAR_TELEMETRY__METRICS__ADDRESS": "null"},
        )
        for number in range(SIDECARS)
    ]
    database.query(TABLES)
    database.query(run_sidecar("sql", "setup").stdout)
    for program in made:
        program.spawn()
    try:
        for program in made:
            await asyncio.to_thread(program.wait_ready)
        yield made
    finally:
        for program in made:
            program.stop()


@pytest.mark.slow
@pytest.mark.timeout(120 + KILLS * 10)
async def test_a_killed_sidecar_loses_nothing_and_doubles_nothing(
    programs: list[SidecarProgram], lasting_store: StoreServer, database: Database
) -> None:
    """The ledger has each acknowledged write once, in its key's order; of those that coalesce, the last at least."""
    draw, partitions = random.Random(SEED), Partitions(lasting_store)
    writers = Writers([program.address for program in programs])
    writing = [
        asyncio.create_task(writers.write(cache, f"{cache}-{number}")) for cache in CACHES for number in range(KEYS)
    ]
    kills = []
    for _ in range(KILLS):
        await asyncio.sleep(draw.uniform(0.05, 0.4))
        number = draw.choice([number for number, program in enumerate(programs) if program.is_ready] or [0])
        await asyncio.to_thread(programs[number].wait_ready)
        before = writers.answered[number]
        while writers.answered[number] == before:
            await asyncio.sleep(0.001)
        await asyncio.sleep(draw.uniform(0.0, 0.05))
        kills.append(await kill_one(programs[number], number, writers, partitions))
    for program in programs:
        await asyncio.to_thread(program.wait_ready)
    writers.ended = True
    await asyncio.gather(*writing)
    await writers.close()
    at_first = partitions.pending()
    try:
        await asyncio.to_thread(wait_until, lambda: not partitions.pending(), "nothing is pending", PATIENCE_SECONDS)
    except TimeoutError:
        pytest.fail(f"at first {at_first} was pending, and in the end {partitions.pending()}")

    ledger: dict[tuple[str, str], list[int]] = {}
    for cache, key, text in database.query("SELECT cache, key, number FROM ledger ORDER BY id"):
        ledger.setdefault((cache, key), []).append(int(text))
    tokens = Counter(token for (token,) in database.query("SELECT token FROM ledger"))
    print(  # noqa: T201 (the figures are of interest)
        f"{KILLS} kills: {sum(kill.under_way > 0 for kill in kills)} met writes without an answer, "
        f"{sum(kill.under_way for kill in kills)} in all, {sum(kill.batches > 0 for kill in kills)} batches under way, "
        f"of {sum(kill.batches for kill in kills)} partitions; {sum(writers.acknowledged.values())} writes "
        f"acknowledged, {writers.failed} attempts failed, {writers.repeats} writes had been made when repeated; "
        f"{sum(map(len, ledger.values()))} changes in the ledger; {writers.seen} reads, {len(writers.wrong)} wrong"
    )
    assert {1} == set(tokens.values())
    assert (0, []) == (partitions.dead_letters(), writers.wrong)
    for (cache, key), last in writers.acknowledged.items():
        made = ledger[cache, key]
        if cache == "each":
            assert list(range(1, last + 1)) == made
        else:
            assert (sorted(set(made)), last) == (made, made[-1])
    assert len(CACHES) * KEYS == len(ledger)
