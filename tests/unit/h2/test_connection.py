"""A server's side of HTTP/2, by the rules of RFC 9113: what comes in, and how it ends when it breaks one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.h2_client import HEAD, REQUEST, TRAILERS, Client, Frame, data

from sidecar.server.h2 import frames
from sidecar.server.h2.events import (
    ConnectionFailed,
    DataReceived,
    PingAcknowledged,
    RequestReceived,
    StreamDrained,
    StreamReset,
)

HEADERS_FLAGS = frames.END_HEADERS
PING = frames.frame(frames.PING, 0, 0, b"12345678")


def with_field(*field: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the usual request with further fields."""
    return (*REQUEST, *field)


def without(name: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the usual request without a field."""
    return tuple(field for field in REQUEST if field[0] != name)


class TestGreeting:
    """The beginning (section 3.4)."""

    def test_the_server_speaks_first(self) -> None:
        """SETTINGS, with an empty table for headers, and a wider window."""
        settings, window = Client(greets=False).greeting
        assert (frames.SETTINGS, b"\0\x01\0\0\0\0") == (settings.kind, settings.payload[:6])
        assert frames.WINDOW_UPDATE == window.kind

    @given(cut=st.integers(1, 40))
    def test_the_preface_may_come_in_parts(self, cut: int) -> None:
        """Wherever it is cut."""
        client = Client(greets=False)
        greeting = frames.PREFACE + frames.settings([]) + PING
        client.send(greeting[:cut])
        client.send(greeting[cut:])
        assert [frames.SETTINGS, frames.PING] == client.kinds()

    @pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\x16\x03\x01"])
    def test_anything_else_ends_it(self, said: bytes) -> None:
        """As early as it can be told."""
        client = Client(greets=False)
        (event,) = client.send(said)
        assert isinstance(event, ConnectionFailed)
        assert frames.PROTOCOL_ERROR == client.goaway_code()

    @pytest.mark.parametrize("first", [PING, frames.SETTINGS_ACK, frames.window_update(0, 1)])
    def test_settings_come_first(self, first: bytes) -> None:
        """And no acknowledgement of ours counts for them."""
        client = Client(greets=False)
        client.send(frames.PREFACE + first)
        assert frames.PROTOCOL_ERROR == client.goaway_code()

    def test_nothing_is_read_after_a_fault(self) -> None:
        """The connection is over."""
        client = Client(greets=False)
        client.send(b"GET")
        assert [] == client.send(frames.PREFACE)


class TestRequests:
    """Headers, data, trailers."""

    def test_a_request_arrives(self) -> None:
        """With its path and its end."""
        client = Client()
        events = client.send(client.headers(1) + data(1, b"hello", frames.END_STREAM))
        request, body = events
        assert isinstance(request, RequestReceived)
        assert isinstance(body, DataReceived)
        assert (b"/test.Service/Method", False) == (request.head.path, request.ended)
        assert (b"hello", 5, True) == (body.data, body.weight, body.ended)

    @given(cuts=st.lists(st.integers(0, 200), max_size=5))
    def test_it_does_not_matter_how_the_bytes_are_cut(self, cuts: list[int]) -> None:
        """Frames are put together again."""
        client = Client()
        whole = client.headers(1) + data(1, b"x" * 50) + data(1, b"y", frames.END_STREAM)
        edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
        events = [event for start, end in pairwise(edges) for event in client.send(whole[start:end])]
        assert [RequestReceived, DataReceived, DataReceived] == [type(event) for event in events]

    def test_a_header_block_may_be_continued(self) -> None:
        """In CONTINUATION frames (section 6.10)."""
        client = Client()
        block = client.encoder.encode(REQUEST)
        client.send(frames.frame(frames.HEADERS, frames.END_STREAM, 1, block[:5]))
        client.send(frames.frame(frames.CONTINUATION, 0, 1, block[5:9]))
        (event,) = client.send(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:]))
        assert isinstance(event, RequestReceived)
        assert event.ended

    def test_padding_is_taken_away_but_counts(self) -> None:
        """Of headers and data (sections 6.1 and 6.2)."""
        client = Client()
        block = client.encoder.encode(REQUEST)
        padded = frames.frame(frames.HEADERS, HEADERS_FLAGS | frames.PADDED, 1, b"\x03" + block + b"\0\0\0")
        _, body = client.send(padded + data(1, b"\x02ab\0\0", frames.PADDED))
        assert isinstance(body, DataReceived)
        assert (b"ab", 5) == (body.data, body.weight)

    def test_flags_that_mean_nothing_are_ignored(self) -> None:
        """Section 4.1: of DATA's, all but two."""
        client = Client()
        _, body = client.send(client.headers(1) + data(1, b"\0abc", 0xFF))
        assert isinstance(body, DataReceived)
        assert (b"abc", True) == (body.data, body.ended)

    def test_trailers_end_it(self) -> None:
        """Though gRPC's clients send none."""
        client = Client()
        client.open()
        (event,) = client.send(client.headers(1, ((b"x", b"y"),), frames.END_STREAM))
        assert isinstance(event, DataReceived)
        assert (b"", True) == (event.data, event.ended)

    def test_priority_is_ignored(self) -> None:
        """Wherever it stands (section 5.3)."""
        client = Client()
        block = b"\0\0\0\0\x10" + client.encoder.encode(REQUEST)
        events = client.send(
            frames.frame(frames.PRIORITY, 0, 7, b"\0\0\0\0\x10")
            + frames.frame(frames.HEADERS, HEADERS_FLAGS | frames.HAS_PRIORITY, 1, block)
        )
        assert [RequestReceived] == [type(event) for event in events]

    def test_an_unknown_frame_is_ignored(self) -> None:
        """As section 5.5 demands."""
        client = Client()
        assert [] == client.send(frames.frame(0xFA, 0xFF, 3, b"whatever"))
        assert [] == client.sent()


class TestMalformedRequests:
    """Section 8.1.1: a stream error of type PROTOCOL_ERROR, and the connection goes on."""

    @pytest.mark.parametrize(
        "fields",
        [
            with_field((b"Upper", b"x")),
            with_field((b"connection", b"close")),
            with_field((b"te", b"gzip")),
            with_field((b":path", b"/late")),
            with_field((b"x y", b"z")),
            with_field((b"x", b"a\nb")),
            with_field((b"x", b" a")),
            with_field((b"x-bin", b"!")),
            with_field((b"content-length", b"1x")),
            with_field((b"content-length", b"1" * 5000)),
            (*REQUEST[:3], (b":path", b"/again"), *REQUEST[3:]),
            ((b":status", b"200"), *REQUEST),
            ((b":unknown", b"x"), *REQUEST),
            ((b":path", b""), *without(b":path")),
            without(b":method"),
            without(b":scheme"),
            without(b":path"),
        ],
        ids=lambda fields: repr(fields[-1] if fields[:1] == REQUEST[:1] else fields[0]),
    )
    def test_it_is_reset(self, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        """Whatever is wrong with its headers."""
        client = Client()
        assert [] == client.send(client.headers(1, fields))
        assert frames.PROTOCOL_ERROR == client.reset_code()
        assert 3 == client.open(3).id

    @pytest.mark.parametrize("body", [[b"1234"], [b"123456"], [b"123", b"456"], []])
    def test_a_body_of_another_length_than_it_said(self, body: list[bytes]) -> None:
        """Content-length is held against the data."""
        client = Client()
        stream = client.open(1, with_field((b"content-length", b"5")))
        for part in body:
            client.send(data(stream.id, part))
        client.send(data(stream.id, b"", frames.END_STREAM))
        assert frames.PROTOCOL_ERROR == client.reset_code()

    def test_a_body_of_the_length_that_it_said(self) -> None:
        """Is fine."""
        client = Client()
        client.open(1, with_field((b"content-length", b"5")))
        client.send(data(1, b"123") + data(1, b"45", frames.END_STREAM))
        assert [] == client.sent()

    @pytest.mark.parametrize("flags", [0, frames.END_STREAM])
    def test_trailers_that_do_not_end_it_or_have_pseudo_fields(self, flags: int) -> None:
        """Section 8.1."""
        client = Client()
        client.open()
        (event,) = client.send(client.headers(1, REQUEST, flags))
        assert isinstance(event, StreamReset)
        assert frames.PROTOCOL_ERROR == client.reset_code()


class TestConnectionFaults:
    """What ends the connection, and with which code."""

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (frames.frame(frames.HEADERS, HEADERS_FLAGS, 0, b""), frames.PROTOCOL_ERROR),
            (frames.frame(frames.HEADERS, HEADERS_FLAGS, 2, b""), frames.PROTOCOL_ERROR),
            (frames.frame(frames.HEADERS, HEADERS_FLAGS | frames.PADDED, 1, b""), frames.FRAME_SIZE_ERROR),
            (frames.frame(frames.HEADERS, HEADERS_FLAGS | frames.PADDED, 1, b"\x05ab"), frames.PROTOCOL_ERROR),
            (frames.frame(frames.HEADERS, HEADERS_FLAGS | frames.HAS_PRIORITY, 1, b"ab"), frames.FRAME_SIZE_ERROR),
            (frames.frame(frames.HEADERS, HEADERS_FLAGS, 1, b"\xff\xff\xff\xff\x0f"), frames.COMPRESSION_ERROR),
            (frames.frame(frames.HEADERS, HEADERS_FLAGS, 1, b"\x00\x85\xff\xff\xff\xff\xff"), frames.COMPRESSION_ERROR),
            (data(0, b"x"), frames.PROTOCOL_ERROR),
            (data(1, b"x"), frames.PROTOCOL_ERROR),
            (data(2, b"x"), frames.PROTOCOL_ERROR),
            (frames.rst_stream(0, 0), frames.PROTOCOL_ERROR),
            (frames.rst_stream(1, 0), frames.PROTOCOL_ERROR),
            (frames.frame(frames.RST_STREAM, 0, 1, b"abc"), frames.FRAME_SIZE_ERROR),
            (frames.frame(frames.PRIORITY, 0, 0, b"12345"), frames.PROTOCOL_ERROR),
            (frames.frame(frames.SETTINGS, 0, 1, b""), frames.PROTOCOL_ERROR),
            (frames.frame(frames.SETTINGS, 0, 0, b"12345"), frames.FRAME_SIZE_ERROR),
            (frames.frame(frames.SETTINGS, frames.ACK, 0, b"123456"), frames.FRAME_SIZE_ERROR),
            (frames.settings([(frames.SETTINGS_ENABLE_PUSH, 2)]), frames.PROTOCOL_ERROR),
            (frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 2**31)]), frames.FLOW_CONTROL_ERROR),
            (frames.settings([(frames.SETTINGS_MAX_FRAME_SIZE, 16_383)]), frames.PROTOCOL_ERROR),
            (frames.settings([(frames.SETTINGS_MAX_FRAME_SIZE, 2**24)]), frames.PROTOCOL_ERROR),
            (frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, b"\0\0\0\x02"), frames.PROTOCOL_ERROR),
            (frames.frame(frames.PING, 0, 1, b"12345678"), frames.PROTOCOL_ERROR),
            (frames.frame(frames.PING, 0, 0, b"1234567"), frames.FRAME_SIZE_ERROR),
            (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
            (frames.frame(frames.GOAWAY, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
            (frames.window_update(0, 0), frames.PROTOCOL_ERROR),
            (frames.window_update(0, 2**31 - 1), frames.FLOW_CONTROL_ERROR),
            (frames.window_update(1, 1), frames.PROTOCOL_ERROR),
            (frames.frame(frames.WINDOW_UPDATE, 0, 0, b"abc"), frames.FRAME_SIZE_ERROR),
            (frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""), frames.PROTOCOL_ERROR),
            (b"\x00\x40\x01" + bytes(6), frames.FRAME_SIZE_ERROR),
        ],
    )
    def test_it_ends_with_its_code(self, sent: bytes, code: int) -> None:
        """On a connection that has done nothing else."""
        client = Client()
        events = client.send(sent)
        assert isinstance(events[-1], ConnectionFailed)
        assert (code, code) == (events[-1].code, client.goaway_code())

    def test_it_tells_nothing_of_what_was_sent(self) -> None:
        """Behind what is broken there may be a secret; the message goes to the log too."""
        client = Client()
        block = b"\x7f" + b"\xff" * 12 + b"authorization: Bearer secret" * 100
        (event,) = client.send(frames.frame(frames.HEADERS, HEADERS_FLAGS, 1, block))
        (farewell,) = client.sent()
        assert isinstance(event, ConnectionFailed)
        assert (False, False) == ("secret" in event.message, b"secret" in farewell.payload)

    def test_a_header_block_that_is_interrupted(self) -> None:
        """Nothing may come between its frames (section 6.10)."""
        client = Client()
        client.send(frames.frame(frames.HEADERS, 0, 1, b"\x83") + PING)
        assert frames.PROTOCOL_ERROR == client.goaway_code()

    @pytest.mark.parametrize("sent", [data(1, b"x"), frames.frame(frames.HEADERS, HEADERS_FLAGS, 1, b"\x83")])
    def test_what_comes_on_a_stream_that_both_have_ended(self, sent: bytes) -> None:
        """STREAM_CLOSED (section 5.1)."""
        client = Client()
        stream = client.open(1, flags=frames.END_STREAM)
        client.connection.sender.send_all(stream, HEAD, b"", TRAILERS)
        client.send(sent)
        assert frames.STREAM_CLOSED == client.goaway_code()

    @pytest.mark.parametrize("sent", [frames.window_update(1, 5), frames.rst_stream(1, 8)])
    def test_what_may_still_come_on_it(self, sent: bytes) -> None:
        """The client may not have seen the end yet (section 5.1)."""
        client = Client()
        client.connection.sender.send_all(client.open(1, flags=frames.END_STREAM), HEAD, b"", TRAILERS)
        assert [] == client.send(sent)
        assert client.goaway_code() is None


