"""Events and watches over whole sidecars: how long it takes, who listens, and that copies are right."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar_client import Change, ChangeKind, Copies, SidecarClient
from support.programs import SidecarProgram, children_of, environment, wait_until

from bench import ledgers
from bench.triggers import measure

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgres import Database
    from support.servers import StoreServer

SIDECARS, ROUNDS = 4, 5


# Nothing but news ends a copy within the test.
NEAR = {"admission": "all", "max_staleness": "1m"}


async def test_a_transaction_shows_beside_all_sidecars(
    lasting_store: StoreServer, database: Database, tmp_path: Path
) -> None:
    """Though each had the old balance in its own memory; `bench.triggers` says how soon."""
    environ = {ledgers.URL_VARIABLE: database.url}
    database.query(ledgers.tables(ROUNDS, postings=1))
    database.query(ledgers.triggers(environment(**environ)))
    config = ledgers.configuration("{address}", lasting_store.url, NEAR)
    with ExitStack() as stack:
        programs = [SidecarProgram(tmp_path / str(n), config=config, environ=environ) for n in range(SIDECARS)]
        for program in programs:
            stack.callback(program.spawn().stop)
        addresses = [(await asyncio.to_thread(program.wait_ready)).address for program in programs]
        took = await measure(addresses, database.url, ROUNDS, copied=True)
    assert ROUNDS == len(took)


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
