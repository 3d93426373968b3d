"""A client's side of HTTP/2 for tests of the protocol without I/O: frames out of our own hands, answers taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hpack import Decoder, Encoder

from sidecar.server.h2 import frames
from sidecar.server.h2.connection import Connection
from sidecar.server.h2.events import Event, RequestReceived
from sidecar.server.h2.header_block import HeaderMemory
from sidecar.server.h2.sender import HeaderBlock

if TYPE_CHECKING:
    from sidecar.server.h2.streams import Stream

REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test.Service/Method"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)
HEAD = HeaderBlock(b"\x88")
TRAILERS = HeaderBlock(b"\x00\x0bgrpc-status\x010")


class Frame(NamedTuple):
    """A frame that the server sent."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def number(self) -> int:
        """Return what RST_STREAM and WINDOW_UPDATE say."""
        return int.from_bytes(self.payload, "big")


class Client:
    """Speaks to a `Connection`; its clock stands still unless a test moves `now`."""

    def __init__(self, *, greets: bool = True, max_streams: int = 100, max_unsent_bytes: int = 1_000_000) -> None:
        self.connection = Connection(HeaderMemory(), max_streams, max_unsent_bytes, 5.0)
        self.encoder = Encoder()
        self.now = 1000.0
        self.greeting = self.sent()
        if greets:
            self.send(frames.PREFACE + frames.settings([]) + frames.SETTINGS_ACK)
            # As the server's settings have it, which were just acknowledged.
            self.encoder.header_table_size = 0
            self.sent()

    def send(self, data: bytes) -> list[Event]:
        """Send bytes; return what they come to."""
        return self.connection.receive(data, self.now)

    def sent(self) -> list[Frame]:
        """Return what the server has sent since last asked."""
        return frames_of(self.connection.sender.take())

    def kinds(self) -> list[int]:
        """Return the types of what the server has sent since last asked."""
        return [frame.kind for frame in self.sent()]

    def headers(self, stream_id: int, fields: tuple[tuple[bytes, bytes], ...] = REQUEST, flags: int = 0) -> bytes:
        """Return a HEADERS frame with a whole block."""
        return frames.frame(frames.HEADERS, frames.END_HEADERS | flags, stream_id, self.encoder.encode(fields))

    def open(self, stream_id: int = 1, fields: tuple[tuple[bytes, bytes], ...] = REQUEST, flags: int = 0) -> Stream:
        """Open a stream."""
        (event,) = self.send(self.headers(stream_id, fields, flags))
        assert isinstance(event, RequestReceived)
        return event.stream

    def goaway_code(self) -> int | None:
        """Return the code of the GOAWAY among what the server has sent, None without one."""
        for frame in self.sent():
            if frame.kind == frames.GOAWAY:
                return int.from_bytes(frame.payload[4:8], "big")
        return None

    def reset_code(self) -> int | None:
        """Return the code of the RST_STREAM among what the server has sent, None without one."""
        for frame in self.sent():
            if frame.kind == frames.RST_STREAM:
                return frame.number
        return None


def frames_of(sent: bytes) -> list[Frame]:
    """Return the frames in what the server sent."""
    taken = []
    while sent:
        end = frames.HEADER_BYTES + int.from_bytes(sent[:3], "big")
        stream_id = int.from_bytes(sent[5:9], "big")
        taken.append(Frame(sent[3], sent[4], stream_id, sent[frames.HEADER_BYTES : end]))
        sent = sent[end:]
    return taken


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of a block that the server sent."""
    return [(bytes(name), bytes(value)) for name, value in Decoder().decode(block, raw=True)]


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    """Return a DATA frame."""
    return frames.frame(frames.DATA, flags, stream_id, payload)
