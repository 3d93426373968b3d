"""Writes that are to be on disk, or with replicas, before they are acknowledged."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.servers import StoreServer
from support.write_behind import some_call

from sidecar.errors import Reason, StoreError
from sidecar.store.address import StoreAddress
from sidecar.store.base import ScriptCall
from sidecar.store.confirmed import ConfirmedWrites, on_disk, on_replicas
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.scripts import load
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sidecar.store.base import Reply
    from sidecar.store.confirmed import Question

TIMEOUT_MS = 5_000


def write(key: str, value: str = "v") -> ScriptCall:
    """Return a script that writes."""
    args = (value, 60_000, 0, "", b"", 0)
    return ScriptCall(load("set_entry"), (key.encode(), key.encode(), b"load"), args, False)


def version_of(answer: Reply | StoreError) -> int:
    """Return the version that a write was given."""
    assert not isinstance(answer, StoreError)
    outcome, version, _ = answer
    assert 1 == outcome
    return int(version)


@asynccontextmanager
async def confirmed(server: StoreServer, question: Question) -> AsyncIterator[ConfirmedWrites]:
    """Return what writes to a server, on one connection."""
    policy = PoolPolicy(connections=1, reply_timeout=10.0)
    pool = Pool(StoreAddress(host="127.0.0.1", port=server.port), policy, PoolCounters(Metrics()))
    pool.start()
    writes = ConfirmedWrites(pool, question)
    yield writes
    await writes.close()
    await pool.close()


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[StoreServer]:
    """Return a Valkey with an append-only file."""
    folder = tmp_path / "primary"
    folder.mkdir()
    made = StoreServer(
        "valkey", folder, ["--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"]
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture
def replica(primary: StoreServer, tmp_path: Path) -> Iterator[StoreServer]:
    """Return a replica of it."""
    folder = tmp_path / "replica"
    folder.mkdir()
    made = StoreServer("valkey", folder, ["--replicaof", f"127.0.0.1 {primary.port}"])
    made.start()
    yield made
    made.stop()


async def test_writes_on_disk_survive_a_crash(primary: StoreServer) -> None:
    """As they are acknowledged together, and no more than a second's worth later."""
    async with confirmed(primary, on_disk(TIMEOUT_MS)) as writes:
        assert await writes.problem() is None
        answers = await asyncio.gather(*(writes.run([write(f"k{number}")], some_call()) for number in range(100)))
    primary.kill()
    primary.start()
    assert all(version_of(answer) for (answer,) in answers)
    assert 100 == primary.oracle().dbsize()


async def test_without_a_replica_nothing_is_confirmed(primary: StoreServer) -> None:
    """The writes are made all the same, and the answer says so."""
    async with confirmed(primary, on_replicas(1, 50)) as writes:
        (answer,) = await writes.run([write("k")], some_call())
    assert isinstance(answer, StoreError)
    assert (Reason.WRITE_NOT_CONFIRMED, 1) == (answer.reason, primary.oracle().exists("k"))


async def test_a_replica_confirms(primary: StoreServer, replica: StoreServer) -> None:
    """Once it has what was written."""
    async with confirmed(primary, on_replicas(1, TIMEOUT_MS)) as writes:
        (answer,) = await writes.run([write("k")], some_call())
    assert version_of(answer) > 0
    assert 1 == replica.oracle().exists("k")


async def test_a_hung_replica_confirms_nothing(primary: StoreServer, replica: StoreServer) -> None:
    """Within the time that it has."""
    async with confirmed(primary, on_replicas(1, TIMEOUT_MS)) as writes:
        await writes.run([write("k")], some_call())
    replica.pause()
    async with confirmed(primary, on_replicas(1, 100)) as writes:
        (answer,) = await writes.run([write("k")], some_call())
    assert isinstance(answer, StoreError)
    assert Reason.WRITE_NOT_CONFIRMED is answer.reason


async def test_a_store_that_cannot_confirm_says_why(tmp_path: Path) -> None:
    """At start, before anything is written."""
    server = StoreServer("valkey", tmp_path)
    server.start()
    async with confirmed(server, on_disk(TIMEOUT_MS)) as writes:
        await writes.run([write("k")], some_call())  # it is connected now
        problem = await writes.problem()
    server.stop()
    assert "the store keeps no append-only file (appendonly yes)" == problem


async def test_a_server_that_is_killed_confirms_nothing(primary: StoreServer) -> None:
    """What was under way may have been made."""
    async with confirmed(primary, on_replicas(1, 500)) as writes:
        under_way = asyncio.create_task(writes.run([write("k")], some_call()))

        async def is_there() -> None:
            oracle = primary.oracle()
            while not oracle.exists("k"):
                await asyncio.sleep(0.005)

        await is_there()
        primary.kill()
        (answer,) = await under_way
    assert isinstance(answer, StoreError)
    assert answer.reason in {Reason.OUTCOME_UNKNOWN, Reason.WRITE_NOT_CONFIRMED}


async def test_order_within_a_call_is_kept(primary: StoreServer) -> None:
    """Also where the server has to be given a script first."""
    async with confirmed(primary, on_disk(TIMEOUT_MS)) as writes:
        answers = await writes.run([write("k", str(number)) for number in range(20)], some_call())
    assert 20 == len({version_of(answer) for answer in answers})
    stored = primary.oracle().get("k")
    assert isinstance(stored, bytes)
    assert stored.endswith(b"19")
