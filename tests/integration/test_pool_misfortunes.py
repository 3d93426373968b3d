"""Servers that misbehave in ways that a real one rarely does: they close, contradict themselves, or say no for a while.

What is scripted here is the server's fault; everything that a well-behaved server can show is tested on real ones.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.stopwatch import Stopwatch

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, StoreError
from sidecar.store import commands, scripts
from sidecar.store.address import StoreAddress
from sidecar.store.base import Command, ScriptCall
from sidecar.store.connection import MAX_IN_FLIGHT
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.servers import StoreServer

HELLO = b"%1\r\n+proto\r\n:3\r\n+PONG\r\n"
SET = Command(("SET", b"k", b"v"), False)
KEYED = ScriptCall(scripts.load("increment_raw"), (b"n", b"{n}:record"), (1, 0, 60_000, b"f" * 16, 60_000), True)


def a_call(seconds: float = 30.0) -> Call:
    """Return a call with that much time."""
    return Call("/test", deadline=after(seconds))


class Scripted:
    """A server that shakes hands and then does as it is told with each piece of data."""

    def __init__(self, answer: Callable[[bytes, asyncio.StreamWriter], None]) -> None:
        self._answer = answer
        self.connections = 0
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        await reader.read(65536)
        writer.write(HELLO)
        try:
            while data := await reader.read(65536):
                self.requests += data.count(b"GET")
                self._answer(data, writer)
        except ConnectionError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def store_before(
    script: Scripted, metrics: Metrics, policy: PoolPolicy
) -> AsyncIterator[tuple[StandaloneStore, Pool]]:
    """Yield a store over a scripted server."""
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    address = StoreAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    pool = Pool(address, policy, PoolCounters(metrics))
    pool.start()
    yield StandaloneStore(pool), pool
    await pool.close()
    server.close()


async def ready(pool: Pool, connections: int = 1) -> None:
    """Wait until so many connections are ready."""
    while pool.ready_connections < connections:
        await asyncio.sleep(0.001)


def count_of(metrics: Metrics, name: str) -> int:
    """Return a counter's value."""
    family = metrics.families[f"sidecar_store_{name}"]
    assert isinstance(family, Counter)
    return family.cell().value


def close_at_once(_data: bytes, writer: asyncio.StreamWriter) -> None:
    """Take the request and hang up."""
    writer.transport.abort()


class TestServerThatHangsUp:
    """It takes connections, and closes them with the first request."""

    async def test_it_is_not_dialled_without_pause(self) -> None:
        """Connections that do not last are backed off from like those that fail."""
        metrics = Metrics()
        script = Scripted(close_at_once)
        async with store_before(script, metrics, PoolPolicy(connections=1)) as (store, _):
            until = asyncio.get_running_loop().time() + 1.0
            while asyncio.get_running_loop().time() < until:
                with pytest.raises(StoreError):
                    await store.call(commands.get(b"k"), a_call(0.2))
        assert script.connections < 60

    async def test_repeats_stay_within_the_budget(self) -> None:
        """F14: a batch counts as what it is, and one request is repeated a few times at most."""
        script = Scripted(close_at_once)
        async with store_before(script, Metrics(), PoolPolicy(connections=4)) as (store, _):
            for _ in range(10):
                await store.call_many([commands.get(b"k")] * 100, a_call(1))
        assert script.requests <= 10 * 100 * 4

    async def test_a_keyed_write_is_never_called_unchanged(self) -> None:
        """It was sent, so its end is unknown, also when the repeat finds nobody."""
        async with store_before(Scripted(close_at_once), Metrics(), PoolPolicy(connections=1)) as (store, pool):
            await ready(pool)
            with pytest.raises(StoreError) as caught:
                await store.run(KEYED, a_call(1))
        assert caught.value.reason is Reason.OUTCOME_UNKNOWN

    async def test_a_repeat_is_not_counted_as_a_request(self) -> None:
        """Nor does it earn the budget anything: what was asked for is one request, however often it is sent."""
        metrics = Metrics()
        async with store_before(Scripted(close_at_once), metrics, PoolPolicy(connections=1)) as (store, pool):
            await ready(pool)
            with pytest.raises(StoreError):
                await store.run(KEYED, a_call(1))
        assert (1, True) == (count_of(metrics, "requests"), count_of(metrics, "retries") > 0)


async def test_a_reply_that_python_cannot_hold_is_no_answer() -> None:
    """A map whose key is an array is RESP, and no Python object: the connection ends, and the caller is told."""

    def answer_with_such_a_map(_data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%1\r\n*1\r\n:1\r\n:2\r\n")

    script = Scripted(answer_with_such_a_map)
    async with store_before(script, Metrics(), PoolPolicy(connections=1)) as (store, _):
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"k"), a_call(1))
    assert (Reason.STORE_UNAVAILABLE, True) == (caught.value.reason, script.connections > 1)


