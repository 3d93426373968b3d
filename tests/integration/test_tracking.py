"""The tracked connection: what the server says of what was read on it, and what is to be believed meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from support.stopwatch import Stopwatch

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, StoreError
from sidecar.store import commands, scripts
from sidecar.store.address import StoreAddress
from sidecar.store.base import Command, ScriptCall
from sidecar.store.pool import PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.store.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from support.servers import StoreServer

INTERVAL = 0.02
HELLO = b"%1\r\n+proto\r\n:3\r\n+PONG\r\n"


def a_call(seconds: float = 5.0) -> Call:
    """Return a call with that much time."""
    return Call("/test", deadline=after(seconds))


class Heard:
    """A tracked connection, and all that was heard on it."""

    def __init__(self, address: StoreAddress, policy: PoolPolicy) -> None:
        self.tracking = Tracking(address, policy, interval=INTERVAL)
        self.tracking.listen(self._hear)
        self.store = StandaloneStore(self.tracking)
        self.said: list[Sequence[bytes] | None] = []
        self._news = asyncio.Event()

    def _hear(self, keys: Sequence[bytes] | None) -> None:
        self.said.append(keys)
        self._news.set()

    async def ready(self) -> None:
        """Wait until the server was heard of."""
        async with asyncio.timeout(10):
            while self.tracking.confirmed_us == 0:
                await asyncio.sleep(0.001)

    async def until(self, news: Sequence[bytes] | None) -> None:
        """Wait until that was said."""
        async with asyncio.timeout(10):
            while news not in self.said:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def heard(port: int, **policy: Any) -> AsyncIterator[Heard]:
    """Yield a tracked connection that is ready."""
    made = Heard(StoreAddress(host="127.0.0.1", port=port), PoolPolicy(**policy))
    made.tracking.start()
    try:
        await made.ready()
        yield made
    finally:
        await made.tracking.close()


@pytest.fixture
async def heard_of(server: StoreServer) -> AsyncIterator[Heard]:
    """Return a tracked connection to a server of the test's own."""
    async with heard(server.port) as made:
        yield made


@pytest.mark.parametrize("how", ["written", "by a script", "deleted", "expired", "flushed", "the database flushed"])
async def test_what_was_read_is_said_to_have_changed(heard_of: Heard, server: StoreServer, how: str) -> None:
    """Whoever has changed it, and however; all of it when all was."""
    oracle: Any = server.oracle()
    oracle.set("k", "1", px=100 if how == "expired" else 60_000)
    await heard_of.store.call(commands.get(b"k"), a_call())
    {
        "written": lambda: oracle.set("k", "2"),
        "by a script": lambda: oracle.eval("return redis.call('SET', KEYS[1], '2')", 1, "k"),
        "deleted": lambda: oracle.delete("k"),
        "expired": lambda: None,
        "flushed": oracle.flushall,
        "the database flushed": oracle.flushdb,
    }[how]()

    await heard_of.until(None if "flushed" in how else [b"k"])


async def test_the_floors_of_generations_are_tracked_too(heard_of: Heard, server: StoreServer) -> None:
    """A read of scores is one, and a script that sets one changes them."""
    stamp = ScriptCall(scripts.load("stamp_generations"), (b"g{c}", b"g{c}:t"), (100, 1, b"all"), True)
    await heard_of.store.call(Command(("ZMSCORE", b"g{c}", b"all"), True), a_call())
    async with heard(server.port) as other:
        await other.store.run(stamp, a_call())

    await heard_of.until([b"g{c}"])


async def test_what_is_evicted_is_said_to_have_changed(server: StoreServer) -> None:
    """The server no longer has it, so nobody knows what it will have next."""
    oracle: Any = server.oracle()
    oracle.set("k", "1")
    async with heard(server.port) as made:
        await made.store.call(commands.get(b"k"), a_call())
        oracle.config_set("maxmemory-policy", "allkeys-random")
        oracle.config_set("maxmemory", "1")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            oracle.set("other", "1")
        await made.until([b"k"])


async def test_what_was_not_read_here_is_nobodys_business(heard_of: Heard, server: StoreServer) -> None:
    """However much is written: the server remembers the keys that were read, once each."""
    oracle: Any = server.oracle()
    oracle.set("k", "1")
    await heard_of.store.call(commands.get(b"k"), a_call())
    oracle.mset({f"other-{number}": "1" for number in range(100)})
    oracle.set("k", "2")
    oracle.set("k", "3")
    await heard_of.tracking.confirm()

    assert [[b"k"]] == heard_of.said


async def test_an_answer_is_a_receipt_for_all_that_came_before(heard_of: Heard, server: StoreServer) -> None:
    """Once the server has answered, every change that it had made before the question is known."""
    oracle: Any = server.oracle()
    for number in range(200):
        key = b"k%d" % number
        await heard_of.store.call(commands.get(key), a_call())
        oracle.set(key, "1")
        written_at = time.monotonic()
        await heard_of.tracking.confirm()
        assert heard_of.tracking.confirmed >= written_at
        assert [key] in heard_of.said


