"""F15: callers who hold on to what they have, and do nothing with it.

None of them breaks a rule quickly, so nothing ends them before their deadlines or the server's own patience do; what
must hold is that they cost so little that an honest caller does not notice. (A server on grpcio with
`maximum_concurrent_rpcs` counts calls whose message has not come, and two of them block it; the sidecar's engine does
not use it.)
"""

from __future__ import annotations

import asyncio
import gzip
import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from support.attacked import MOST_GROWTH_BYTES
from support.raw_http2 import (
    PREFACE,
    RawClient,
    Setting,
    connected,
    continuation,
    data,
    frame,
    headers,
    message,
    request,
    settings,
    stateless_block,
    window_update,
)
from support.victim import COUNTS, EACH, ECHO, FLOW, LARGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.attacked import Attacked

pytestmark = pytest.mark.alone

GRPCIO = "grpcio"
THOUSAND = 1000
# While they are held, an honest caller makes a hundred calls.
HELD_SECONDS = 1.0
ECHO_BLOCK = stateless_block(request(ECHO))
EACH_BLOCK = stateless_block(request(EACH))


async def connect_many(stack: AsyncExitStack, address: str, count: int) -> list[RawClient]:
    """Open connections, a hundred at a time, so that the listening socket's queue does not overflow."""
    clients: list[RawClient] = []
    while len(clients) < count:
        clients += await asyncio.gather(*(stack.enter_async_context(connected(address)) for _ in range(100)))
    return clients


async def dribble(clients: Iterable[RawClient], sent: bytes, pieces: int = 20) -> None:
    """Send the beginning of something to all, one byte after the other."""
    for position in range(pieces):
        for client in clients:
            client.write(sent[position : position + 1])
        await asyncio.sleep(HELD_SECONDS / pieces)


class TestIdle:
    """Connections without calls."""

    async def test_a_thousand_connections(self, victim: Attacked) -> None:
        """They are kept, and each can be used."""
        async with AsyncExitStack() as stack:
            clients = await connect_many(stack, victim.address, THOUSAND)
            await asyncio.sleep(HELD_SECONDS)
            answers = [await client.answered(client.call(ECHO)) for client in clients[::100]]
            victim.assert_unharmed()
        assert {"0"} == {trailers["grpc-status"] for trailers in answers}

    async def test_a_thousand_connections_without_a_word(self, victim: Attacked) -> None:
        """Not even the preface is sent."""
        host, _, port = victim.address.rpartition(":")
        writers: list[asyncio.StreamWriter] = []
        while len(writers) < THOUSAND:
            opened = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(100)))
            writers += [writer for _, writer in opened]
        await asyncio.sleep(HELD_SECONDS)
        victim.assert_unharmed()
        for writer in writers:
            writer.transport.abort()


class TestUnfinished:
    """Calls that never come to their end."""

    async def test_half_closed_without_a_message(self, victim: Attacked) -> None:
        """Each ends at once with an error of its own, but on grpcio, which waits for ever; none is entered."""
        async with connected(victim.address) as client:
            streams = [client.new_stream() for _ in range(100)]
            client.write(*(headers(stream, ECHO_BLOCK, end_stream=True) for stream in streams))
            await asyncio.sleep(HELD_SECONDS)
            statuses = [trailers["grpc-status"] for trailers in client.trailers.values()]
        victim.assert_unharmed()
        assert "0" not in statuses
        assert victim.engine == GRPCIO or len(streams) == len(statuses)

    async def test_streams_without_a_message(self, victim: Attacked) -> None:
        """As many as may be open wait for a message that never comes."""
        async with connected(victim.address) as client:
            client.write(*(headers(client.new_stream(), ECHO_BLOCK) for _ in range(THOUSAND)))
            await asyncio.sleep(HELD_SECONDS)
            victim.assert_unharmed()

    async def test_messages_never_finished(self, victim: Attacked) -> None:
        """Each stream sends its message byte by byte, and not the last."""
        async with connected(victim.address) as client:
            streams = [client.new_stream() for _ in range(200)]
            client.write(*(headers(stream, ECHO_BLOCK) for stream in streams))
            sent = message(b"x" * 1000)
            for position in range(20):
                client.write(*(data(stream, sent[position : position + 1]) for stream in streams))
                await asyncio.sleep(HELD_SECONDS / 20)
            victim.assert_unharmed()

    async def test_large_messages_never_finished(self, victim: Attacked) -> None:
        """An announced message takes no memory before it comes: each of 200 says that it is as large as may be."""
        async with connected(victim.address) as client:
            streams = [client.new_stream() for _ in range(200)]
            begun = b"\0" + (8 * 1024 * 1024 - 1).to_bytes(4, "big")
            client.write(*(headers(stream, ECHO_BLOCK) + data(stream, begun + b"x" * 200) for stream in streams))
            await asyncio.sleep(HELD_SECONDS)
            victim.assert_unharmed()

    async def test_much_of_many_messages(self, victim: Attacked) -> None:
        """Each of a thousand streams sends 64 KiB of a larger message, which is bounded; on grpcio by that alone."""
        part = b"x" * 16_000
        async with connected(victim.address) as client:
            streams = [client.new_stream() for _ in range(THOUSAND)]
            begun = b"\0" + (1_000_000).to_bytes(4, "big")
            client.write(*(headers(stream, ECHO_BLOCK) + data(stream, begun) for stream in streams))
            client.window -= len(begun) * THOUSAND
            for stream in streams * 4:
                # A server that has enough gives no more window, or ends the streams or the connection.
                if client.closed or not await client.until(lambda: client.window >= len(part) or client.failed, 1.0):
                    break
                client.write(data(stream, part))
                client.window -= len(part)
            await client.settled()
            if victim.engine == GRPCIO:
                victim.assert_unharmed(most_bytes=4 * MOST_GROWTH_BYTES)
            else:
                victim.assert_unharmed()

    async def test_prefaces_and_headers_dribbled(self, victim: Attacked) -> None:
        """Connections whose preface, or whose first headers, come byte by byte."""
        host, _, port = victim.address.rpartition(":")
        async with AsyncExitStack() as stack:
            begun = await connect_many(stack, victim.address, 200)
            silent = []
            for _ in range(200):
                client = RawClient(*await asyncio.open_connection(host, int(port)))
                stack.push_async_callback(client.close)
                silent.append(client)
            await asyncio.gather(
                dribble(silent, PREFACE + settings()), dribble(begun, headers(1, ECHO_BLOCK, end_stream=True))
            )
            victim.assert_unharmed()

    async def test_header_blocks_never_finished(self, victim: Attacked) -> None:
        """Connections that each owe the last CONTINUATION."""
        async with AsyncExitStack() as stack:
            clients = await connect_many(stack, victim.address, 200)
            for client in clients:
                client.write(headers(1, ECHO_BLOCK, end_headers=False), continuation(1, b"\x10\x01a"))
            await asyncio.sleep(HELD_SECONDS)
            victim.assert_unharmed()


