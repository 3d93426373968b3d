"""The frame layer against an oracle: the library `h2` reads the same frames, and must take and refuse the same.

Frames go to both one by one. While both take them, what comes out must be the same: requests with their metadata,
data, ends, resets by the client. At the first frame that one of them refuses the other must refuse it too, and the
comparison is over: what follows a fault depends on how each chose to go on.

Whether a fault ends a stream or the connection is not compared. h2 ends the connection for most malformed frames and
requests, which RFC 9113 leaves to any endpoint (section 5.4.1: "an endpoint MAY choose to treat a stream error as a
connection error"). Where the two differ otherwise, the difference stands in `DIFFERENCES`, with the RFC's words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived as OracleData
from h2.events import RequestReceived as OracleRequest
from h2.events import StreamEnded as OracleEnd
from h2.events import StreamReset as OracleReset
from h2.exceptions import ProtocolError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.raw_http2 import LARGEST_WINDOW, PREFACE, Flag, Kind, frame, stateless_block
from support.raw_http2 import settings as settings_frame

from sidecar.server.h2.connection import Connection
from sidecar.server.h2.events import ConnectionFailed, DataReceived, RequestReceived, StreamReset
from sidecar.server.h2.header_block import HeaderMemory

if TYPE_CHECKING:
    from collections.abc import Callable

Happened = list[tuple[object, ...]]

GREETING = PREFACE + settings_frame() + settings_frame(ack=True)
HEAD_BYTES = 9
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Service/Method"),
    (":authority", "fuzzed"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
EXTRA = [
    ("x", "y"),
    ("x-long", "z" * 200),
    ("content-length", "5"),
    ("content-length", "x"),
    ("connection", "close"),
    ("te", "gzip"),
    ("Upper", "case"),
    (":path", "/twice"),
    (":status", "200"),
    ("x", " blank"),
    ("x", "new\nline"),
    ("", "nameless"),
]
GOOD = (None, ("x", "y"), ("x-long", "z" * 200), ("content-length", "5"))
STREAMS = st.sampled_from([1, 1, 1, 3, 3, 5, 2, 0])
FLAGS = st.sampled_from([0, Flag.END_STREAM, Flag.END_HEADERS, Flag.END_STREAM | Flag.END_HEADERS, Flag.PADDED, 0xFF])


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Draw the header block of a request, good more often than not."""
    fields = list(REQUEST)
    if draw(st.integers(0, 3)) == 0:
        del fields[draw(st.integers(0, len(fields) - 1))]
    if draw(st.integers(0, 2)) == 0:
        fields.insert(draw(st.integers(0, len(fields))), draw(st.sampled_from(EXTRA)))
    return stateless_block(fields)


@st.composite
def header_frames(draw: st.DrawFn) -> list[bytes]:
    """Draw HEADERS, padded, with a priority, or continued."""
    stream = draw(STREAMS)
    block = draw(blocks()) if draw(st.booleans()) else stateless_block(REQUEST)
    end = draw(st.sampled_from([0, Flag.END_STREAM]))
    form = draw(st.integers(0, 4))
    if form == 0:
        return [frame(Kind.HEADERS, end | Flag.END_HEADERS | Flag.PADDED, stream, b"\x03" + block + bytes(3))]
    if form == 1:
        priority = draw(st.sampled_from([0, 1, 3, 7])).to_bytes(4, "big") + b"\x10"
        return [frame(Kind.HEADERS, end | Flag.END_HEADERS | Flag.PRIORITY, stream, priority + block)]
    if form == 2:
        cut = draw(st.integers(0, len(block)))
        continued = draw(st.sampled_from([stream, stream, stream, 3]))
        return [
            frame(Kind.HEADERS, end, stream, block[:cut]),
            frame(Kind.CONTINUATION, Flag.END_HEADERS, continued, block[cut:]),
        ]
    return [frame(Kind.HEADERS, end | Flag.END_HEADERS, stream, block)]


