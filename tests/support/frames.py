"""A call sent frame by frame (RFC 9113), for what no client library shows: flags, lengths, compression."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 2, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS = 0x1, 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a field block of literals that are not indexed and not coded (RFC 7541, section 6.2.2)."""
    return b"".join(b"\0" + _counted(name) + _counted(value) for name, value in fields)


def request(path: str, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return the field block of a gRPC request."""
    return block(
        (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            *more,
        )
    )


def message(content: bytes) -> bytes:
    """Return a gRPC message that is not compressed."""
    return b"\0" + len(content).to_bytes(4, "big") + content


async def read(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """Return the next frame: its type, flags, stream and payload."""
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFF_FFFF, payload


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect, and close the connection to the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def call(address: str, path: str, content: bytes, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Send one call with one message; return all bytes of its answer's DATA frames."""
    async with connection(address) as (reader, writer):
        writer.write(PREFACE + frame(SETTINGS, 0, 0))
        writer.write(frame(HEADERS, _END_HEADERS, 1, request(path, more)))
        writer.write(frame(DATA, _END_STREAM, 1, message(content)))
        answer = b""
        while True:
            kind, flags, stream, payload = await read(reader)
            if kind in {RST_STREAM, GOAWAY}:
                raise ConnectionError(f"frame of type {kind}: {payload!r}")
            if stream == 1 and kind == DATA:
                answer += payload
            if stream == 1 and kind in {DATA, HEADERS} and flags & _END_STREAM:
                return answer


def _counted(text: bytes) -> bytes:
    """Return a string literal (RFC 7541, section 5.2), its length as an integer with a prefix of seven bits."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    coded = bytearray((127,))
    while size >= 128:
        coded.append(size % 128 | 128)
        size //= 128
    coded.append(size)
    return bytes(coded) + text
