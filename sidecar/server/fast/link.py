"""One client's connection: a socket on the event loop, the protocol without I/O, and the calls between them.

Writing. What a read brings about, or a turn of the loop, leaves in one write. Where a single call is under way nobody
else would share its write, so its response is written at once and saves its caller a turn of the loop.

Fairness. A client that sends without pause is read from once in each turn of the loop, and where a read brings many
calls, so many are begun in a turn: a thousand at once would keep everybody else waiting for as long as they take.

Back-pressure. While the socket takes no more, nothing is read from it either, so a client that does not read can ask
for nothing more; streaming endpoints are not asked for their next message. One that still piles up too much is dropped.
"""

from __future__ import annotations

import contextvars
import logging
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, cast

from sidecar.call import Call, Code, PeerCredentials, StatusError
from sidecar.clock import NEVER, Deadline
from sidecar.server.fast import routes as answers
from sidecar.server.fast.stream_call import StreamCall
from sidecar.server.fast.unary_call import UnaryCall
from sidecar.server.h2.connection import MAX_HEADER_LIST_BYTES, Connection
from sidecar.server.h2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    PingAcknowledged,
    RequestReceived,
    StreamDrained,
    StreamReset,
)
from sidecar.server.h2.states import CLOSED

if TYPE_CHECKING:
    import asyncio

    from sidecar.server.fast.clients import Clients
    from sidecar.server.h2.messages import MessageFault

_log = logging.getLogger("sidecar.server")

# A client that has said nothing by then is none.
_GREETING_SECONDS = 10.0
# A client that has been told of the end acknowledges within a round trip; one that hangs is not waited for.
_DRAIN_SECONDS = 1.0
# What a client that broke a rule gets to read why.
_LINGER_SECONDS = 0.5
# What one turn of the loop makes of a read: a hundred calls with a message each, at 30 µs apiece.
_EVENTS_IN_A_TURN = 200
# A read of this size filled the event loop's buffer (256 KiB in uvloop), so there may be more. libuv would go on with
# up to 32 such reads before it looks at another connection.
_LONG_READ_BYTES = 256 * 1024
# The endpoints of a client that is gone end at 30 µs each, once they have been cancelled; it may have left a thousand.
_CANCELLED_IN_A_TURN = 100
_CREDENTIALS = struct.Struct("3i")