class TestStreamFaults:
    """What ends one stream, and not the connection."""

    def test_data_after_the_clients_end(self) -> None:
        """STREAM_CLOSED (section 5.1, "half-closed (remote)")."""
        client = Client()
        client.open(1, flags=frames.END_STREAM)
        (event,) = client.send(data(1, b"x"))
        assert isinstance(event, StreamReset)
        assert frames.STREAM_CLOSED == client.reset_code()

    def test_a_window_that_grows_by_nothing(self) -> None:
        """PROTOCOL_ERROR (section 6.9)."""
        client = Client()
        client.open()
        client.send(frames.window_update(1, 0))
        assert frames.PROTOCOL_ERROR == client.reset_code()

    def test_a_window_that_grows_too_large(self) -> None:
        """FLOW_CONTROL_ERROR (section 6.9.1)."""
        client = Client()
        client.open()
        client.send(frames.window_update(1, 2**31 - 1))
        assert frames.FLOW_CONTROL_ERROR == client.reset_code()

    def test_more_streams_than_allowed_are_refused(self) -> None:
        """REFUSED_STREAM, which a client may repeat (section 5.1.2)."""
        client = Client(max_streams=1)
        client.open()
        assert [] == client.send(client.headers(3))
        assert frames.REFUSED_STREAM == client.reset_code()

    @pytest.mark.parametrize("payload", [b"\0\0\0\x01\x10", b"\0\0"])
    def test_a_priority_that_makes_no_sense(self, payload: bytes) -> None:
        """On itself, or of another length."""
        client = Client()
        client.send(frames.frame(frames.PRIORITY, 0, 1, payload))
        assert client.reset_code() in {frames.PROTOCOL_ERROR, frames.FRAME_SIZE_ERROR}

    def test_what_was_sent_before_the_client_knew_is_ignored(self) -> None:
        """Data and trailers may still be on their way."""
        client = Client()
        stream = client.open()
        client.connection.sender.reset(stream, frames.CANCEL)
        client.sent()
        assert [] == client.send(data(1, b"x") + client.headers(1, ((b"x", b"y"),), frames.END_STREAM))
        assert [] == client.sent()