async def test_it_keeps_itself_confirmed(heard_of: Heard, server: StoreServer) -> None:
    """While nothing is read, and by both clocks."""
    oracle: Any = server.oracle()
    seconds, micros = oracle.time()
    begun = time.monotonic()
    async with asyncio.timeout(10):
        while heard_of.tracking.confirmed < begun or heard_of.tracking.confirmed_us < seconds * 1_000_000 + micros:
            await asyncio.sleep(INTERVAL / 4)


async def test_all_is_out_of_date_when_the_connection_is_lost(heard_of: Heard, server: StoreServer) -> None:
    """The server has forgotten what was read; another connection begins anew."""
    oracle: Any = server.oracle()
    (mine,) = [one for one in oracle.client_list() if one["name"] == "sidecar:l1"]
    watch = Stopwatch()
    oracle.client_kill_filter(_id=mine["id"])
    await heard_of.until(None)
    assert watch.seconds < 1
    await heard_of.ready()
    oracle.set("k", "1")
    await heard_of.store.call(commands.get(b"k"), a_call())
    oracle.set("k", "2")

    await heard_of.until([b"k"])


async def test_nothing_is_confirmed_while_the_server_hangs(server: StoreServer) -> None:
    """And after the time-out of a reply the connection is given up."""
    async with heard(server.port, reply_timeout=0.2) as made:
        server.pause()
        paused_at = time.monotonic()
        await made.until(None)
        assert made.tracking.confirmed < paused_at
        with pytest.raises(StoreError) as failed:
            await made.store.call(commands.get(b"k"), a_call(0.1))
        assert failed.value.reason in {Reason.STORE_UNAVAILABLE, Reason.DEADLINE_EXCEEDED}
        server.resume()
        await made.ready()


class Scripted:
    """A server that tracks, tells the time, and answers a GET as it is told."""

    def __init__(self, answer_to_get: bytes, *, tracks: bool = True) -> None:
        self._answers = {b"GET": answer_to_get, b"TIME": b"*2\r\n$1\r\n7\r\n$1\r\n5\r\n"}
        self._tracks = tracks
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        await reader.read(65536)
        writer.write(HELLO)
        await reader.read(65536)
        writer.write(b"+OK\r\n" if self._tracks else b"-ERR unknown subcommand 'TRACKING'\r\n")
        try:
            while data := await reader.read(65536):
                for word, answer in self._answers.items():
                    writer.write(answer * data.count(word))
        except ConnectionError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(script: Scripted) -> AsyncIterator[int]:
    """Yield the port of a scripted server."""
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_push_in_one_piece_with_the_reply_is_told_before_its_reader_goes_on() -> None:
    """So the reader can know that what it holds is of the past."""
    async with (
        serving(Scripted(b"$1\r\n1\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")) as port,
        heard(port) as made,
    ):
        assert b"1" == await made.store.call(commands.get(b"k"), a_call())
        assert [[b"k"]] == made.said


@pytest.mark.parametrize(
    "lie",
    [b">2\r\n$10\r\ninvalidate\r\n:1\r\n", b">1\r\n$10\r\ninvalidate\r\n", b">2\r\n$10\r\ninvalidate\r\n*1\r\n:7\r\n"],
)
async def test_an_invalidation_that_says_nothing_ends_the_connection(lie: bytes) -> None:
    """Whatever is kept may be out of date then."""
    async with serving(Scripted(lie + b"$1\r\n1\r\n")) as port, heard(port) as made:
        with pytest.raises(StoreError):
            await made.store.call(commands.get(b"k"), a_call())
        assert [None] == made.said


async def test_other_pushes_are_passed_over() -> None:
    """A server may announce what nobody has asked for."""
    async with serving(Scripted(b">2\r\n$6\r\nsnooze\r\n:1\r\n$1\r\n1\r\n")) as port, heard(port) as made:
        assert b"1" == await made.store.call(commands.get(b"k"), a_call())
        assert [] == made.said


async def test_a_server_that_does_not_track_is_not_read_from(caplog: pytest.LogCaptureFixture) -> None:
    """It says so once, and tries again with pauses."""
    script = Scripted(b"$1\r\n1\r\n", tracks=False)
    async with serving(script) as port:
        made = Heard(StoreAddress(host="127.0.0.1", port=port), PoolPolicy())
        made.tracking.start()
        async with asyncio.timeout(10):
            while script.connections < 3:
                await asyncio.sleep(0.001)
        with pytest.raises(StoreError) as failed:
            await made.store.call(commands.get(b"k"), a_call())
        await made.tracking.close()

    assert Reason.STORE_UNAVAILABLE is failed.value.reason
    assert not made.tracking.ready
    assert 1 == caplog.text.count("the near cache does not hear of changes")
