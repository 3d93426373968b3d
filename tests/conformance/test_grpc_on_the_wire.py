"""What h2spec asks only of servers that answer plain HTTP with content, asked of gRPC calls, frame by frame."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from conformance.plan import PlanService
from conformance.running import serving
from support import frames
from support.frames import DATA, GOAWAY, HEADERS, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 0x4, 0x3
PROTOCOL_ERROR, REFUSED_STREAM = 1, 7
PATIENCE_SECONDS = 30.0
# An echo's message, its prefix, and so the content of its answer.
MESSAGE = b"0123456789"
CONTENT = frames.message(MESSAGE)
HEAD = frames.frame(HEADERS, END_HEADERS, 1, frames.request("/conformance.Plan/Echo"))
BODY = frames.frame(DATA, END_STREAM, 1, CONTENT)


class Wire:
    """A connection to a server, its preface sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *sent: bytes) -> None:
        """Send frames."""
        self._writer.write(b"".join(sent))

    async def settings(self) -> dict[int, int]:
        """Return the server's settings, acknowledged."""
        _, _, _, payload = await frames.read(self._reader)
        self.send(frames.frame(SETTINGS, ACK, 0))
        pairs = (payload[start : start + 6] for start in range(0, len(payload), 6))
        return {int.from_bytes(pair[:2], "big"): int.from_bytes(pair[2:], "big") for pair in pairs}

    async def next(self, *kinds: int, stream: int = 1) -> tuple[int, int, bytes]:
        """Return the type, the flags and the payload of the stream's next frame of some types."""
        while True:
            kind, flags, number, payload = await frames.read(self._reader)
            if kind in kinds and number == stream:
                return kind, flags, payload
            if kind == GOAWAY:
                raise ConnectionError(f"GOAWAY: {payload!r}")

    async def content(self) -> bytes:
        """Return the rest of the stream's content; its end is the end of the call."""
        content = b""
        while True:
            kind, flags, payload = await self.next(DATA, HEADERS)
            content += payload if kind == DATA else b""
            if flags & END_STREAM:
                return content


def settings(window: int) -> bytes:
    """Return a SETTINGS frame with an initial window size."""
    return frames.frame(SETTINGS, 0, 0, INITIAL_WINDOW_SIZE.to_bytes(2, "big") + window.to_bytes(4, "big"))


def widen(by: int, stream: int = 1) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frames.frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


@asynccontextmanager
async def connected(engine: str, window: int = 65_535) -> AsyncIterator[Wire]:
    """Connect to a server; streams begin with a window."""
    async with (
        serving(engine, PlanService().table()) as address,
        asyncio.timeout(PATIENCE_SECONDS),
        frames.connection(address) as (reader, writer),
    ):
        writer.write(frames.PREFACE + settings(window))
        yield Wire(reader, writer)


async def test_a_window_of_one_byte_is_kept_to(engine: str) -> None:
    """No DATA frame is longer than its window (RFC 9113, section 6.9.1)."""
    async with connected(engine, window=1) as wire:
        wire.send(HEAD, BODY)
        first = await wire.next(DATA)
        wire.send(widen(1))
        second = await wire.next(DATA)
        wire.send(widen(len(CONTENT)))
        assert (CONTENT[:1], CONTENT[1:2], CONTENT[2:]) == (first[2], second[2], await wire.content())


async def test_a_window_is_moved_by_settings(engine: str) -> None:
    """Also that of a stream under way, which was closed (section 6.9.2)."""
    async with connected(engine, window=0) as wire:
        wire.send(HEAD, BODY)
        await wire.next(HEADERS)
        wire.send(settings(1))
        first = await wire.next(DATA)
        wire.send(settings(100))
        assert (CONTENT[:1], CONTENT[1:]) == (first[2], await wire.content())


async def test_the_last_of_several_values_holds(engine: str) -> None:
    """Settings are taken in their order (section 6.5.3)."""
    async with connected(engine, window=0) as wire:
        pairs = b"".join(INITIAL_WINDOW_SIZE.to_bytes(2, "big") + size.to_bytes(4, "big") for size in (100, 1))
        wire.send(frames.frame(SETTINGS, 0, 0, pairs), HEAD, BODY)
        assert CONTENT[:1] == (await wire.next(DATA))[2]


async def test_a_window_may_become_negative(engine: str) -> None:
    """It has to be filled up before data flows again (section 6.9.2)."""
    async with connected(engine, window=5) as wire:
        wire.send(HEAD, BODY)
        first = await wire.next(DATA)
        # Five bytes are sent, so the window is now -3; with 4 more it is 1.
        wire.send(settings(2), widen(3), widen(1))
        second = await wire.next(DATA)
        wire.send(widen(100))
        assert (CONTENT[:5], CONTENT[5:6], CONTENT[6:]) == (first[2], second[2], await wire.content())


@pytest.mark.parametrize("frame", [widen(1), frames.frame(PRIORITY, 0, 1, bytes(5))], ids=["WINDOW_UPDATE", "PRIORITY"])
async def test_a_half_closed_stream_takes_frames_of_no_content(engine: str, frame: bytes) -> None:
    """Its client has sent all, and may still send these (section 5.1, "half-closed (remote)")."""
    async with connected(engine, window=0) as wire:
        wire.send(HEAD, BODY)
        await wire.next(HEADERS)
        wire.send(frame, widen(1000))
        assert CONTENT == await wire.content()


async def test_a_stream_beyond_the_limit_is_refused(engine: str) -> None:
    """The limit is what the server has announced; the streams stay open, since no message comes (section 5.1.2)."""
    async with connected(engine) as wire:
        limit = (await wire.settings())[MAX_CONCURRENT_STREAMS]
        block = frames.request("/conformance.Plan/Converse")
        # No table, no padding: the same block opens each stream.
        wire.send(*(frames.frame(HEADERS, END_HEADERS, 2 * number + 1, block) for number in range(limit + 1)))
        _, _, payload = await wire.next(RST_STREAM, stream=2 * limit + 1)
    assert REFUSED_STREAM == int.from_bytes(payload, "big")


@pytest.mark.parametrize("pieces", [1, 2])
async def test_content_that_is_not_as_long_as_it_says_is_malformed(engine: str, pieces: int) -> None:
    """A stream error, whether the content comes in one frame or in more (section 8.1.1)."""
    if engine == "grpcio":
        pytest.skip("grpcio does not look at content-length")
    fields = frames.request("/conformance.Plan/Echo", ((b"content-length", b"1"),))
    middle = len(CONTENT) // pieces
    async with connected(engine) as wire:
        wire.send(frames.frame(HEADERS, END_HEADERS, 1, fields))
        wire.send(frames.frame(DATA, END_STREAM if pieces == 1 else 0, 1, CONTENT[:middle]))
        if pieces > 1:
            wire.send(frames.frame(DATA, END_STREAM, 1, CONTENT[middle:]))
        _, _, payload = await wire.next(RST_STREAM)
    assert PROTOCOL_ERROR == int.from_bytes(payload, "big")