class TestWindows:
    """Flow control (section 5.2)."""

    def test_the_connections_window_is_given_back_as_data_is_read(self) -> None:
        """Before it is used up."""
        client = Client()
        streams = [client.open(number) for number in range(1, 33, 2)]
        for stream in streams:
            for _ in range(16):
                client.send(data(stream.id, bytes(16_000)))
        given = sum(frame.number for frame in client.sent() if frame.kind == frames.WINDOW_UPDATE)
        assert given >= 16 * 16 * 16_000 - 2 * 1024 * 1024

    def test_a_streams_window_is_given_back_when_its_data_is_dealt_with(self) -> None:
        """Not before."""
        client = Client()
        stream = client.open()
        for _ in range(10):
            client.send(data(1, bytes(16_000)))
        before = client.kinds()
        client.connection.credit(stream, 160_000)
        assert ([], [Frame(frames.WINDOW_UPDATE, 0, 1, (160_000).to_bytes(4, "big"))]) == (before, client.sent())

    def test_a_client_that_oversteps_a_streams_window_is_reset(self) -> None:
        """FLOW_CONTROL_ERROR (section 6.9.1)."""
        client = Client()
        client.open()
        for _ in range(17):
            client.send(data(1, bytes(16_000)))
        assert frames.FLOW_CONTROL_ERROR == client.reset_code()

    def test_a_response_waits_for_its_window(self) -> None:
        """And goes on, in order, as it opens; the trailers come last."""
        client = Client(greets=False)
        client.send(frames.PREFACE + frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 3)]))
        client.sent()
        stream = client.open(1, flags=frames.END_STREAM)
        client.connection.sender.send_all(stream, HEAD, b"0123456789", TRAILERS)
        first = client.sent()
        events = client.send(frames.window_update(1, 4))
        second = client.sent()
        (drained,) = client.send(frames.window_update(1, 100))
        third = client.sent()
        assert [b"\x88", b"012"] == [frame.payload for frame in first]
        assert ([], [b"3456"]) == (events, [frame.payload for frame in second])
        assert [b"789", TRAILERS.block] == [frame.payload for frame in third]
        assert isinstance(drained, StreamDrained)

    def test_a_window_may_become_negative(self) -> None:
        """By SETTINGS (section 6.9.2)."""
        client = Client()
        stream = client.open(1, flags=frames.END_STREAM)
        client.connection.sender.send_data(stream, b"x" * 100)
        client.send(frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 50)]))
        client.connection.sender.send_data(stream, b"y" * 10)
        client.sent()
        client.send(frames.window_update(1, 50))
        assert [] == client.sent()
        client.send(frames.window_update(1, 10))
        assert [b"y" * 10] == [frame.payload for frame in client.sent()]

    def test_streams_that_wait_for_the_connections_window_take_turns(self) -> None:
        """None starves."""
        client = Client()
        streams = [client.open(number, flags=frames.END_STREAM) for number in (1, 3, 5)]
        for stream in streams:
            for _ in range(4):
                client.connection.sender.send_data(stream, bytes(20_000))
        client.sent()
        client.send(b"".join(frames.window_update(stream.id, 100_000) for stream in streams))
        served = []
        for _ in range(6):
            client.send(frames.window_update(0, 16_384))
            served += [frame.stream_id for frame in client.sent()]
        assert {1, 3, 5} == set(served[:4])

    def test_what_waits_for_its_own_window_is_left_alone(self) -> None:
        """A connection's window that opens concerns none of the streams that could not send anyway."""
        client = Client(greets=False)
        client.send(frames.PREFACE + frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 0)]))
        sender = client.connection.sender
        for number in range(1, 100, 2):
            sender.send_data(client.open(number, flags=frames.END_STREAM), b"waits")
        assert {} == sender._blocked

    def test_settings_that_open_windows_go_on_with_what_waits(self) -> None:
        """Section 6.9.2: the windows of all streams have grown."""
        client = Client(greets=False)
        client.send(frames.PREFACE + frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 0)]))
        stream = client.open(1, flags=frames.END_STREAM)
        client.connection.sender.send_data(stream, b"waits")
        (event,) = client.send(frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 10)]))
        assert isinstance(event, StreamDrained)
        assert stream is event.stream

    def test_what_waits_of_a_large_message_is_let_go_as_it_leaves(self) -> None:
        """It is cut once, and not copied anew for each frame."""
        client = Client(max_unsent_bytes=10_000_000)
        stream = client.open()
        client.connection.sender.send_data(stream, bytes(8_000_000))
        assert stream.outbox is not None
        assert max(map(len, stream.outbox)) <= frames.MAX_FRAME_BYTES
        assert client.connection.sender.unsent_bytes == sum(map(len, stream.outbox))

    def test_what_may_wait_is_bounded(self) -> None:
        """A stream that would hold more is reset."""
        client = Client(max_unsent_bytes=100_000)
        stream = client.open(1, flags=frames.END_STREAM)
        for _ in range(20):
            client.connection.sender.send_data(stream, bytes(16_000))
        assert frames.ENHANCE_YOUR_CALM == client.reset_code()
        assert 0 == client.connection.sender.unsent_bytes

    @given(
        sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=6),
        updates=st.lists(st.tuples(st.booleans(), st.integers(1, 30_000)), max_size=30),
    )
    def test_no_window_is_overstepped_and_nothing_is_lost(
        self, sizes: list[int], updates: list[tuple[bool, int]]
    ) -> None:
        """Whatever is sent, and however the client opens its windows."""
        client = Client(max_unsent_bytes=10_000_000)
        streams = [client.open(2 * number + 1, flags=frames.END_STREAM) for number in range(len(sizes))]
        room = {0: 65_535, **{stream.id: 65_535 for stream in streams}}
        got = dict.fromkeys(room, 0)

        def take() -> None:
            for frame in client.sent():
                if frame.kind == frames.DATA:
                    got[frame.stream_id] += len(frame.payload)
                    for where in (0, frame.stream_id):
                        room[where] -= len(frame.payload)
                        assert room[where] >= 0

        for stream, size in zip(streams, sizes, strict=True):
            client.connection.sender.send_all(stream, HEAD, bytes(size), TRAILERS)
            take()
        everyone = [0, *(stream.id for stream in streams)]
        for number, (on_connection, size) in enumerate(updates):
            where = 0 if on_connection else everyone[1 + number % len(streams)]
            room[where] += size
            client.now += 1
            client.send(frames.window_update(where, size))
            take()
        for where in everyone:
            room[where] += 1_000_000
            client.send(frames.window_update(where, 1_000_000))
            take()
        assert sizes == [got[stream.id] for stream in streams]
        assert {} == client.connection.streams