@st.composite
def other_frames(draw: st.DrawFn) -> list[bytes]:
    """Draw a frame of any type, its payload right, of the wrong length, or at random."""
    kind = draw(st.sampled_from([*Kind, Kind.DATA, Kind.DATA, 0xFA]))
    payload = draw(
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from(
                [b"", b"hello", b"\x02ab\0\0", bytes(4), b"\0\0\0\x08", bytes(5), bytes(8), b"\0\4\0\0\1\0"]
            ),
        )
    )
    stream = draw(STREAMS)
    if kind in {Kind.SETTINGS, Kind.PING, Kind.GOAWAY} and draw(st.integers(0, 5)):
        stream = 0
    return [frame(kind, draw(FLAGS), stream, payload)]


CONVERSATIONS = st.lists(st.one_of(header_frames(), other_frames()), max_size=8).map(
    lambda groups: [each for group in groups for each in group]
)


class Ours:
    """Our connection, in the words of the comparison."""

    def __init__(self) -> None:
        self._connection = Connection(HeaderMemory(), 100, 1 << 20, 0.0)
        self._connection.receive(GREETING, 1.0)
        self._connection.sender.take()

    def read(self, sent: bytes) -> Happened | None:
        """Return what a frame comes to, None if it is refused."""
        happened: Happened = []
        for event in self._connection.receive(sent, 1.0):
            if isinstance(event, RequestReceived):
                metadata = sorted(pair for pair in event.head.metadata)
                happened.append(("request", event.stream.id, event.head.path, metadata))
                happened.extend([("end", event.stream.id)] if event.ended else [])
            elif isinstance(event, DataReceived):
                happened.extend([("data", event.stream.id, event.data)] if event.data else [])
                happened.extend([("end", event.stream.id)] if event.ended else [])
            elif isinstance(event, StreamReset):
                happened.append(("reset", event.stream.id))
            elif isinstance(event, ConnectionFailed):
                return None
        return None if refuses(self._connection.sender.take()) else happened


class Oracle:
    """h2's connection, in the same words."""

    OWN = frozenset({b"content-type", b"te", b"content-length"})

    def __init__(self) -> None:
        self._connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._connection.initiate_connection()
        self._connection.receive_data(GREETING)
        self._connection.data_to_send()

    def read(self, sent: bytes) -> Happened | None:
        """Return what a frame comes to, None if it is refused."""
        happened: Happened = []
        try:
            events = self._connection.receive_data(sent)
        except ProtocolError:
            return None
        for event in events:
            if isinstance(event, OracleRequest):
                fields = {bytes(name): bytes(value) for name, value in event.headers}
                metadata = sorted(
                    (name.decode(), value.decode("latin-1"))
                    for name, value in fields.items()
                    if not name.startswith(b":") and name not in self.OWN
                )
                happened.append(("request", event.stream_id, fields[b":path"], metadata))
            elif isinstance(event, OracleData):
                happened.extend([("data", event.stream_id, bytes(event.data))] if event.data else [])
            elif isinstance(event, OracleEnd):
                happened.append(("end", event.stream_id))
            elif isinstance(event, OracleReset):
                happened.append(("reset", event.stream_id))
        return None if refuses(self._connection.data_to_send()) else happened


def refuses(said: bytes) -> bool:
    """Say whether there is an RST_STREAM or a GOAWAY among frames."""
    position = 0
    while position < len(said):
        if said[position + 3] in {Kind.RST_STREAM, Kind.GOAWAY}:
            return True
        position += HEAD_BYTES + int.from_bytes(said[position : position + 3], "big")
    return False


def is_early(sent: bytes, ours: Happened | None, oracles: Happened | None) -> bool:
    """We refuse a header block at its first frame, h2 once it is whole.

    Section 5.1.1: "An endpoint that receives an unexpected stream identifier MUST respond with a connection error of
    type PROTOCOL_ERROR"; section 8.4: "A client cannot push". Neither says that the rest must be waited for.
    """
    goes_on = sent[3] in {Kind.HEADERS, Kind.PUSH_PROMISE} and not sent[4] & Flag.END_HEADERS
    return goes_on and (ours, oracles) == (None, [])


def lacks_authority(sent: bytes, ours: Happened | None, oracles: Happened | None) -> bool:
    """We take a request without :authority and Host, h2 does not.

    Section 8.3.1: "All HTTP/2 requests MUST include exactly one valid value for the ":method", ":scheme", and ":path"
    pseudo-header fields": :authority is not among them, and a client on a Unix socket has none.
    """
    is_request = [each[0] for each in (ours or [])[:1]] == ["request"]
    return is_request and oracles is None and b":authority" not in sent


