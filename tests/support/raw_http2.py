"""An HTTP/2 client that does what no client should: each frame is the test's own.

Frames are built here from the layouts of RFC 9113, sections 4.1 and 6, and not by a library, which would refuse to
build what an attacker sends. Header blocks are HPACK's (RFC 7541) and come from the library `hpack`, or byte by byte
from the test.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

import hpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
# The size of the pieces in which an attack is written: the peer's closing is noticed between two of them.
_PIECE_BYTES = 1 << 16
_RECEIVE_BYTES = 1 << 16
_HEAD_BYTES = 9
_LAST_PING = b"the last"


class Kind(IntEnum):
    """Frame types (RFC 9113, section 11.2)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntFlag):
    """Flags of frames; END_STREAM and ACK share a bit."""

    NONE = 0
    END_STREAM = 1
    ACK = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 32


class Error(IntEnum):
    """Error codes (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """Parameters of SETTINGS (RFC 9113, section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


# --- frames ---


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(values: dict[int, int] | None = None, *, ack: bool = False) -> bytes:
    """Return SETTINGS (section 6.5)."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in (values or {}).items())
    return frame(Kind.SETTINGS, Flag.ACK if ack else Flag.NONE, 0, payload)


def headers(stream: int, block: bytes, *, end_stream: bool = False, end_headers: bool = True) -> bytes:
    """Return HEADERS (section 6.2)."""
    flags = (Flag.END_STREAM if end_stream else 0) | (Flag.END_HEADERS if end_headers else 0)
    return frame(Kind.HEADERS, flags, stream, block)


def continuation(stream: int, block: bytes, *, end_headers: bool = False) -> bytes:
    """Return CONTINUATION (section 6.10)."""
    return frame(Kind.CONTINUATION, Flag.END_HEADERS if end_headers else Flag.NONE, stream, block)


def data(stream: int, payload: bytes = b"", *, end_stream: bool = False) -> bytes:
    """Return DATA (section 6.1)."""
    return frame(Kind.DATA, Flag.END_STREAM if end_stream else Flag.NONE, stream, payload)


def reset(stream: int, code: Error = Error.CANCEL) -> bytes:
    """Return RST_STREAM (section 6.4)."""
    return frame(Kind.RST_STREAM, Flag.NONE, stream, code.to_bytes(4, "big"))


def priority(stream: int, depends_on: int = 0, weight: int = 15) -> bytes:
    """Return PRIORITY (section 6.3)."""
    return frame(Kind.PRIORITY, Flag.NONE, stream, depends_on.to_bytes(4, "big") + bytes((weight,)))


def ping(payload: bytes = b"12345678") -> bytes:
    """Return PING (section 6.7)."""
    return frame(Kind.PING, Flag.NONE, 0, payload)


def window_update(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE (section 6.9)."""
    return frame(Kind.WINDOW_UPDATE, Flag.NONE, stream, increment.to_bytes(4, "big"))


def message(payload: bytes) -> bytes:
    """Return a message as gRPC frames it: uncompressed, with its length (PROTOCOL-HTTP2.md)."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def request(path: str, extra: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Return the header list of a gRPC call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "attacked"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]


def stateless_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block of literals that are never indexed: it decodes to the same wherever it is sent.

    It begins by giving the dynamic table up, as a server may have demanded (RFC 7541, section 4.2).
    """
    block = bytearray((0x20,))
    for name, value in fields:
        block.append(0x10)
        for text in (name.encode(), value.encode()):
            block += integer(len(text), 7) + text
    return bytes(block)


def integer(value: int, prefix_bits: int, pattern: int = 0) -> bytes:
    """Return an integer as HPACK writes it (RFC 7541, section 5.1), its first byte's other bits from `pattern`."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((pattern | value,))
    written = bytearray((pattern | most,))
    value -= most
    while value >= 128:
        written.append(value % 128 | 128)
        value //= 128
    written.append(value)
    return bytes(written)


# --- the client ---


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> Error:
        """The code of a GOAWAY or RST_STREAM."""
        where = 4 if self.kind == Kind.GOAWAY else 0
        return Error(int.from_bytes(self.payload[where : where + 4], "big"))


class RawClient:
    """One connection; a task reads what the server says, unless it is told to be deaf.

    Of DATA only the count and the sum of the bytes are kept, of other frames the last ones.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._heard = asyncio.Condition()
        self._hearing: asyncio.Task[None] | None = None
        self._next_stream = 1
        self._flooding = False
        self._put_off: list[bytes] = []
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.counts: Counter[int] = Counter()
        self.data_bytes = 0
        self.goaway: Frame | None = None
        """The first GOAWAY that tells of an error, or else the first one."""
        self.resets: Counter[Error] = Counter()
        self.pongs: set[bytes] = set()
        """The payloads of PINGs that the server answered."""
        self.window = DEFAULT_WINDOW
        """How much data the connection may still take; whoever sends some subtracts it."""
        self.closed = False
        """Whether the server has closed the connection."""
        self.trailers: dict[int, dict[str, str]] = {}
        """The last header list of each stream that the server ended."""
        self.on_frame: Callable[[Frame], None] | None = None
        """Called with each frame as it comes."""

    # --- sending ---

    def new_stream(self) -> int:
        """Return the next stream's identifier."""
        stream = self._next_stream
        self._next_stream += 2
        return stream

    def write(self, *frames: bytes) -> None:
        """Send without waiting."""
        if not self._writer.is_closing():
            self._writer.write(b"".join(frames))

    async def flood(self, attack: bytes, seconds: float = 10.0) -> int:
        """Send as long as the server takes it, and return how many bytes it took before it closed.

        The server's first SETTINGS are acknowledged before, and further ones after it: not within a frame.
        """
        if self._hearing is not None:
            await self.until(lambda: self.closed or self.counts[Kind.SETTINGS] > 0)
        sent = 0
        self._flooding = True
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(seconds):
                while sent < len(attack) and not self.closed and not self._writer.is_closing():
                    self._writer.write(attack[sent : sent + _PIECE_BYTES])
                    sent += _PIECE_BYTES
                    await self._writer.drain()
                    # A server that closes must be heard even while it takes whatever is sent.
                    await asyncio.sleep(0)
        self._flooding = False
        self.write(*self._put_off)
        self._put_off.clear()
        return min(sent, len(attack))

    def call(self, path: str, payload: bytes = b"", extra: Iterable[tuple[str, str]] = ()) -> int:
        """Send a call whole; return its stream."""
        stream = self.new_stream()
        block = self.encoder.encode(request(path, extra))
        self.write(headers(stream, block), data(stream, message(payload), end_stream=True))
        return stream

    # --- hearing ---

    def hear(self, *, acknowledge: bool = True) -> None:
        """Read from now on, and unless told otherwise acknowledge the server's SETTINGS."""
        self._hearing = asyncio.create_task(self._hear(acknowledge=acknowledge))

    async def until(self, is_so: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Wait until what was heard makes something so; say whether it came to that in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._heard:
                await self._heard.wait_for(is_so)
        return is_so()

    async def answered(self, stream: int, seconds: float = 30.0) -> dict[str, str]:
        """Wait for a stream's trailers; raises `TimeoutError`."""
        if not await self.until(lambda: stream in self.trailers, seconds):
            raise TimeoutError(f"stream {stream} was not answered")
        return self.trailers[stream]

    async def settled(self, seconds: float = 30.0) -> Error | None:
        """Wait until the server has dealt with all that was sent, or has ended the connection; return its error.

        It has dealt with what came before a PING once it answers that. Without a GOAWAY there is no error.
        """
        self.write(ping(_LAST_PING))
        await self.until(lambda: self.closed or self.failed or _LAST_PING in self.pongs, seconds)
        return None if self.goaway is None else self.goaway.error

    async def close(self) -> None:
        """Close, whatever the server does."""
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
        self._writer.transport.abort()

    @property
    def failed(self) -> bool:
        """Whether the server has said GOAWAY with an error."""
        return self.goaway is not None and self.goaway.error is not Error.NO_ERROR

    async def _hear(self, *, acknowledge: bool) -> None:
        received = bytearray()
        try:
            while part := await self._reader.read(_RECEIVE_BYTES):
                received += part
                for heard in _cut_frames(received):
                    self._take(heard)
                    if acknowledge and heard.kind in {Kind.SETTINGS, Kind.PING} and not heard.flags & Flag.ACK:
                        self._heed(heard)
                async with self._heard:
                    self._heard.notify_all()
        except ConnectionError:
            pass
        finally:
            self.closed = True
            async with self._heard:
                self._heard.notify_all()

    def _heed(self, heard: Frame) -> None:
        """Do as the server's SETTINGS say, and acknowledge them, or a PING."""
        answer = frame(heard.kind, Flag.ACK, 0, heard.payload if heard.kind == Kind.PING else b"")
        for start in range(0, len(heard.payload) if heard.kind == Kind.SETTINGS else 0, 6):
            if int.from_bytes(heard.payload[start : start + 2], "big") == Setting.HEADER_TABLE_SIZE:
                size = int.from_bytes(heard.payload[start + 2 : start + 6], "big")
                self.encoder.header_table_size = min(size, self.encoder.header_table_size)
        if self._flooding:
            self._put_off.append(answer)
        else:
            self.write(answer)

    def _take(self, heard: Frame) -> None:
        self.counts[heard.kind] += 1
        if heard.kind == Kind.DATA:
            self.data_bytes += len(heard.payload)
        elif heard.kind == Kind.GOAWAY and not self.failed:
            self.goaway = heard
        elif heard.kind == Kind.RST_STREAM:
            self.resets[heard.error] += 1
        elif heard.kind == Kind.WINDOW_UPDATE and not heard.stream:
            self.window += int.from_bytes(heard.payload, "big")
        elif heard.kind == Kind.PING and heard.flags & Flag.ACK:
            self.pongs.add(heard.payload)
        elif heard.kind == Kind.HEADERS:
            fields = {str(name): str(value) for name, value in self.decoder.decode(heard.payload)}
            if heard.flags & Flag.END_STREAM:
                self.trailers[heard.stream] = fields
        if self.on_frame is not None:
            self.on_frame(heard)


def _cut_frames(received: bytearray) -> Iterable[Frame]:
    """Take all complete frames from the front of what was received."""
    start = 0
    while len(received) - start >= _HEAD_BYTES:
        length = int.from_bytes(received[start : start + 3], "big")
        end = start + _HEAD_BYTES + length
        if len(received) < end:
            break
        stream = int.from_bytes(received[start + 5 : start + 9], "big") & LARGEST_WINDOW
        yield Frame(received[start + 3], received[start + 4], stream, bytes(received[start + _HEAD_BYTES : end]))
        start = end
    del received[:start]


@asynccontextmanager
async def connected(
    address: str, values: dict[int, int] | None = None, *, hearing: bool = True, acknowledge: bool = True
) -> AsyncIterator[RawClient]:
    """Connect, and send the preface with these settings."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = RawClient(reader, writer)
    client.write(PREFACE, settings(values))
    if hearing:
        client.hear(acknowledge=acknowledge)
    try:
        yield client
    finally:
        await client.close()
