"""What callers see when the server, or the way to it, fails (F2, F3, F4, F14)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.servers import PATIENCE_SECONDS
from support.stopwatch import Stopwatch

from sidecar.call import Call
from sidecar.clock import StoreClock, after, remaining
from sidecar.errors import Reason, StoreError
from sidecar.store import commands, scripts
from sidecar.store.address import StoreAddress
from sidecar.store.base import Command, ScriptCall
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.probe import StoreProbe
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.servers import StoreServer


def a_call(seconds: float = 30.0) -> Call:
    """Return a call with that much time."""
    return Call("/test", deadline=after(seconds))


async def seconds_until_a_read(store: StandaloneStore, server: StoreServer) -> float:
    """Read again and again until it goes well, and return how long that took."""
    watch = Stopwatch(server.process_id)
    while watch.wall_seconds < PATIENCE_SECONDS:
        try:
            await store.call(commands.get(b"k"), a_call(0.5))
            break
        except StoreError:
            await asyncio.sleep(0.01)
    return watch.seconds


class Wire:
    """A TCP proxy before the server that can swallow answers and cut connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.swallow = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallowed = asyncio.Event()
        self.requests_after_cut = 0

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Reset all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        """End."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, there_writer}
        back = asyncio.create_task(self._pump(there_reader, writer, answers=True))
        self._tasks.add(back)
        await self._pump(reader, there_writer, answers=False)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while data := await reader.read(65536):
                if answers and self.swallow:
                    self.swallowed.set()
                    continue
                writer.write(data)
        except ConnectionError:
            return
        finally:
            writer.transport.abort()


@pytest.fixture
async def wire(server: StoreServer) -> AsyncIterator[Wire]:
    """Return a proxy before the server."""
    proxy = Wire(server.port)
    yield proxy
    await proxy.stop()


@pytest.fixture
async def proxied(wire: Wire) -> AsyncIterator[StandaloneStore]:
    """Return a store that reaches its server by the proxy."""
    address = StoreAddress(host="127.0.0.1", port=await wire.start())
    # A busy machine may take its time to connect anew; that is not what these tests are about.
    pool = Pool(address, PoolPolicy(connections=1, unavailable_grace=PATIENCE_SECONDS), PoolCounters(Metrics()))
    pool.start()
    store = StandaloneStore(pool)
    await store.call(commands.time(), a_call())
    yield store
    await pool.close()


class TestResetAfterWrite:
    """F4: the connection is reset after a write was sent and before its answer came."""

    async def test_a_plain_write_is_not_repeated_but_reported_unknown(
        self, proxied: StandaloneStore, wire: Wire, server: StoreServer
    ) -> None:
        """INCR is carried out once, and the caller is told that nobody knows."""
        wire.swallow = True
        asking = asyncio.ensure_future(proxied.call(Command(("INCR", b"n"), False), a_call()))
        await wire.swallowed.wait()
        wire.swallow = False
        wire.cut()
        with pytest.raises(StoreError) as caught:
            await asking
        assert (Reason.OUTCOME_UNKNOWN, b"1") == (caught.value.reason, server.oracle().get("n"))

    async def test_a_read_is_repeated(self, proxied: StandaloneStore, wire: Wire, server: StoreServer) -> None:
        """The caller of a GET sees nothing of the reset."""
        server.oracle().set("k", "v")
        wire.swallow = True
        asking = asyncio.ensure_future(proxied.call(commands.get(b"k"), a_call()))
        await wire.swallowed.wait()
        wire.swallow = False
        wire.cut()
        assert await asking == b"v"

    async def test_a_write_with_an_idempotency_key_is_repeated_and_applied_once(
        self, proxied: StandaloneStore, wire: Wire, server: StoreServer
    ) -> None:
        """The second run answers what the first one did."""
        increment = ScriptCall(
            scripts.load("increment_raw"), (b"n", b"{n}:record"), (5, 0, 60_000, b"f" * 16, 60_000), True
        )
        wire.swallow = True
        asking = asyncio.create_task(proxied.run(increment, a_call()))
        await wire.swallowed.wait()
        wire.swallow = False
        wire.cut()
        outcome, _, _, total = await asking
        assert (1, b"5", b"5") == (outcome, total, server.oracle().get("n"))

    async def test_a_batch_keeps_the_answers_it_has(
        self, proxied: StandaloneStore, wire: Wire, server: StoreServer
    ) -> None:
        """Of a batch of writes whose answers were lost, each is unknown and none is run twice."""
        wire.swallow = True
        asking = asyncio.create_task(proxied.call_many([Command(("INCR", b"n"), False)] * 3, a_call()))
        await wire.swallowed.wait()
        wire.swallow = False
        wire.cut()
        assert [Reason.OUTCOME_UNKNOWN] * 3 == [reply.reason for reply in await asking]
        assert server.oracle().get("n") == b"3"

    async def test_in_a_mixed_batch_each_ends_as_it_would_alone(
        self, proxied: StandaloneStore, wire: Wire, server: StoreServer
    ) -> None:
        """Reads and writes with an idempotency key are repeated, a plain write beside them is unknown."""
        server.oracle().set("k", "v")
        increment = ScriptCall(
            scripts.load("increment_raw"), (b"n", b"{n}:record"), (5, 0, 60_000, b"f" * 16, 60_000), True
        )
        plain_write = Command(("INCR", b"m"), False)
        batch: list[Command | ScriptCall] = [commands.get(b"k"), plain_write, increment, commands.get(b"k")]
        await proxied.call_many([increment._replace(keys=(b"o", b"{o}:record"))], a_call())
        wire.swallow = True
        asking = asyncio.create_task(proxied.call_many(batch, a_call()))
        await wire.swallowed.wait()
        wire.swallow = False
        wire.cut()
        first, plain, repeated, last = cast("list[Any]", await asking)
        assert (b"v", Reason.OUTCOME_UNKNOWN, b"5", b"v") == (first, plain.reason, repeated[3], last)
        assert (b"1", b"5") == (server.oracle().get("m"), server.oracle().get("n"))

    async def test_a_read_beside_a_write_never_ends_as_an_unknown_write(
        self, proxied: StandaloneStore, wire: Wire, server: StoreServer
    ) -> None:
        """If it cannot be repeated either, it says that nothing was changed."""
        wire.swallow = True
        batch = [commands.get(b"k"), Command(("INCR", b"m"), False)]
        asking = asyncio.create_task(proxied.call_many(batch, a_call(2)))
        await wire.swallowed.wait()
        server.kill()
        wire.cut()
        read, write = await asking
        assert (Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN) == (read.reason, write.reason)


class TestHungServer:
    """F2: the server stops answering and its connections stay open."""

    async def test_every_request_ends_with_its_deadline_and_service_comes_back(
        self, store: StandaloneStore, server: StoreServer
    ) -> None:
        """Requests end at most 50 ms late; within a second of the end of the hang all is right again."""
        loop = asyncio.get_running_loop()
        probe = StoreProbe(store, StoreClock(), interval=0.2)
        await probe.start()
        assert probe.serving
        server.oracle().set("k", "v")
        server.pause()

        async def ask(seconds: float) -> float:
            watch = Stopwatch()
            with pytest.raises(StoreError):
                await store.call(commands.get(b"k"), a_call(seconds))
            return watch.seconds - seconds

        lateness: list[float] = []
        until = loop.time() + 3
        while loop.time() < until:
            lateness += await asyncio.gather(*(ask(seconds) for seconds in (0.05, 0.1, 0.3, 0.5)))
        assert max(lateness) < 0.05
        assert not probe.serving
        server.resume()
        watch = Stopwatch(server.process_id)
        while not probe.serving:
            await asyncio.sleep(0.01)
        assert await store.call(commands.get(b"k"), a_call()) == b"v"
        assert watch.seconds < 1.0
        await probe.stop()


class TestServerDown:
    """F3: the server is not there at the start, is killed, and is started again."""

    async def test_a_pool_starts_without_its_server_and_finds_it_later(self, server: StoreServer) -> None:
        """Requests fail fast with UNAVAILABLE, and succeed within a second of the server's start."""
        server.kill()
        pool = Pool(StoreAddress(host="127.0.0.1", port=server.port), PoolPolicy(), PoolCounters(Metrics()))
        pool.start()
        store = StandaloneStore(pool)
        watch = Stopwatch()
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"k"), a_call(30))
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert watch.seconds < 1.0
        server.start()
        assert await seconds_until_a_read(store, server) < 1.0
        await pool.close()

    async def test_a_short_deadline_still_gets_the_reason(self, store: StandaloneStore, server: StoreServer) -> None:
        """A call with 100 ms left is answered UNAVAILABLE before they are over, not left to run out.

        One of ten at least: a busy machine may take the time from any of them.
        """
        server.kill()
        for _ in range(10):
            call = a_call(0.1)
            with pytest.raises(StoreError) as caught:
                await store.call(commands.get(b"k"), call)
            in_time = remaining(call.deadline) > 0
            if in_time:
                break
        assert (Reason.STORE_UNAVAILABLE, True) == (caught.value.reason, in_time)

    async def test_after_a_restart_no_caller_sees_the_old_connections(
        self, store: StandaloneStore, server: StoreServer
    ) -> None:
        """A hundred reads right after recovery all succeed."""
        server.kill()
        with pytest.raises(StoreError):
            await store.call(commands.get(b"k"), a_call(0.2))
        server.start()
        assert await seconds_until_a_read(store, server) < 1.0
        replies = await asyncio.gather(*(store.call(commands.get(b"k"), a_call()) for _ in range(100)))
        assert [None] * 100 == replies

    async def test_calls_during_an_outage_cost_no_more_than_the_budget(
        self, store: StandaloneStore, server: StoreServer
    ) -> None:
        """F14: with the server gone, requests are not multiplied."""
        server.kill()
        outcomes = await asyncio.gather(
            *(store.call(commands.get(b"k"), a_call(1)) for _ in range(500)), return_exceptions=True
        )
        assert {Reason.STORE_UNAVAILABLE} == {outcome.reason for outcome in outcomes if isinstance(outcome, StoreError)}