class TestDraining:
    """The end that is announced (section 6.8)."""

    def test_it_takes_two_steps(self) -> None:
        """First a GOAWAY that excludes nothing, then, once the client has heard it, the one that counts."""
        client = Client()
        client.connection.begin_drain()
        goaway, ping = client.sent()
        client.open(1)
        (event,) = client.send(frames.frame(frames.PING, frames.ACK, 0, ping.payload))
        client.connection.end_drain()
        (final,) = client.sent()
        assert isinstance(event, PingAcknowledged)
        assert ((2**31 - 1).to_bytes(4, "big"), (1).to_bytes(4, "big")) == (goaway.payload[:4], final.payload[:4])

    def test_a_fault_after_it_names_no_later_stream(self) -> None:
        """What a GOAWAY excluded stays excluded (section 6.8)."""
        client = Client()
        client.open(1)
        client.connection.end_drain()
        client.send(client.headers(3))
        client.sent()
        client.send(data(0, b"x"))
        (farewell,) = client.sent()
        assert 1 == int.from_bytes(farewell.payload[:4], "big")

    def test_later_streams_are_ignored(self) -> None:
        """Their client was told that nobody serves them."""
        client = Client()
        client.open(1)
        client.connection.end_drain()
        assert [] == client.send(client.headers(3) + data(3, b"x"))

    def test_a_server_that_ends_first_says_so(self) -> None:
        """RST_STREAM with NO_ERROR after a complete response (section 8.1)."""
        client = Client()
        client.connection.sender.send_all(client.open(), HEAD, b"", TRAILERS)
        assert frames.NO_ERROR == client.reset_code()