class TestBombs:
    """Little on the wire, much to hold."""

    async def test_gzip(self, victim: Attacked) -> None:
        """Thirty messages of 8 KB that are 8 MB each in the clear: one at a time is held, on grpcio all that have come.

        They take their time, though, on either engine, and others wait for it: `limits.max_message_bytes` bounds it.
        """
        count, size = 30, 8_000_000
        bomb = gzip.compress(bytes(size))
        async with connected(victim.address) as client:
            for _ in range(count):
                stream = client.new_stream()
                block = client.encoder.encode(request(COUNTS, [("grpc-encoding", "gzip")]))
                sent = b"\x01" + len(bomb).to_bytes(4, "big") + bomb
                client.write(headers(stream, block), data(stream, sent, end_stream=True))
            await client.settled()
            held = count * size if victim.engine == GRPCIO else 0
            victim.assert_unharmed(in_time=False, most_bytes=MOST_GROWTH_BYTES + held)


class TestSlowReaders:
    """Callers who ask for much and take little."""

    async def test_a_window_that_never_opens(self, victim: Attacked) -> None:
        """Endpoints that stream wait with their next message; memory is bounded."""
        async with connected(victim.address, {Setting.INITIAL_WINDOW_SIZE: 0}) as client:
            for _ in range(100):
                client.call(FLOW)
            await asyncio.sleep(HELD_SECONDS)
            flowed = (await victim.counts())["flowed"]
            await asyncio.sleep(HELD_SECONDS / 4)
            victim.assert_unharmed()
            assert flowed == (await victim.counts())["flowed"]

    async def test_a_socket_that_is_not_read(self, victim: Attacked) -> None:
        """The windows are open, but the client takes nothing from its socket: endpoints wait in the same way."""
        async with connected(victim.address, {Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}, hearing=False) as client:
            client.write(frame(8, 0, 0, (2**31 - 2**16).to_bytes(4, "big")))
            for _ in range(100):
                client.call(FLOW)
            await asyncio.sleep(HELD_SECONDS)
            flowed = (await victim.counts())["flowed"]
            await asyncio.sleep(HELD_SECONDS / 4)
            victim.assert_unharmed()
            assert flowed == (await victim.counts())["flowed"]

    async def test_a_large_answer_drawn_in_small_pieces(self, victim: Attacked) -> None:
        """A piece costs what is sent, and not what is left: 8 MB are drawn by 300 bytes at a time."""
        async with connected(victim.address, {Setting.INITIAL_WINDOW_SIZE: 0}) as client:
            streams = [client.call(LARGE, b"8000000") for _ in range(3)]
            for _ in range(100):
                client.write(*(window_update(stream, 300) for stream in streams * 20))
                await asyncio.sleep(HELD_SECONDS / 100)
            victim.assert_unharmed()

    async def test_empty_messages_for_an_endpoint_that_waits(self, victim: Attacked) -> None:
        """Messages of no bytes, of which an endpoint takes none, are held back as others are: 25 MB are sent."""
        async with connected(victim.address, {Setting.INITIAL_WINDOW_SIZE: 0}) as client:
            stream = client.new_stream()
            client.write(headers(stream, EACH_BLOCK))
            part = message(b"") * 3_200
            for _ in range(1600):
                if not await client.until(lambda: client.window >= len(part), 0.5):
                    break
                client.write(data(stream, part))
                client.window -= len(part)
            await client.settled()
            victim.assert_unharmed()

    async def test_large_answers_that_are_never_taken(self, victim: Attacked) -> None:
        """Answers that exist already are bounded too: 400 MB are asked for. C core keeps all of them."""
        async with connected(victim.address, {Setting.INITIAL_WINDOW_SIZE: 0}) as client:
            for _ in range(400):
                client.call(LARGE, b"1000000")
            await asyncio.sleep(HELD_SECONDS)
            if victim.engine == GRPCIO:
                victim.assert_unharmed(in_time=False, most_bytes=math.inf)
            else:
                victim.assert_unharmed()
