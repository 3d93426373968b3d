"""A connection of the fast engine between a played socket and endpoints of the test's own."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from support.h2_client import REQUEST, Frame, data, decoded
from support.h2_client import frames_of as frames_in
from support.stopwatch import Stopwatch

from sidecar.call import Call, Code, Endpoint, MethodTable, StatusError
from sidecar.server.engine import EnginePolicy
from sidecar.server.fast.clients import Clients
from sidecar.server.fast.routes import Routes
from sidecar.server.h2 import frames
from sidecar.server.h2.frames import MAX_WINDOW
from sidecar.server.h2.replies import header_fields

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    import pytest

PATH = "/test.Service/Method"
MESSAGE = b"\0\0\0\0\x01m"


class PlayedSocket:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.aborted = False
        self.reads = True

    def write(self, output: bytes) -> None:
        """Keep output."""
        self.written += output

    def get_extra_info(self, name: str) -> Any:
        """Have a peer, and no socket."""
        return "peer" if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        """Have written everything."""
        return 0

    def is_closing(self) -> bool:
        """Be open."""
        return False

    def is_reading(self) -> bool:
        """Be read from, or not."""
        return self.reads

    def pause_reading(self) -> None:
        """Be read from no more."""
        self.reads = False

    def resume_reading(self) -> None:
        """Be read from again."""
        self.reads = True

    def close(self) -> None:
        """Be closed."""

    def abort(self) -> None:
        """Be closed at once."""
        self.aborted = True


class DefectiveCall:
    """A call that does not know its deadline; in all else the call that it is made of."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    @property
    def deadline(self) -> float:
        """Fail; not with an AttributeError, for which Python would ask `__getattr__`."""
        raise LookupError


class Caller:
    """A client on a link."""

    def __init__(self, clients: Clients, *, window: int = 65_535) -> None:
        self.socket = PlayedSocket()
        self.link = clients()
        self.link.connection_made(self.socket)  # type: ignore[arg-type]  # all of a transport that a link uses
        self.send(frames.PREFACE + frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, window)]))

    def send(self, sent: bytes) -> None:
        """Send bytes, where the event loop's callbacks run."""
        asyncio.get_running_loop().call_soon(self.link.data_received, sent)

    def call(self, stream_id: int = 1, *fields: tuple[bytes, bytes], ends: bool = True) -> None:
        """Call with one message."""
        block = header_fields([*REQUEST, *fields])
        flags = frames.END_STREAM if ends else 0
        self.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block) + data(stream_id, MESSAGE, flags))

    def heard(self) -> list[Frame]:
        """Return the frames that were written."""
        return frames_in(bytes(self.socket.written))

    def status(self, stream_id: int = 1) -> bytes | None:
        """Return the grpc-status of a call that has ended."""
        for frame in self.heard():
            if frame.stream_id == stream_id and frame.kind == frames.HEADERS and frame.flags & frames.END_STREAM:
                return dict(decoded(frame.payload))[b"grpc-status"]
        return None


def clients_of(endpoint: Endpoint, *, max_held_bytes: int | None = None) -> Clients:
    """Return the connections of an engine that serves one endpoint."""
    policy = EnginePolicy()
    table = MethodTable(endpoints={PATH: endpoint}, unknown=StatusError(Code.UNIMPLEMENTED, "no such method"))
    routes = Routes(table, policy)
    if max_held_bytes is not None:
        routes.max_held_bytes = max_held_bytes
    return Clients(routes, policy, asyncio.get_running_loop())


async def until(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0)