async def test_callers_share_no_exception(server: StoreServer) -> None:
    """Else its traceback would hold on to what each of them asked for."""
    server.kill()
    pool = Pool(StoreAddress(host="127.0.0.1", port=server.port), PoolPolicy(), PoolCounters(Metrics()))
    pool.start()
    raised = []
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await StandaloneStore(pool).call(commands.get(b"k"), a_call(1))
        raised.append(caught.value)
    await pool.close()
    assert raised[0] is not raised[1]


async def test_a_hung_server_is_not_tried_on_every_connection() -> None:
    """A call with much time fails after one reply timeout, not after one for each connection."""

    def say_nothing(_data: bytes, _writer: asyncio.StreamWriter) -> None:
        return

    policy = PoolPolicy(connections=4, reply_timeout=0.2)
    async with store_before(Scripted(say_nothing), Metrics(), policy) as (store, pool):
        await ready(pool, 4)
        watch = Stopwatch()
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"k"), a_call(30))
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert watch.seconds < 0.6


async def test_what_waits_for_a_silent_server_is_bounded() -> None:
    """The request after the last that may wait is refused as too much."""

    def say_nothing(_data: bytes, _writer: asyncio.StreamWriter) -> None:
        return

    policy = PoolPolicy(connections=1, reply_timeout=30)
    async with store_before(Scripted(say_nothing), Metrics(), policy) as (store, pool):
        await ready(pool)
        waiting = [asyncio.ensure_future(store.call(commands.get(b"k"), a_call(30))) for _ in range(MAX_IN_FLIGHT)]
        await asyncio.sleep(0.05)
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"k"), a_call(30))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert caught.value.reason is Reason.OVERLOADED


async def test_a_connection_that_closes_with_the_handshake_is_not_used() -> None:
    """An answer to no question, right behind the handshake, closes it; the pool dials again."""

    async def greet_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(HELLO + b"+STRAY\r\n")
        await reader.read(65536)
        writer.close()

    server = await asyncio.start_server(greet_too_much, "127.0.0.1", 0)
    address = StoreAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    metrics = Metrics()
    pool = Pool(address, PoolPolicy(connections=1), PoolCounters(metrics))
    pool.start()
    while count_of(metrics, "dials_failed") < 3:
        await asyncio.sleep(0.01)
    ready = pool.ready_connections
    await pool.close()
    server.close()
    assert ready == 0


async def test_a_host_that_cannot_be_one_is_reported_and_tried_again() -> None:
    """The keeper lives on, and says what is wrong."""
    metrics = Metrics()
    pool = Pool(StoreAddress(host="redis..svc"), PoolPolicy(connections=1), PoolCounters(metrics))
    pool.start()
    with pytest.raises(StoreError) as caught:
        await StandaloneStore(pool).call(commands.get(b"k"), a_call(1))
    await pool.close()
    assert (True, True) == ("host name" in caught.value.message, count_of(metrics, "dials_failed") > 0)


class TestDemotedServer:
    """F3, F6: the server has become a replica."""

    async def test_writes_of_others_are_refused_and_not_unknown(
        self, store: StandaloneStore, server: StoreServer
    ) -> None:
        """Every write was refused by the server, so every caller hears that nothing was changed."""
        server.oracle().replicaof("127.0.0.1", str(server.port + 1))
        outcomes = await asyncio.gather(*(store.call(SET, a_call(1)) for _ in range(200)), return_exceptions=True)
        assert {Reason.STORE_UNAVAILABLE} == {outcome.reason for outcome in outcomes if isinstance(outcome, StoreError)}

    async def test_a_batch_leaves_the_connection_too(self, store: StandaloneStore, server: StoreServer) -> None:
        """Writes that come in batches alone find the primary after a failover as well."""
        oracle = server.oracle()
        oracle.replicaof("127.0.0.1", str(server.port + 1))
        before = int(oracle.info("stats")["total_connections_received"])
        replies = await store.call_many([SET] * 3, a_call(1))
        assert [Reason.STORE_UNAVAILABLE] * 3 == [reply.reason for reply in replies]
        while int(oracle.info("stats")["total_connections_received"]) == before:
            await asyncio.sleep(0.01)
        oracle.replicaof("NO", "ONE")
        assert [b"OK"] * 3 == await store.call_many([SET] * 3, a_call(1))


async def test_nothing_is_sent_after_the_deadline(store: StandaloneStore, server: StoreServer) -> None:
    """A call that is already late changes nothing, and is told so."""
    with pytest.raises(StoreError) as caught:
        await store.call(SET, a_call(-1))
    assert (Reason.DEADLINE_EXCEEDED, None) == (caught.value.reason, server.oracle().get("k"))