class Link:
    """The connection of one client. The event loop calls it as it would an `asyncio.Protocol`."""

    __slots__ = (
        "_came_at", "_clients", "_credentials", "_events", "_flushing", "_goes_on", "_greeting", "_has_failed",
        "_is_draining", "_is_listed", "_paused", "_peer", "_transport", "_vigil", "_writers", "context", "held_bytes",
        "loop", "protocol", "routes", "running", "sender",
    )  # fmt: skip

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.routes = clients.routes
        self.loop = clients.loop
        self.context = contextvars.copy_context()
        self.protocol: Connection = clients.new_protocol()
        self.sender = self.protocol.sender
        self.running = 0
        """Endpoints under way, also those whose call has been answered or given up."""
        self.held_bytes = 0
        """What is kept of requests that are not whole, or not read yet."""
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._credentials: PeerCredentials | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._is_listed = False
        self._is_draining = False
        self._has_failed = False
        self._flushing = False
        self._paused = False
        self._events: list[Event] = []
        self._came_at = 0.0
        self._goes_on = False
        self._vigil = clients.vigil
        self._writers: list[asyncio.Future[None]] = []

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a client; part of `asyncio.Protocol`."""
        if transport.get_extra_info("peername") is None:
            cast("asyncio.Transport", transport).abort()
            return  # it has gone already, as a probe of the port does
        self._transport = cast("asyncio.Transport", transport)
        self._peer = _peer_of(transport)
        self._credentials = _credentials_of(transport)
        self._clients.add(self)
        self._greeting = self.loop.call_later(_GREETING_SECONDS, self._give_up_waiting)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take in what the socket gave; part of `asyncio.Protocol`."""
        now = time.monotonic()
        events = self.protocol.receive(data, now)
        if len(events) > _EVENTS_IN_A_TURN or len(data) >= _LONG_READ_BYTES:
            events = self._first_of(events, now)
        self._take_in(events, now)

    def eof_received(self) -> bool:
        """Close: a client that will send nothing more, not even a window, is gone; part of `asyncio.Protocol`."""
        return False

    def pause_writing(self) -> None:
        """Stop reading: the client does not; part of `asyncio.Protocol`."""
        self._paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """Go on; part of `asyncio.Protocol`."""
        self._paused = False
        self._go_on()
        for writer in self._writers:
            if not writer.done():
                writer.set_result(None)
        self._writers.clear()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's signature)
        """Give up every call; part of `asyncio.Protocol`."""
        if self._greeting is not None:
            self._greeting.cancel()
        self._transport = None
        self._events = []
        self.protocol.closed = True
        self._clients.remove(self)
        self._drop_calls()
        self.resume_writing()

    # --- called by the calls ---

    def hold(self, grown: int) -> bool:
        """Account for what is kept of requests; return False if this connection, or all of them, keep too much."""
        self.held_bytes += grown
        self._clients.held_bytes += grown
        return self.held_bytes <= self.routes.max_held_bytes and not self._clients.hold_too_much

    def has_output(self) -> None:
        """See to it that what the protocol has to say is written: now, or with what else this turn brings."""
        if self._flushing:
            return
        if len(self.protocol.streams) == 0:
            self.flush()
            self._vigil.begin(time.monotonic())
            if self._is_draining:
                self.check_drained()
            return
        self._flushing = True
        self.loop.call_soon(self._flush_gathered)

    async def writable(self) -> None:
        """Wait while the socket takes no more."""
        if self._paused and self._transport is not None:
            writer = self.loop.create_future()
            self._writers.append(writer)
            await writer

    def fault(self, fault: MessageFault) -> StatusError:
        """Return how a call ends whose message cannot be taken."""
        if fault.too_large:
            return self.routes.too_large
        return StatusError(Code.INTERNAL, fault.message)

    def report(self, call: Call, error: BaseException) -> None:
        """Log the defect that ended a call; not its text, which nobody meant to raise and which may quote a value."""
        _log.error("%s failed with %s", call.method, type(error).__qualname__)

    # --- called by the engine ---

    def expire(self, now: float) -> bool:
        """End the calls whose deadline has passed; return whether any are under way."""
        streams = self.protocol.streams
        if not streams:
            self._is_listed = False
            return False
        for stream in list(streams.values()):
            call = stream.call
            if call is not None and call.deadline <= now:
                call.expire()
        self.has_output()
        return True

    def begin_drain(self) -> None:
        """Tell the client to open no more streams; see RFC 9113, section 6.8, on doing so in two steps."""
        if self._is_draining:
            return
        self._is_draining = True
        self.protocol.begin_drain()
        self.flush()
        self.loop.call_later(_DRAIN_SECONDS, self._end_drain)

    def end_calls(self) -> None:
        """End every call: the time for it is over."""
        for stream in list(self.protocol.streams.values()):
            if stream.call is not None:
                stream.call.end(self.routes.interrupted)
        self.flush()

    def close(self) -> None:
        """Close the connection, once what was said has been written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def check_drained(self) -> None:
        """Close the connection if it was the last call that just ended."""
        if self._is_draining and self.protocol.has_ended_drain and not self.protocol.streams and not self.running:
            self.close()

    # --- inside ---

    def _begin(self, event: RequestReceived, now: float) -> None:
        """Find the method of a request and make its call."""
        self._vigil.end(now)
        head, stream = event.head, event.stream
        if stream.state == CLOSED:
            return  # its client gave it up in the same read: after a stall, or to make work for nothing
        route = self.routes.by_path.get(head.path)
        if route is None or not head.is_fit or head.size > MAX_HEADER_LIST_BYTES:
            self.sender.send_trailers(stream, answers.refusal(head, self.routes))
            return
        if not self._is_listed:
            self._is_listed = True
            self._clients.watch(self)
        unary = route.unary
        call = Call(
            route.path,
            deadline=self._deadline(head.timeout, now, unary is not None),
            metadata=head.metadata,
            peer=self._peer,
            credentials=self._credentials,
        )
        if unary is not None:
            stream.call = UnaryCall(self, stream, head, call, unary)
            if event.ended:
                stream.call.receive(b"", 0, True)
            return
        streaming = StreamCall(self, stream, head, call, route)
        stream.call = streaming
        if event.ended:
            streaming.receive(b"", 0, True)
        streaming.begin()

    def _take(self, event: Event) -> None:
        """Act on what is not part of a usual unary call."""
        if isinstance(event, StreamReset):
            if event.stream.call is not None:
                event.stream.call.reset()
        elif isinstance(event, StreamDrained):
            event.stream.call.drained()
        elif isinstance(event, PingAcknowledged):
            if self._is_draining:
                self._end_drain()
        elif isinstance(event, ConnectionFailed):
            self._fail(event)

    def _deadline(self, timeout: float, now: float, bounded: bool) -> Deadline:  # noqa: FBT001 (the hot path)
        """Return when a call must end. Only a unary call has a deadline without asking for one."""
        if timeout < 0:
            return Deadline(now + self.routes.default_deadline) if bounded else NEVER
        if bounded and timeout > self.routes.max_deadline:
            timeout = self.routes.max_deadline
        return Deadline(now + timeout)

    def _pause_reading(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _take_in(self, events: list[Event], now: float) -> None:
        """Act on what has come, and write what that brings about."""
        self._flushing = True  # whatever is said meanwhile leaves below
        for event in events:
            if isinstance(event, DataReceived):
                call = event.stream.call
                if call is not None:
                    call.receive(event.data, event.weight, event.ended)
            elif isinstance(event, RequestReceived):
                self._begin(event, now)
            else:
                self._take(event)
        self._flushing = False
        self.flush()
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None
        if self._is_draining:
            self.check_drained()

    def _first_of(self, events: list[Event], now: float) -> list[Event]:
        """Return what this turn is to act on; the rest waits for turns of its own, and nothing is read meanwhile."""
        if events and isinstance(events[-1], ConnectionFailed):
            return events[-1:]  # the calls before it would begin and end with it
        self._events = events[_EVENTS_IN_A_TURN:]
        self._came_at = now
        self._pause_reading()
        self._go_on()
        return events[:_EVENTS_IN_A_TURN]

    def _go_on(self) -> None:
        """See to it that the next turn acts on what waits, or reads again."""
        if not self._goes_on:
            self._goes_on = True
            self.loop.call_soon(self._take_next)

    def _take_next(self) -> None:
        self._goes_on = False
        if self._transport is None or self._paused or self._transport.is_closing():
            return
        if not self._events:
            self._transport.resume_reading()
            return
        events, self._events = self._events[:_EVENTS_IN_A_TURN], self._events[_EVENTS_IN_A_TURN:]
        self._take_in(events, self._came_at)
        self._go_on()

    def flush(self) -> None:
        """Write what the protocol has to say."""
        transport = self._transport
        if transport is None or self._has_failed:
            return
        output = self.sender.take()
        if output:
            transport.write(output)
            if self._paused and transport.get_write_buffer_size() > self.routes.max_held_bytes:
                transport.abort()

    def _flush_gathered(self) -> None:
        self._flushing = False
        self.flush()
        if self._is_draining:
            self.check_drained()

    def _end_drain(self) -> None:
        self.protocol.end_drain()
        for stream in list(self.protocol.streams.values()):
            if stream.call is not None:
                stream.call.cut()
        self.flush()
        self.check_drained()

    def _fail(self, event: ConnectionFailed) -> None:
        _log.info("connection of %s ended: %s", self._peer, event.message)
        self._drop_calls()
        self.flush()
        self._has_failed = True
        # What the client still sends is thrown away for a while: closing now would answer it with a TCP reset, which
        # may overtake the GOAWAY in the client's own kernel (RFC 9112, section 9.6, has the same of HTTP/1.1).
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.abort)

    def _drop_calls(self) -> None:
        calls = []
        for stream in list(self.protocol.streams.values()):
            self.sender.forget(stream)
            if stream.call is not None:
                stream.call.abandon()
                calls.append(stream.call)
        self._cancel(calls)

    def _cancel(self, calls: list[Any]) -> None:
        """End the endpoints of abandoned calls, so many in a turn of the loop."""
        for call in calls[:_CANCELLED_IN_A_TURN]:
            call.cancel()
        if len(calls) > _CANCELLED_IN_A_TURN:
            self.loop.call_soon(self._cancel, calls[_CANCELLED_IN_A_TURN:])

    def _give_up_waiting(self) -> None:
        self._greeting = None
        self.abort()


def _peer_of(transport: asyncio.BaseTransport) -> str:
    """Return the client's address in gRPC's words (grpc/doc/naming.md)."""
    name: Any = transport.get_extra_info("peername")
    connected: Any = transport.get_extra_info("socket")
    family = connected.family if connected is not None else None
    if family == socket.AF_INET:
        return f"ipv4:{name[0]}:{name[1]}"
    if family == socket.AF_INET6:
        return f"ipv6:[{name[0]}]:{name[1]}"
    return "unix:"


def _credentials_of(transport: asyncio.BaseTransport) -> PeerCredentials | None:
    """Return who connected by a Unix socket, where the kernel tells (Linux)."""
    connected: Any = transport.get_extra_info("socket")
    if connected is None or connected.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        packed = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    return PeerCredentials(*_CREDENTIALS.unpack(packed))