class TestGuard:
    """What may be done only so often; then ENHANCE_YOUR_CALM."""

    def flood(self, client: Client, sent: bytes, times: int = 7000) -> int | None:
        """Send something many times; return the code with which it ended."""
        for _ in range(times):
            client.send(sent)
        return client.goaway_code()

    @pytest.mark.parametrize(
        "sent",
        [
            frames.settings([]),
            PING,
            frames.frame(frames.PING, frames.ACK, 0, b"12345678"),
            frames.SETTINGS_ACK,
            frames.frame(frames.PRIORITY, 0, 3, b"\0\0\0\0\x10"),
            frames.frame(0xFA, 0, 0, b""),
            frames.frame(frames.GOAWAY, 0, 0, bytes(8)),
            data(1, b""),
            data(1, b"\x02\0\0", frames.PADDED),
            frames.window_update(0, 1),
            frames.window_update(1, 1),
        ],
    )
    def test_floods(self, sent: bytes) -> None:
        """Of frames that do nothing, or make the server answer."""
        client = Client()
        client.open()
        assert frames.ENHANCE_YOUR_CALM == self.flood(client, sent)

    def test_rapid_reset(self) -> None:
        """Streams that are opened and reset at once (CVE-2023-44487)."""
        client = Client()
        for number in range(1, 2001, 2):
            client.send(client.headers(number) + frames.rst_stream(number, frames.CANCEL))
        assert frames.ENHANCE_YOUR_CALM == client.goaway_code()

    def test_resets_that_are_not_rapid_are_free(self) -> None:
        """A store that hangs has every caller give up, a thousand a second."""
        client = Client()
        for number in range(1, 4001, 2):
            client.open(number)
            client.now += 0.002
            client.send(frames.rst_stream(number, frames.CANCEL))
        assert client.goaway_code() is None

    def test_made_you_reset(self) -> None:
        """Streams that break a rule so that the server resets them (CVE-2025-8671)."""
        client = Client()
        for number in range(1, 2001, 2):
            client.send(client.headers(number) + frames.window_update(number, 0))
        assert frames.ENHANCE_YOUR_CALM == client.goaway_code()

    def test_a_block_without_end(self) -> None:
        """CONTINUATION after CONTINUATION (CVE-2024-27316), empty or not."""
        for payload in (b"", bytes(16_000)):
            client = Client()
            client.send(frames.frame(frames.HEADERS, 0, 1, b""))
            assert frames.ENHANCE_YOUR_CALM == self.flood(client, frames.frame(frames.CONTINUATION, 0, 1, payload), 40)

    def test_data_drawn_by_the_byte(self) -> None:
        """A window that opens a byte at a time (CVE-2019-9511)."""
        client = Client(greets=False)
        client.send(frames.PREFACE + frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 0)]))
        client.connection.sender.send_data(client.open(1, flags=frames.END_STREAM), bytes(10_000))
        assert frames.ENHANCE_YOUR_CALM == self.flood(client, frames.window_update(1, 1), 2000)

    def test_windows_that_follow_what_was_sent_are_free(self) -> None:
        """A client may widen both with each message that it has read."""
        client = Client()
        stream = client.open()
        for _ in range(5000):
            client.connection.sender.send_data(stream, b"message")
            client.send(frames.window_update(0, 7) + frames.window_update(1, 7))
        assert client.goaway_code() is None

    def test_windows_that_are_widened_again_and_again(self) -> None:
        """They flood, where nothing is sent that would need them."""
        assert frames.ENHANCE_YOUR_CALM == self.flood(Client(), frames.window_update(0, 1))

    def test_windows_that_are_widened_several_times_for_each_answer(self) -> None:
        """As grpc-core does; ten thousand calls a second come to nothing here."""
        client = Client()
        for number in range(1, 20_001, 2):
            client.connection.sender.send_all(client.open(number, flags=frames.END_STREAM), HEAD, b"x" * 50, TRAILERS)
            client.send(frames.window_update(0, 20) * 3 + frames.window_update(number, 10))
            client.now += 0.0001
        assert client.goaway_code() is None

    def test_pings_are_forgiven_when_the_server_sends(self) -> None:
        """A client that measures its bandwidth pings with each answer."""
        client = Client()
        for number in range(1, 201, 2):
            client.connection.sender.send_all(client.open(number, flags=frames.END_STREAM), HEAD, b"", TRAILERS)
            client.send(PING)
        assert client.goaway_code() is None
