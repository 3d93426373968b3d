"""F16: what an attacker can do with HTTP/2 itself, frame by frame.

Of each attack three things must hold: the attacker's connection ends with the error that RFC 9113 names (or, where the
RFC makes it the matter of one stream, that stream does); the server's memory does not grow with the attack's length;
and an honest caller on another connection is served throughout.

The engine on grpcio keeps the second and third of these. What it says to the attacker is not ours to choose: gRPC's
C core often closes without GOAWAY, answers a stream or passes over what is wrong. docs/security/attacks.md has
the table; the first is held for the other engines alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.attacked import MOST_GROWTH_BYTES
from support.raw_http2 import (
    DEFAULT_WINDOW,
    LARGEST_WINDOW,
    Error,
    Flag,
    Kind,
    Setting,
    connected,
    continuation,
    data,
    frame,
    headers,
    integer,
    message,
    ping,
    priority,
    request,
    reset,
    settings,
    stateless_block,
    window_update,
)
from support.victim import EACH, ECHO, SLOW

if TYPE_CHECKING:
    from support.attacked import Attacked

pytestmark = pytest.mark.alone

# gRPC's C core answers attackers in its own way.
HAS_ITS_OWN_WAY = "grpcio"
MANY = 10_000
VERY_MANY = 100_000
# Most of the frame that any receiver must take (RFC 9113, section 4.2).
FRAME_BYTES = 16_384

ECHO_BLOCK = stateless_block(request(ECHO))
EACH_BLOCK = stateless_block(request(EACH))
SLOW_BLOCK = stateless_block(request(SLOW))
MESSAGE = message(b"")
# What either engine lets a connection have open at once.
MOST_STREAMS = 1000


def streams(count: int) -> range:
    """Return the identifiers of a client's first streams."""
    return range(1, 2 * count, 2)


def whole_call(stream: int, block: bytes = SLOW_BLOCK) -> bytes:
    """Return the frames of a call."""
    return headers(stream, block) + data(stream, MESSAGE, end_stream=True)


def literal(name: bytes, value: bytes, pattern: int = 0x10) -> bytes:
    """Return a header field that is not indexed, or with pattern 0x40 one that is (RFC 7541, section 6.2)."""
    return bytes((pattern,)) + integer(len(name), 7) + name + integer(len(value), 7) + value


