"""A server's side of one HTTP/2 connection (RFC 9113), without I/O: bytes in, events out; answers in, bytes out.

The user feeds what the socket gave to `receive`, acts on the events, says through `sender` what to send, and writes
what `sender.take` returns. Whatever HTTP/2 itself demands (acknowledgements, windows, resets, GOAWAY) is in that output
by itself. The only clock is the `now` that is handed in.

Faults. What breaks a rule ends either its stream or the connection, as the RFC says (section 5.4); where the choice is
ours, the stream. After a connection's fault nothing more is read. What is no fault but too much of something is
counted by the `Guard`; `HeaderParts` bounds a header block.

Windows. The connection's window is given back as soon as data is read: what a slow receiver leaves unread is bounded by
the streams' windows, which are given back as the user says (`credit`), and by the user's own count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.server.h2 import frames, states
from sidecar.server.h2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    PingAcknowledged,
    RequestReceived,
    StreamDrained,
    StreamReset,
)
from sidecar.server.h2.faults import ConnectionFault, StreamFault
from sidecar.server.h2.frames import HEADER_BYTES, MAX_FRAME_BYTES, MAX_WINDOW
from sidecar.server.h2.guard import Guard
from sidecar.server.h2.header_block import HeaderDecoder, HeaderMemory
from sidecar.server.h2.header_parts import HeaderParts
from sidecar.server.h2.payloads import dependency, unpadded
from sidecar.server.h2.sender import Sender
from sidecar.server.h2.settings import initial_window
from sidecar.server.h2.streams import NEVER_WIDENED, Stream, Streams

if TYPE_CHECKING:
    from collections.abc import Callable

# A client may have this much under way before it hears from us: enough for a message of the usual size in one go.
_STREAM_WINDOW: Final = 256 * 1024
_CONNECTION_WINDOW: Final = 4 * 1024 * 1024
# gRPC's own servers take 16 KiB of metadata at most by default.
MAX_HEADER_LIST_BYTES: Final = 16_384
_DRAIN_PING: Final = b"draining"


class Connection:
    """The state of a connection, from the client's preface to its end."""

    def __init__(self, memory: HeaderMemory, max_streams: int, max_unsent_bytes: int, min_ping_interval: float) -> None:
        self._max_streams = max_streams
        self._guard = Guard(min_ping_interval)
        self._streams = Streams()
        self._decoder = HeaderDecoder(memory)
        self._events: list[Event] = []
        self._rest = b""
        self._has_preface = False
        self._has_settings = False
        self._header_parts = HeaderParts()
        self._window = _CONNECTION_WINDOW
        # The sender's window after the last WINDOW_UPDATE.
        self._widened_to = NEVER_WIDENED
        self.sender = Sender(self._streams, self._guard, max_unsent_bytes)
        self.streams: dict[int, Stream] = self._streams.live
        """The streams under way, by their numbers."""
        self.closed = False
        """Whether nothing more is read."""
        self.sender.put(
            frames.settings(
                [
                    (frames.SETTINGS_HEADER_TABLE_SIZE, 0),
                    (frames.SETTINGS_MAX_CONCURRENT_STREAMS, max_streams),
                    (frames.SETTINGS_INITIAL_WINDOW_SIZE, _STREAM_WINDOW),
                    (frames.SETTINGS_MAX_HEADER_LIST_SIZE, MAX_HEADER_LIST_BYTES),
                ]
            )
            + frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        )

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take in what the socket gave, at `now` in seconds; return what it comes to."""
        events: list[Event] = []
        if self.closed:
            return events
        self._events = events
        self._guard.now = now
        buffer = self._rest + data if self._rest else data
        try:
            position = self._read(buffer)
        except ConnectionFault as fault:
            self.fail(fault.code, fault.message)
            events.append(ConnectionFailed(fault.code, fault.message))
        else:
            self._rest = buffer[position:] if position < len(buffer) else b""
        return events

    def credit(self, stream: Stream, weight: int) -> None:
        """Give back to a stream's window what has been dealt with."""
        stream.owed += weight
        if stream.state == states.OPEN and stream.owed >= _STREAM_WINDOW // 2:
            self.sender.put(frames.window_update(stream.id, stream.owed))
            stream.receive_window += stream.owed
            stream.owed = 0

    def begin_drain(self) -> None:
        """Announce that no further streams will be served; those that are on their way still are (section 6.8)."""
        self.sender.put(frames.goaway(frames.MAX_STREAM_ID, frames.NO_ERROR, b""))
        self.sender.put(frames.frame(frames.PING, 0, 0, _DRAIN_PING))

    def end_drain(self) -> None:
        """Say which stream was the last, now that the client must have heard of the end; later ones are ignored."""
        if not self.has_ended_drain:
            self._streams.final_id = self._streams.last_id
            self.sender.put(frames.goaway(self._streams.last_id, frames.NO_ERROR, b""))

    @property
    def has_ended_drain(self) -> bool:
        """Whether `end_drain` was called."""
        return self._streams.final_id != frames.MAX_STREAM_ID

    def fail(self, code: int, message: str) -> None:
        """End the connection with GOAWAY; nothing more is read."""
        self.closed = True
        self._rest = b""
        self._header_parts.take()
        # Not above what an earlier GOAWAY said (section 6.8).
        last = min(self._streams.last_id, self._streams.final_id)
        self.sender.put(frames.goaway(last, code, message.encode()))

    # --- frames ---

    def _read(self, buffer: bytes) -> int:
        """Read whole frames; return where the first that is not whole begins."""
        position = 0
        end = len(buffer)
        if not self._has_preface:
            if buffer[: len(frames.PREFACE)] != frames.PREFACE[:end]:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "this is not HTTP/2: the preface is missing")
            if end < len(frames.PREFACE):
                return 0
            self._has_preface = True
            position = len(frames.PREFACE)
        while end - position >= HEADER_BYTES:
            length = buffer[position] << 16 | buffer[position + 1] << 8 | buffer[position + 2]
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + HEADER_BYTES
            if end - start < length:
                break
            kind = buffer[position + 3]
            flags = buffer[position + 4]
            stream_id = int.from_bytes(buffer[position + 5 : start], "big") & frames.MAX_STREAM_ID
            position = start + length
            try:
                self._frame(kind, flags, stream_id, buffer[start:position])
            except StreamFault as fault:
                self._break(fault.stream_id, fault.code)
        return position

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        continued = self._header_parts.stream_id
        if continued and (kind != frames.CONTINUATION or stream_id != continued):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block was interrupted")
        if not self._has_settings and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind < len(_READERS):
            _READERS[kind](self, flags, stream_id, payload)
        else:
            # Unknown types are ignored (section 5.5).
            self._guard.idle_frame()

    # --- frames of streams ---

    def _read_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "HEADERS on a stream that no client can open")
        block = payload
        if flags & frames.PADDED:
            block = unpadded(payload, frames.PRIORITY_BYTES if flags & frames.HAS_PRIORITY else 0)
        depends_on_itself = False
        if flags & frames.HAS_PRIORITY:
            if len(block) < frames.PRIORITY_BYTES:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "HEADERS without its priority")
            depends_on_itself = dependency(block) == stream_id
            block = block[frames.PRIORITY_BYTES :]
        if flags & frames.END_HEADERS:
            self._header_block(stream_id, block, flags & frames.END_STREAM != 0)
        else:
            self._header_parts.begin(stream_id, block, flags & frames.END_STREAM != 0)
        if depends_on_itself:
            raise StreamFault(stream_id, frames.PROTOCOL_ERROR)

    def _read_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._header_parts.add(payload)
        if flags & frames.END_HEADERS:
            ended = self._header_parts.ended
            self._header_block(stream_id, self._header_parts.take(), ended)

    def _header_block(self, stream_id: int, block: bytes, ended: bool) -> None:  # noqa: FBT001 (the hot path)
        # Decoded first, whatever comes of it: the client's table goes on from there (section 4.3).
        head = self._decoder.decode(block)
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.advance(states.RECV_HEADERS_END if ended else states.RECV_HEADERS)
            if head.malformed_as_trailers:
                raise StreamFault(stream_id, frames.PROTOCOL_ERROR)
            stream.check_length()
            self._events.append(DataReceived(stream, b"", 0, True))
            return
        if stream_id <= self._streams.last_id:
            if self._streams.is_ignored(stream_id):
                return
            raise ConnectionFault(frames.STREAM_CLOSED, "HEADERS on a closed stream")
        self._streams.last_id = stream_id
        if stream_id > self._streams.final_id:
            return
        if len(self.streams) >= self._max_streams:
            raise StreamFault(stream_id, frames.REFUSED_STREAM)
        if head.malformed or (ended and head.content_length > 0):
            raise StreamFault(stream_id, frames.PROTOCOL_ERROR)
        stream = Stream(stream_id, self.sender.stream_window, _STREAM_WINDOW, self._guard.now, head.content_length)
        if ended:
            stream.state = states.HALF_CLOSED_REMOTE
        self.streams[stream_id] = stream
        self._events.append(RequestReceived(stream, head, ended))

    def _read_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        weight = len(payload)
        # Padding counts, and so does data that is then ignored (section 6.9).
        self._window -= weight
        if self._window < _CONNECTION_WINDOW // 2:
            if self._window < 0:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "data beyond the connection's window")
            self.sender.put(frames.window_update(0, _CONNECTION_WINDOW - self._window))
            self._window = _CONNECTION_WINDOW
        data = unpadded(payload, 0) if flags & frames.PADDED else payload
        ended = flags & frames.END_STREAM != 0
        stream = self.streams.get(stream_id)
        if stream is None:
            self._ignore_data(stream_id)
            return
        stream.advance(states.RECV_DATA_END if ended else states.RECV_DATA)
        stream.receive_window -= weight
        if stream.receive_window < 0:
            raise StreamFault(stream_id, frames.FLOW_CONTROL_ERROR)
        if not data and not ended:
            self._guard.idle_frame()
            self.credit(stream, weight)
            return
        if stream.expected >= 0:
            stream.received += len(data)
            if ended or stream.received > stream.expected:
                stream.check_length()
        self._events.append(DataReceived(stream, data, weight, ended))

    def _ignore_data(self, stream_id: int) -> None:
        """Raise unless data on a stream that is not live was sent in good faith."""
        if self._streams.is_idle(stream_id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "DATA on a stream that was not opened")
        if not self._streams.is_ignored(stream_id):
            raise ConnectionFault(frames.STREAM_CLOSED, "DATA on a closed stream")
        self._guard.late_frame()

    def _read_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != frames.RST_STREAM_BYTES:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "an RST_STREAM of the wrong length")
        if self._streams.is_idle(stream_id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "RST_STREAM on a stream that was not opened")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._guard.late_frame()
            return
        self._guard.reset(stream.opened_at)
        self.sender.forget(stream)
        self._events.append(StreamReset(stream, int.from_bytes(payload, "big")))

    def _read_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Check a PRIORITY and ignore it: RFC 9113 has given its scheme up (section 5.3)."""
        if not stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "PRIORITY on no stream")
        self._guard.idle_frame()
        if len(payload) != frames.PRIORITY_BYTES:
            raise StreamFault(stream_id, frames.FRAME_SIZE_ERROR)
        if dependency(payload) == stream_id:
            raise StreamFault(stream_id, frames.PROTOCOL_ERROR)

    def _read_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != frames.WINDOW_UPDATE_BYTES:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of the wrong length")
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            self._widen_connection(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._streams.is_idle(stream_id):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that was not opened")
            # Ours may have ended a moment ago (section 5.1, "closed").
            self._guard.late_frame()
            return
        if not increment:
            raise StreamFault(stream_id, frames.PROTOCOL_ERROR)
        if stream.send_window >= stream.widened_to:
            self._guard.late_frame()
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            raise StreamFault(stream_id, frames.FLOW_CONTROL_ERROR)
        stream.widened_to = stream.send_window
        if self.sender.widen(stream):
            self._events.append(StreamDrained(stream))

    def _widen_connection(self, increment: int) -> None:
        if not increment:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        if self.sender.window >= self._widened_to:
            self._guard.late_frame()
        self.sender.window += increment
        if self.sender.window > MAX_WINDOW:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window is too large")
        self._widened_to = self.sender.window
        for stream in self.sender.widen_all():
            self._events.append(StreamDrained(stream))

    # --- frames of the connection ---

    def _read_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with settings")
            # A second one acknowledges nothing; it costs nothing either.
            self._guard.idle_frame()
            self._decoder.forbid_table()
            return
        self._guard.settings()
        window = initial_window(payload, self.sender.stream_window)
        self._has_settings = True
        self.sender.put(frames.SETTINGS_ACK)
        by = window - self.sender.stream_window
        if by:
            self.sender.stream_window = window
            # Section 6.9.2: it moves the window of every stream under way; one may become negative.
            for stream in self.streams.values():
                stream.send_window += by
                if stream.send_window > MAX_WINDOW:
                    raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a stream's window is too large")
            for stream in list(self.streams.values()):
                if self.sender.widen(stream):
                    self._events.append(StreamDrained(stream))

    def _read_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "a client cannot push")

    def _read_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != frames.PING_BYTES:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a PING of the wrong length")
        if flags & frames.ACK:
            if payload == _DRAIN_PING:
                self._events.append(PingAcknowledged(payload))
            self._guard.idle_frame()
            return
        self._guard.ping()
        self.sender.put(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _read_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Check a GOAWAY; it asks nothing of a server that opens no streams."""
        if stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < frames.GOAWAY_BYTES:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a short GOAWAY")
        self._guard.idle_frame()

    # --- inside ---

    def _break(self, stream_id: int, code: int) -> None:
        """Reset a stream because of a rule that its client broke."""
        if code == frames.REFUSED_STREAM:
            self._guard.late_frame()
        else:
            self._guard.broken_stream()
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.sender.reset(stream, code)
            self._events.append(StreamReset(stream, code))
            return
        self._streams.remember_reset(stream_id)
        self.sender.put(frames.rst_stream(stream_id, code))


# By the frame's type.
_READERS: Final[tuple[Callable[[Connection, int, int, bytes], None], ...]] = (
    Connection._read_data,
    Connection._read_headers,
    Connection._read_priority,
    Connection._read_rst_stream,
    Connection._read_settings,
    Connection._read_push_promise,
    Connection._read_ping,
    Connection._read_goaway,
    Connection._read_window_update,
    Connection._read_continuation,
)