def has_a_reserved_bit(sent: bytes, ours: Happened | None, oracles: Happened | None) -> bool:
    """We ignore the reserved bit of a WINDOW_UPDATE, h2 takes it for part of the increment.

    Section 6.9: "The frame payload of a WINDOW_UPDATE frame is one reserved bit plus an unsigned 31-bit integer".
    """
    is_set = sent[3] == Kind.WINDOW_UPDATE and sent[HEAD_BYTES : HEAD_BYTES + 1] >= b"\x80"
    return is_set and ours is not None and oracles is None


def resets_an_idle_stream(sent: bytes, ours: Happened | None, oracles: Happened | None) -> bool:
    """We refuse an RST_STREAM of a stream that was never opened, h2 passes over it.

    Section 6.4: "RST_STREAM frames MUST NOT be sent for a stream in the "idle" state. If a RST_STREAM frame identifying
    an idle stream is received, the recipient MUST treat this as a connection error of type PROTOCOL_ERROR."
    """
    return sent[3] == Kind.RST_STREAM and (ours, oracles) == (None, [])


def breaks_its_content_length(sent: bytes, ours: Happened | None, oracles: Happened | None) -> bool:
    """We refuse a request without a body that says how long its body is; h2 looks at the length once there is data.

    Section 8.1.1: "A request or response is also malformed if the value of a Content-Length header field does not
    equal the sum of the DATA frame payload lengths that form the content".
    """
    return ours is None and b"content-length" in sent and ("end",) in {each[:1] for each in oracles or ()}


def widens_a_closed_stream_by_nothing(sent: bytes, ours: Happened | None, oracles: Happened | None) -> bool:
    """We pass over a WINDOW_UPDATE of nothing on a stream that is closed, h2 ends the connection.

    Section 6.9 makes it a stream error, and to reset a closed stream means nothing.
    """
    is_nothing = sent[3] == Kind.WINDOW_UPDATE and not int.from_bytes(sent[HEAD_BYTES:], "big") & LARGEST_WINDOW
    return is_nothing and (ours, oracles) == ([], None)


DIFFERENCES: tuple[Callable[[bytes, Happened | None, Happened | None], bool], ...] = (
    is_early,
    lacks_authority,
    has_a_reserved_bit,
    resets_an_idle_stream,
    breaks_its_content_length,
    widens_a_closed_stream_by_nothing,
)


def is_known(sent: bytes, ours: Happened | None, oracles: Happened | None) -> bool:
    """Say whether a difference is one of those above."""
    return any(is_it(sent, ours, oracles) for is_it in DIFFERENCES)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(conversation=CONVERSATIONS)
def test_the_same_is_taken_and_refused(conversation: list[bytes]) -> None:
    """Frame by frame, up to the first that is refused."""
    ours, oracle = Ours(), Oracle()
    block = b""
    for sent in conversation:
        expected, actual = oracle.read(sent), ours.read(sent)
        # A difference in a header block may lie in any of its frames.
        block = block + sent[HEAD_BYTES:] if sent[3] == Kind.CONTINUATION else sent
        if expected != actual and not is_known(block, actual, expected):
            assert (block, expected) == (block, actual)
        if expected is None or actual is None or expected != actual:
            return
        if sent[3] == Kind.GOAWAY:
            # From here on h2 takes no new streams. Section 6.8: "Receivers of a GOAWAY frame MUST NOT open additional
            # streams"; of its sender, the client, nothing is said.
            return


@pytest.mark.parametrize("extra", [None, *EXTRA])
def test_a_good_request_is_taken_by_both_and_a_bad_one_by_neither(extra: tuple[str, str] | None) -> None:
    """So that the comparison above does not pass by refusing everything."""
    fields = REQUEST if extra is None else [*REQUEST, extra]
    sent = frame(Kind.HEADERS, Flag.END_HEADERS, 1, stateless_block(fields))
    taken = [reader.read(sent) is not None for reader in (Oracle(), Ours())]
    assert taken == [extra in GOOD] * 2