# Each stream is opened and at once reset: the server's work has begun, the client owes nothing (CVE-2023-44487).
RAPID_RESET = {
    "of whole calls": b"".join(whole_call(stream) + reset(stream) for stream in streams(MANY)),
    "of headers": b"".join(headers(stream, SLOW_BLOCK) + reset(stream) for stream in streams(MANY)),
}
# The client makes the server reset its streams, which counts against nobody's limit (CVE-2025-8671).
MADE_YOU_RESET = {
    "zero increment": b"".join(whole_call(stream) + window_update(stream, 0) for stream in streams(MANY)),
    "window overflow": b"".join(whole_call(stream) + window_update(stream, LARGEST_WINDOW) for stream in streams(MANY)),
    "data after the end": b"".join(whole_call(stream) + data(stream, b"x") for stream in streams(MANY)),
    "headers after the end": b"".join(whole_call(stream) + headers(stream, SLOW_BLOCK) for stream in streams(MANY)),
    "short priority": b"".join(whole_call(stream) + frame(Kind.PRIORITY, 0, stream, b"x") for stream in streams(MANY)),
    "own dependency": b"".join(whole_call(stream) + priority(stream, stream) for stream in streams(MANY)),
}
FLOODS = {
    "SETTINGS": settings({Setting.INITIAL_WINDOW_SIZE: DEFAULT_WINDOW}) * VERY_MANY,
    "empty SETTINGS": settings() * VERY_MANY,
    "SETTINGS acknowledgements": settings(ack=True) * VERY_MANY,
    "PING": ping() * VERY_MANY,
    "PRIORITY": b"".join(priority(stream) for stream in streams(VERY_MANY)),
    "empty DATA": headers(1, EACH_BLOCK) + data(1) * VERY_MANY,
    "WINDOW_UPDATE": window_update(0, 1) * VERY_MANY,
    "WINDOW_UPDATE of a stream": headers(1, EACH_BLOCK) + window_update(1, 1) * VERY_MANY,
    # Each might look at all streams that wait, which none of them helps.
    "WINDOW_UPDATE before closed streams": settings({Setting.INITIAL_WINDOW_SIZE: 0})
    + b"".join(headers(stream, ECHO_BLOCK) + data(stream, MESSAGE, end_stream=True) for stream in streams(900))
    + window_update(0, 1) * VERY_MANY,
    "unknown frames": frame(0xFA, 0, 0) * VERY_MANY,
}
# Every CONTINUATION must be taken until one ends the headers (CVE-2024-27316).
CONTINUATION_FLOODS = {
    "large": headers(1, ECHO_BLOCK, end_headers=False)
    + continuation(1, literal(b"a", b"b" * 16_000)) * (2 * MANY // 10),
    "small": headers(1, ECHO_BLOCK, end_headers=False) + continuation(1, literal(b"a", b"b")) * VERY_MANY,
    "empty": headers(1, ECHO_BLOCK, end_headers=False) + continuation(1, b"") * VERY_MANY,
}


# What belongs to no stream, or to the connection's state (sections 4.3, 6.5.2, 6.9, 6.9.1 and 6.9.2).
WRONG = {
    "window overflow": (window_update(0, LARGEST_WINDOW), Error.FLOW_CONTROL_ERROR),
    "initial window overflow": (settings({Setting.INITIAL_WINDOW_SIZE: LARGEST_WINDOW + 1}), Error.FLOW_CONTROL_ERROR),
    "window overflow by SETTINGS": (
        whole_call(1)
        + window_update(1, LARGEST_WINDOW - DEFAULT_WINDOW)
        + settings({Setting.INITIAL_WINDOW_SIZE: DEFAULT_WINDOW + 1}),
        Error.FLOW_CONTROL_ERROR,
    ),
    "zero increment": (window_update(0, 0), Error.PROTOCOL_ERROR),
    "HPACK index of nothing": (headers(1, integer(2**31, 7, 0x80)), Error.COMPRESSION_ERROR),
    "HPACK integer without end": (headers(1, b"\xff" * 100), Error.COMPRESSION_ERROR),
    "HPACK table of a gigabyte": (headers(1, integer(2**30, 5, 0x20) + ECHO_BLOCK), Error.COMPRESSION_ERROR),
    "reset of nothing": (reset(1), Error.PROTOCOL_ERROR),
    "frame too large": (frame(Kind.DATA, Flag.NONE, 1, bytes(2**20)), Error.FRAME_SIZE_ERROR),
    "interrupted headers": (headers(1, ECHO_BLOCK, end_headers=False) + ping(), Error.PROTOCOL_ERROR),
}
# What is wrong with one stream alone (section 6.9).
WRONG_STREAMS = {
    "window overflow": (whole_call(1) + window_update(1, LARGEST_WINDOW), Error.FLOW_CONTROL_ERROR),
    "zero increment": (whole_call(1) + window_update(1, 0), Error.PROTOCOL_ERROR),
}
# One field of nearly a table's size, then a reference to it in each byte of the block: a thousandfold.
BOMB_FIELD = literal(b"a", b"b" * 3_900, 0x40)
NEWEST = b"\xbe"
INDEXING_BLOCK = ECHO_BLOCK[1:]  # without the giving up of the table
BOMB = headers(1, INDEXING_BLOCK + BOMB_FIELD, end_stream=True) + b"".join(
    headers(stream, INDEXING_BLOCK + NEWEST * (FRAME_BYTES - len(ECHO_BLOCK))) for stream in range(3, 403, 2)
)
HUGE_BLOCK = ECHO_BLOCK + b"".join(literal(b"a%04d" % number, b"b" * 1000) for number in range(30))
HUGE = b"".join(
    headers(stream, HUGE_BLOCK[:FRAME_BYTES], end_headers=False)
    + continuation(stream, HUGE_BLOCK[FRAME_BYTES:], end_headers=True)
    + data(stream, MESSAGE, end_stream=True)
    for stream in streams(300)
)


class TestFloods:
    """Frames that cost the attacker nothing and the server something, without end."""

    @pytest.mark.parametrize("attack", FLOODS.values(), ids=FLOODS.keys())
    async def test_frames(self, victim: Attacked, attack: bytes) -> None:
        """ENHANCE_YOUR_CALM: what is legal in itself may be too much (section 10.5)."""
        async with connected(victim.address) as client:
            await client.flood(attack)
            error = await client.settled()
        victim.assert_unharmed()
        assert victim.engine == HAS_ITS_OWN_WAY or error is Error.ENHANCE_YOUR_CALM

    @pytest.mark.parametrize("attack", RAPID_RESET.values(), ids=RAPID_RESET.keys())
    async def test_rapid_reset(self, victim: Attacked, attack: bytes) -> None:
        """ENHANCE_YOUR_CALM, long before the attack is over."""
        async with connected(victim.address) as client:
            await client.flood(attack)
            error = await client.settled()
        victim.assert_unharmed()
        assert victim.engine == HAS_ITS_OWN_WAY or error is Error.ENHANCE_YOUR_CALM

    @pytest.mark.parametrize("attack", MADE_YOU_RESET.values(), ids=MADE_YOU_RESET.keys())
    async def test_made_you_reset(self, victim: Attacked, attack: bytes) -> None:
        """The connection ends, and never do more calls run at once than streams may be open."""
        async with connected(victim.address) as client:
            await client.flood(attack)
            error = await client.settled()
        victim.assert_unharmed()
        # C core counts a stream that it has reset as closed, and cancels its call a moment later.
        assert (await victim.counts())["most_running"] <= MOST_STREAMS * (
            1.1 if victim.engine == HAS_ITS_OWN_WAY else 1
        )
        assert victim.engine == HAS_ITS_OWN_WAY or error is Error.ENHANCE_YOUR_CALM

    @pytest.mark.parametrize("attack", CONTINUATION_FLOODS.values(), ids=CONTINUATION_FLOODS.keys())
    async def test_continuation(self, victim: Attacked, attack: bytes) -> None:
        """ENHANCE_YOUR_CALM, and what has come is not kept."""
        async with connected(victim.address) as client:
            await client.flood(attack)
            error = await client.settled()
        victim.assert_unharmed()
        assert victim.engine == HAS_ITS_OWN_WAY or error is Error.ENHANCE_YOUR_CALM

    async def test_streams_above_the_limit(self, victim: Attacked) -> None:
        """Those above it are refused, with REFUSED_STREAM while the server has patience (section 5.1.2)."""
        async with connected(victim.address) as client:
            await client.flood(b"".join(whole_call(stream) for stream in streams(MANY)))
            error = await client.settled()
        victim.assert_unharmed()
        # C core counts a stream that it has reset as closed, and cancels its call a moment later.
        assert (await victim.counts())["most_running"] <= MOST_STREAMS * (
            1.1 if victim.engine == HAS_ITS_OWN_WAY else 1
        )
        refused = client.resets[Error.REFUSED_STREAM]
        assert victim.engine == HAS_ITS_OWN_WAY or error is Error.ENHANCE_YOUR_CALM or refused == MANY - MOST_STREAMS


class TestWrongFrames:
    """Frames that no client may send."""

    @pytest.mark.parametrize(("attack", "expected"), WRONG.values(), ids=WRONG.keys())
    async def test_the_connection_ends(self, victim: Attacked, attack: bytes, expected: Error) -> None:
        """With the error that RFC 9113 names."""
        async with connected(victim.address) as client:
            await client.flood(attack)
            error = await client.settled()
        victim.assert_unharmed()
        assert victim.engine == HAS_ITS_OWN_WAY or expected is error

    @pytest.mark.parametrize(("attack", "expected"), WRONG_STREAMS.values(), ids=WRONG_STREAMS.keys())
    async def test_the_stream_ends(self, victim: Attacked, attack: bytes, expected: Error) -> None:
        """With the error that RFC 9113 names; the connection and its other streams go on."""
        async with connected(victim.address) as client:
            await client.flood(attack)
            await client.settled()
            if victim.engine != HAS_ITS_OWN_WAY:
                client.write(whole_call(3, ECHO_BLOCK))
                assert "0" == (await client.answered(3))["grpc-status"]
                assert {expected: 1} == client.resets
        victim.assert_unharmed()


class TestHeaders:
    """Little on the wire, much in memory."""

    async def test_hpack_bomb(self, victim: Attacked) -> None:
        """No call is made of it: each is refused, or the connection ends.

        C core decodes all of it to the end, more than a second's work for which everybody waits, and keeps the fields
        of one block until then.
        """
        async with connected(victim.address, acknowledge=False) as client:
            await client.flood(BOMB)
            await client.settled()
            answered = {trailers.get("grpc-status") for stream, trailers in client.trailers.items() if stream > 1}
        if victim.engine == HAS_ITS_OWN_WAY:
            victim.assert_unharmed(in_time=False, most_bytes=4 * MOST_GROWTH_BYTES)
        else:
            victim.assert_unharmed()
        assert "0" not in answered

    async def test_huge_header_lists(self, victim: Attacked) -> None:
        """No call is made of it: each is refused, or the connection ends."""
        async with connected(victim.address) as client:
            await client.flood(HUGE)
            await client.settled()
            answered = {trailers.get("grpc-status") for trailers in client.trailers.values()}
        victim.assert_unharmed()
        assert "0" not in answered

    async def test_a_path_that_is_no_text(self, victim: Attacked) -> None:
        """It harms nobody else. grpcio's server ends of it, and everybody's calls with it; it is started again."""
        async with connected(victim.address) as client:
            client.write(whole_call(1, ECHO_BLOCK.replace(b"Echo", b"Ech\xff")))
            await client.settled()
        if victim.engine == HAS_ITS_OWN_WAY:
            await victim.comes_back()
        victim.assert_unharmed()

    @pytest.mark.parametrize("spoilt", [literal(b"\xff", b"a"), literal(b"a", b"\xff")], ids=["name", "value"])
    async def test_fields_that_are_no_text(self, victim: Attacked, spoilt: bytes) -> None:
        """They harm nobody else."""
        async with connected(victim.address) as client:
            client.write(whole_call(1, ECHO_BLOCK + spoilt))
            await client.settled()
        victim.assert_unharmed()
