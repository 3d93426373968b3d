"""Every parser that meets bytes of strangers, each as a function of bytes that raises only if the parser is wrong.

A parser may refuse in its own words; any other exception is a crash, and whoever runs a target watches for hangs and
for memory. Some targets check more than that: what was taken must be what would be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hiredis
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hpack import Encoder

from sidecar.cache.entry import decode_entry
from sidecar.cache.fields import decode_field, decode_name
from sidecar.cache.packing import unpack
from sidecar.clock import after
from sidecar.config import ConfigError, load
from sidecar.config.envoy.model import EnvoyFile
from sidecar.config.envoy.settings import EnvoySettings
from sidecar.crypto.envelope import DataKey, EnvelopeError, MessageKey, read_write, start_write
from sidecar.errors import StoreError
from sidecar.gen.sidecar.v1 import cache_pb2, rate_limit_pb2, record_pb2
from sidecar.ratelimit.envoy.matching import find
from sidecar.server.h2 import frames
from sidecar.server.h2.connection import Connection
from sidecar.server.h2.faults import ConnectionFault
from sidecar.server.h2.header_block import HeaderDecoder, HeaderMemory
from sidecar.server.h2.messages import MessageFault, MessageReader
from sidecar.store.connection import Connection as StoreConnection
from sidecar.store.connection import ConnectionLostError, pack
from sidecar.store.replies import to_error
from sidecar.translate_envoy import envoy_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROJECT = Path(__file__).parents[2]
MOST_MESSAGE_BYTES = 1 << 16
# What a connection may have to say to so few bytes: an acknowledgement or a reset is no longer than what asks for it.
MOST_OUTPUT_BYTES = 4096
REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test.Service/Method"),
    (b":authority", b"fuzzed"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"grpc-timeout", b"1S"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A parser, and inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def pieces(given: bytes) -> Iterator[bytes]:
    """Cut what was given in pieces, as its first byte says: no parser may care."""
    if given:
        size = given[0] % 64 + 1
        for start in range(1, len(given), size):
            yield given[start : start + size]


# --- HTTP/2 and gRPC ---


def run_frames(given: bytes) -> None:
    """Feed a connection that has had its preface."""
    connection = Connection(HeaderMemory(), 100, 1 << 20, 5.0)
    connection.receive(frames.PREFACE + frames.settings([]) + frames.SETTINGS_ACK, 1.0)
    connection.sender.take()
    for piece in pieces(given):
        connection.receive(piece, 1.0)
    said = connection.sender.take()
    assert len(said) <= MOST_OUTPUT_BYTES + 2 * len(given)
    assert len(connection.streams) <= 100
    position = 0
    while position < len(said):
        position += frames.HEADER_BYTES + int.from_bytes(said[position : position + 3], "big")
    assert len(said) == position


def run_header_blocks(given: bytes) -> None:
    """Decode a block, with a table and without; what is refused ends the connection."""
    for forbidden in (False, True):
        decoder = HeaderDecoder(HeaderMemory())
        if forbidden:
            decoder.forbid_table()
        with contextlib.suppress(ConnectionFault):
            decoder.decode(b"\x20" + given)
            decoder.decode(given)


def run_messages(given: bytes) -> None:
    """Cut data into messages; what comes out is never larger than allowed, and the cuts do not matter."""
    whole = MessageReader(MOST_MESSAGE_BYTES, gzip=True)
    cut = MessageReader(MOST_MESSAGE_BYTES, gzip=True)
    refused = [False, False]
    expected: list[bytes] = []
    actual: list[bytes] = []
    try:
        expected += whole.feed(given[1:])
    except MessageFault:
        refused[0] = True
    try:
        for piece in pieces(given):
            actual += cut.feed(piece)
    except MessageFault:
        refused[1] = True
    assert refused[0] == refused[1]
    assert refused[0] or expected == actual
    assert all(len(message) <= MOST_MESSAGE_BYTES for message in actual)


# --- what the messages hold ---

_MESSAGES = [
    GetMessageClass(method.input_type)
    for file in (cache_pb2, rate_limit_pb2, record_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def run_requests(given: bytes) -> None:
    """Parse a request of the method that the first byte names; what was parsed can be written and read again."""
    if not given:
        return
    message_class = _MESSAGES[given[0] % len(_MESSAGES)]
    try:
        request = message_class.FromString(given[1:])
    except DecodeError:
        return
    assert request == message_class.FromString(request.SerializeToString())


# --- configuration ---


def run_configuration(given: bytes) -> None:
    """Load a file of these bytes."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(given)
        file.flush()
        with contextlib.suppress(ConfigError):
            load(Path(file.name), {})


# --- the store ---


class _Transport(asyncio.Transport):
    """Takes everything, and remembers that it was closed."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


_LOOP = asyncio.new_event_loop()


async def _answer(given: bytes) -> None:
    lost: list[StoreConnection] = []
    connection = StoreConnection(loop=asyncio.get_running_loop(), reply_timeout=60, on_lost=lost.append)
    connection.connection_made(_Transport())
    waiting = [connection.send(pack(("GET", "k")), 1, after(60)) for _ in range(2)]
    waiting.append(connection.send(pack(("GET", "k")) * 2, 2, after(60)))
    await asyncio.sleep(0)
    for piece in pieces(given):
        connection.data_received(piece)
    connection.abort()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        if isinstance(outcome, hiredis.ReplyError):
            to_error(outcome)
        elif isinstance(outcome, Exception) and not isinstance(outcome, ConnectionLostError | StoreError):
            raise outcome
        if isinstance(outcome, bytes | None):
            read_stored(outcome or b"")


def read_stored(given: bytes) -> None:
    """Read bytes as whatever a sidecar stores: an entry, a field, a field's name."""
    with contextlib.suppress(StoreError):
        decode_entry(given, lambda packed: unpack(packed, MOST_MESSAGE_BYTES))
    with contextlib.suppress(StoreError):
        unpack(given, MOST_MESSAGE_BYTES)
    with contextlib.suppress(StoreError):
        decode_field(given)
    with contextlib.suppress(StoreError):
        decode_name(given)


