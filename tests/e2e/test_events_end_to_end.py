"""Events and watches over whole sidecars: how long it takes, who listens, and that copies are right."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
from sidecar_client import Change, ChangeKind, Copies, SidecarClient
from support.programs import SidecarProgram, children_of, run_sidecar, wait_until
from support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgres import Database
    from support.servers import StoreServer

SIDECARS, ROUNDS = 4, 100
PROMISE_SECONDS = 0.05
CONFIG = """
listen: ["{{address}}"]
caches:
  balances: {{ttl: 5m}}
events:
  ledger:
    postgres: {{url: "{url}", channels: [posted], tables: {{posting: {{key_columns: [account_id]}}}}}}
    rules: [{{when: {{table: posting}}, cache: balances, keys: ["account-{{rows.account_id}}"]}}]
"""


async def test_no_sidecar_serves_the_old_value_after_fifty_milliseconds(
    lasting_store: StoreServer, database: Database, tmp_path: Path
) -> None:
    """In 99 of 100 transactions, with four sidecars."""
    config = CONFIG.format(url=database.url)
    path = tmp_path / "triggers.yaml"
    path.write_text(config.replace("{address}", "127.0.0.1:0"))
    database.query("CREATE TABLE posting (id bigserial, account_id bigint)")
    database.query(run_sidecar("sql", "triggers", "--config", str(path)).stdout)
    async with contextlib.AsyncExitStack() as stack:
        programs = [
            SidecarProgram(tmp_path / str(number), config=config, arguments=["--redis", lasting_store.url])
            for number in range(SIDECARS)
        ]
        clients = []
        for program in programs:
            await asyncio.to_thread(stack.enter_context, program)
            clients.append(await stack.enter_async_context(SidecarClient(program.address, timeout=30)))
        writer = await asyncpg.connect(database.url)
        stack.push_async_callback(writer.close)
        took = []
        for number in range(ROUNDS):
            key = f"account-{number}"
            await clients[number % SIDECARS].cache("balances").set(key, b"old")
            await writer.execute("INSERT INTO posting (account_id) VALUES ($1)", number)
            watch = Stopwatch(*(program.process_id for program in programs))
            while any([(await client.cache("balances").get(key)).found for client in clients]):
                await asyncio.sleep(0)
            took.append(watch.seconds)
    assert PROMISE_SECONDS > sorted(took)[ROUNDS * 99 // 100 - 1]


async def test_one_worker_listens_for_all(lasting_store: StoreServer, tmp_path: Path) -> None:
    """And when it dies, the one in its place does."""
    config = """
listen: ["{address}"]
workers: 2
caches: {balances: {ttl: 5m}}
events:
  posted:
    pubsub: {channels: [posted]}
    rules: [{cache: balances, keys: ["{id}"]}]
"""
    oracle = lasting_store.oracle()

    def listeners() -> int:
        return int(oracle.pubsub_numsub("posted")[0][1])

    with SidecarProgram(tmp_path / "workers", config=config, arguments=["--redis", lasting_store.url]) as program:
        async with SidecarClient(program.address, timeout=30) as client:
            balances = client.cache("balances")
            before = listeners()
            for process_id in children_of(program.process_id):
                os.kill(process_id, signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda: listeners() == 0, "the workers are gone")
            await asyncio.to_thread(wait_until, lambda: listeners() == 1, "another listens")
            await asyncio.to_thread(wait_until, program.api().is_serving, "it serves")
            await balances.set("a", b"old")
            oracle.publish("posted", '{"id": "a"}')
            async with asyncio.timeout(20):
                while (await balances.get("a")).hit:
                    await asyncio.sleep(0.01)
            assert (1, 1) == (before, listeners())


async def test_copies_of_a_client_are_right(lasting_sidecar: SidecarProgram) -> None:
    """While others write at random: once everything has been told, each copy is what the cache holds."""
    draw, keys = random.Random(7), [f"copied-{number}" for number in range(20)]
    copies: Copies[bytes] = Copies()
    async with SidecarClient(lasting_sidecar.address, timeout=30) as client, asyncio.TaskGroup() as tasks:
        balances = client.cache("balances")
        heard: asyncio.Queue[Change] = asyncio.Queue()

        async def listen() -> None:
            async for change in client.watch("balances", prefixes=["copied-"]):
                copies.hear(change)
                heard.put_nowait(change)

        async def read() -> None:
            for _ in range(300):
                key = draw.choice(keys)
                fetch = copies.begin(key)
                copies.keep(key, (await balances.get(key)).value or b"", fetch)

        async def write() -> None:
            for number in range(300):
                await balances.set(draw.choice(keys), str(number).encode())

        await balances.set_many(dict.fromkeys(keys, b"first"))
        listening = tasks.create_task(listen())
        assert ChangeKind.READY is (await heard.get()).kind
        await asyncio.gather(read(), write())
        ended = datetime.now(UTC)
        while True:
            change = await heard.get()
            if change.kind is ChangeKind.HEARTBEAT and change.as_of is not None and change.as_of > ended:
                break
        kept = {key: copies.get(key) for key in keys if copies.get(key) is not None}
        stored = {key: (await balances.get(key)).value for key in kept}
        listening.cancel()
    assert stored == kept