class TestCredentials:
    """Passwords, and what is said when they are wrong."""

    async def test_a_wrong_password_is_denied_and_not_called_unreachable(self, server: StoreServer) -> None:
        """The reason tells the operator what to mend."""
        server.oracle().config_set("requirepass", "right")
        address = StoreAddress(host="127.0.0.1", port=server.port, password="wrong")
        pool = Pool(address, PoolPolicy(connections=1), PoolCounters(Metrics()))
        pool.start()
        with pytest.raises(StoreError) as caught:
            await StandaloneStore(pool).call(commands.get(b"k"), a_call())
        assert caught.value.reason is Reason.STORE_DENIED
        await pool.close()

    async def test_an_acl_user_can_log_in_and_choose_a_database(self, server: StoreServer) -> None:
        """User, password and database of the address are used."""
        oracle = server.oracle()
        oracle.acl_setuser("app", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
        address = StoreAddress(host="127.0.0.1", port=server.port, username="app", password="secret", database=3)
        pool = Pool(address, PoolPolicy(connections=1), PoolCounters(Metrics()))
        pool.start()
        store = StandaloneStore(pool)
        await store.call(Command(("SET", b"k", b"v"), False), a_call())
        user = await store.call(Command(("ACL", "WHOAMI"), True), a_call())
        oracle.select(3)
        assert (b"app", b"v") == (user, oracle.get("k"))
        await pool.close()