def run_envoy_files(given: bytes) -> None:
    """Read bytes as a file of envoyproxy/ratelimit, and make rules of it."""
    file = EnvoyFile("fuzzed.yaml", given.decode(errors="replace"))
    with contextlib.suppress(ConfigError):
        envoy_rules([file, file._replace(source="again.yaml")], EnvoySettings(merge_domains=True))
    with contextlib.suppress(ConfigError):
        for top in envoy_rules([file], EnvoySettings()).domains.values():
            find(top, [("key", "value"), ("key", "")])


def run_replies(given: bytes) -> None:
    """Answer three requests with these bytes: each gets an answer or an error, and none waits for ever.

    Left out are pushes that announce a million elements and more: hiredis makes room for all of them at once, eight
    bytes each, and no setting of its Python binding forbids it (docs/security/attacks.md).
    """
    if _LARGE_PUSH.search(given):
        return
    _LOOP.run_until_complete(_answer(given))


def run_envelopes(given: bytes) -> None:
    """Open what was never sealed."""
    key = MessageKey(_DATA_KEY, _WRITE)
    with contextlib.suppress(EnvelopeError):
        read_write(given)
    with contextlib.suppress(EnvelopeError):
        key.open(given, b"context")


# --- the table ---

_LARGE_PUSH = re.compile(rb">\D{0,9}\d{7}")
_DATA_KEY = DataKey(bytes(16), bytes(32))
_WRITE = start_write(_DATA_KEY, 7, bytes(16))


def _header_blocks() -> list[bytes]:
    encoder = Encoder()
    return [encoder.encode(REQUEST, huffman=huffman) for huffman in (True, False, True)]


def _frames() -> list[bytes]:
    block = b"\x20" + _header_blocks()[1]
    call = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block)
    data = frames.frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x05hello")
    split = frames.frame(frames.HEADERS, 0, 3, block[:9]) + frames.frame(
        frames.CONTINUATION, frames.END_HEADERS, 3, block[9:]
    )
    padded = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\x02" + block + bytes(2))
    first = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.HAS_PRIORITY, 1, bytes(4) + b"\x0f" + block)
    others = [
        frames.window_update(0, 1000),
        frames.rst_stream(1, frames.CANCEL),
        frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 10)]),
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.PRIORITY, 0, 3, bytes(4) + b"\x0f"),
        frames.goaway(0, 0, b"bye"),
        frames.frame(0xFA, 0xFF, 3, b"unknown"),
    ]
    return [b"\x3f" + each for each in (call + data, split, padded, first, call + b"".join(others))]


def _messages() -> list[bytes]:
    squeezed = gzip.compress(b"hello" * 100, mtime=0)
    return [
        b"\x05\0\0\0\0\x05hello\0\0\0\0\0",
        b"\x3f\x01" + len(squeezed).to_bytes(4, "big") + squeezed,
    ]


def _requests() -> list[bytes]:
    get = cache_pb2.GetRequest(cache="default", key="k")
    numbered = {message.DESCRIPTOR.full_name: number for number, message in enumerate(_MESSAGES)}
    put = record_pb2.PutRecordRequest(
        cache="patients", key="k", fields={"name": record_pb2.FieldValue(text="Ada"), "age": record_pb2.FieldValue()}
    )
    check = rate_limit_pb2.CheckRequest(policy="api", key="k")
    return [bytes((numbered[each.DESCRIPTOR.full_name],)) + each.SerializeToString() for each in (get, put, check)]


_REPLIES = [
    b"\x3f$5\r\nhello\r\n_\r\n*2\r\n:1\r\n:2\r\n+OK\r\n",
    b"\x07-ERR no\r\n%1\r\n+a\r\n:1\r\n~1\r\n+a\r\n#t\r\n",
    b"\x3f>2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n$-1\r\n(12345678901234567890\r\n,1.5\r\n=7\r\ntxt:abc\r\n",
    b"\x3f$30\r\nS\x01" + bytes(28) + b"\r\n",
    b"\x3f%1\r\n*1\r\n:1\r\n:2\r\n",
]

_ENVOY_FILE = b"""domain: d
descriptors:
  - key: key
    value: v*e
    share_threshold: true
    rate_limit: {unit: day, requests_per_unit: 0x10, name: n, replaces: [{name: m}], algorithm: token_bucket, burst: 5}
    descriptors: [{key: key, quota_mode: yes, metadata: {a: [1]}, rate_limit: {unlimited: true}}]
"""

TARGETS = {
    "frames": Target(run_frames, _frames()),
    "header_blocks": Target(run_header_blocks, _header_blocks()),
    "messages": Target(run_messages, _messages()),
    "requests": Target(run_requests, _requests()),
    "configuration": Target(
        run_configuration, [(PROJECT / "examples" / "hospital" / "sidecar.yaml").read_bytes(), b"listen: [a:1]"]
    ),
    "envoy_files": Target(
        run_envoy_files, [_ENVOY_FILE, b"domain: d\ndescriptors: [&a {key: k}, {<<: *a, value: v*}]"]
    ),
    "replies": Target(run_replies, _REPLIES),
    "stored": Target(read_stored, [b"S\x01" + bytes(40), b"t" + b"text"]),
    "envelopes": Target(run_envelopes, [MessageKey(_DATA_KEY, _WRITE).seal(b"value", b"context", bytes(12)), _WRITE]),
}