async def test_a_stream_that_its_connection_cannot_hold_ends_its_call() -> None:
    """The endpoint is cancelled, whether it answers or waits, and nothing of the call is left."""
    cancelled: list[int] = []

    async def answer(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:  # noqa: ARG001
        try:
            async for _ in messages:
                while True:
                    yield bytes(60_000)
        finally:
            cancelled.append(1)

    clients = clients_of(
        Endpoint(path=PATH, stream=answer, client_streams=True, server_streams=True), max_held_bytes=100_000
    )
    caller = Caller(clients, window=0)
    for stream_id in (1, 3, 5):
        caller.call(stream_id, ends=False)
    await until(lambda: len(cancelled) >= 2)
    await until(lambda: caller.link.running == 1)
    assert 1 == len(caller.link.protocol.streams)


async def test_an_endpoint_that_never_waits_does_not_keep_the_loop() -> None:
    """Others have their turn, and what it answers is written meanwhile."""

    async def answer(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:  # noqa: ARG001
        for _ in itertools.count():
            yield bytes(16_000)

    clients = clients_of(Endpoint(path=PATH, stream=answer, server_streams=True))
    caller = Caller(clients, window=MAX_WINDOW)
    caller.send(frames.window_update(0, MAX_WINDOW - 65_535))
    caller.call()
    for _ in range(10):
        await asyncio.sleep(0)
    assert 0 < len(caller.socket.written) < 1_000_000
    caller.link.connection_lost(None)
    await until(lambda: caller.link.running == 0)


async def wait_for_ever(message: bytes, call: Call) -> bytes:  # noqa: ARG001
    """Answer when the caller has had enough."""
    await asyncio.Event().wait()
    return message


def calls(count: int) -> bytes:
    """Return what a client sends that calls so many times."""
    head = frames.frame(frames.HEADERS, frames.END_HEADERS, 0, header_fields([*REQUEST]))
    call = head + data(0, MESSAGE, frames.END_STREAM)
    sent = bytearray(call * count)
    for number in range(count):
        for where in (5, len(head) + 5):
            start = number * len(call) + where
            sent[start : start + 4] = (2 * number + 1).to_bytes(4, "big")
    return bytes(sent)


async def test_a_long_read_is_taken_in_part_by_part() -> None:
    """So that hundreds of calls in one read keep nobody else waiting; nothing is read meanwhile."""
    caller = Caller(clients_of(Endpoint(path=PATH, unary=wait_for_ever)))
    caller.send(calls(900))
    running = [0]
    while running[-1] < 900:
        await asyncio.sleep(0)
        running.append(caller.link.running)
        assert running[-1] - running[-2] < 400
        assert running[-1] in (0, 900) or not caller.socket.reads
    await until(lambda: caller.socket.reads)
    caller.link.connection_lost(None)
    await until(lambda: caller.link.running == 0)


async def test_a_long_read_waits_while_the_client_does_not_read() -> None:
    """And goes on where it was."""
    caller = Caller(clients_of(Endpoint(path=PATH, unary=wait_for_ever)))
    caller.send(calls(900))
    await until(lambda: caller.link.running > 0)
    caller.link.pause_writing()
    for _ in range(20):
        await asyncio.sleep(0)
    assert caller.link.running < 400
    assert not caller.socket.reads
    caller.link.resume_writing()
    await until(lambda: caller.link.running == 900)
    await until(lambda: caller.socket.reads)
    caller.link.connection_lost(None)
    await until(lambda: caller.link.running == 0)


async def test_the_calls_of_a_lost_connection_end_a_part_at_a_time() -> None:
    """So that nobody else waits for the end of all of them."""
    caller = Caller(clients_of(Endpoint(path=PATH, unary=wait_for_ever)))
    caller.send(calls(900))
    await until(lambda: caller.link.running == 900)
    caller.link.connection_lost(None)
    running = [900]
    while running[-1]:
        await asyncio.sleep(0)
        running.append(caller.link.running)
        assert running[-2] - running[-1] <= 200
    assert not caller.link.protocol.streams


async def test_an_answer_that_cannot_be_sent_is_a_defect(caplog: pytest.LogCaptureFixture) -> None:
    """Its caller hears of it, and the connection goes on."""

    async def answer(message: bytes, call: Call) -> bytes:  # noqa: ARG001
        return "no bytes"  # type: ignore[return-value]  # the defect

    caller = Caller(clients_of(Endpoint(path=PATH, unary=answer)))
    caller.call(1)
    caller.call(3)
    await until(lambda: caller.status(3) is not None)
    assert (b"2", b"2", False) == (caller.status(1), caller.status(3), caller.socket.aborted)
    assert "TypeError" in caplog.text


async def test_names_that_are_none_do_not_leave() -> None:
    """Nor do they end anything."""

    async def answer(message: bytes, call: Call) -> bytes:
        call.trailers = (("schlüssel", "x"), ("good", "y"))
        return message

    caller = Caller(clients_of(Endpoint(path=PATH, unary=answer)))
    caller.call()
    await until(lambda: caller.status() is not None)
    assert [(b"grpc-status", b"0"), (b"good", b"y")] == decoded(caller.heard()[-1].payload)


async def test_deadlines_outlive_another_connections_defect(caplog: pytest.LogCaptureFixture) -> None:
    """One that cannot keep its own is closed."""

    async def answer(message: bytes, call: Call) -> bytes:  # noqa: ARG001
        await asyncio.sleep(10)
        return message

    clients = clients_of(Endpoint(path=PATH, unary=answer))
    broken, sound = Caller(clients), Caller(clients)
    broken.call(1, (b"grpc-timeout", b"10m"))
    await until(lambda: broken.link.running == 1)
    stream = broken.link.protocol.streams[1]
    stream.call = DefectiveCall(stream.call)
    sound.call(1, (b"grpc-timeout", b"50m"))
    watch = Stopwatch()
    await until(lambda: sound.status() is not None)
    assert (b"4", True) == (sound.status(), watch.seconds < 1.0)
    assert broken.socket.aborted
    assert "LookupError" in caplog.text
    for caller in (broken, sound):
        caller.link.connection_lost(None)
        await until(lambda link=caller.link: link.running == 0)  # type: ignore[misc]


async def test_a_conversation_ends_when_the_engine_stops() -> None:
    """What has come is answered; then it is told to ask elsewhere, long before the grace is over."""

    async def answer(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:  # noqa: ARG001
        async for message in messages:
            yield message

    clients = clients_of(Endpoint(path=PATH, stream=answer, client_streams=True, server_streams=True))
    caller = Caller(clients)
    caller.call(ends=False)
    await until(lambda: any(frame.kind == frames.DATA for frame in caller.heard()))
    stopping = asyncio.create_task(clients.drain(30))
    await until(lambda: any(frame.kind == frames.GOAWAY for frame in caller.heard()))
    caller.send(frames.frame(frames.PING, frames.ACK, 0, b"draining"))
    await until(lambda: caller.status() is not None)
    assert b"14" == caller.status()
    await until(lambda: caller.link.running == 0, 10)
    caller.link.connection_lost(None)
    await stopping


async def test_all_connections_together_hold_so_much_and_no_more() -> None:
    """Each for itself may be modest."""

    async def answer(message: bytes, call: Call) -> bytes:  # noqa: ARG001
        return message

    clients = clients_of(Endpoint(path=PATH, unary=answer), max_held_bytes=100_000)
    callers = [Caller(clients) for _ in range(12)]
    unfinished = b"\0" + (1_000_000).to_bytes(4, "big") + bytes(16_000)
    for caller in callers:
        caller.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, header_fields(list(REQUEST))))
        for _ in range(5):
            caller.send(data(1, unfinished))
            unfinished = bytes(16_000)
        unfinished = b"\0" + (1_000_000).to_bytes(4, "big") + bytes(16_000)
    await until(lambda: any(caller.status() is not None for caller in callers))
    assert clients.held_bytes <= 8 * 100_000 + 16_000
    for caller in callers:
        caller.link.connection_lost(None)
    assert 0 == clients.held_bytes
