"""What every engine does with calls, whatever they are about: endpoints of the test's own, no store."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import queue
import socket
import stat
from typing import TYPE_CHECKING

import grpc
import pytest
from support import frames
from support.engines import MAKERS, METHOD, PATIENCE_SECONDS, POLICY, Endpoints, Served, serving
from support.servers import free_port

from sidecar.call import Code, StatusError
from sidecar.clock import NEVER
from sidecar.errors import StartupError
from sidecar.server.engine import EnginePolicy, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from sidecar.call import Call, Metadata


@pytest.fixture
async def endpoints() -> Endpoints:
    """Return endpoints."""
    return Endpoints()


class TestUnary:
    """One message, one answer."""

    @pytest.mark.parametrize("message", [b"", b"\x00\xff", b"x" * 99_000], ids=["empty", "bytes", "large"])
    async def test_bytes_go_through_as_they_are(self, engine: str, endpoints: Endpoints, message: bytes) -> None:
        """No engine looks into a message."""
        async with serving(engine, endpoints) as served:
            assert message == await served.unary(message)

    async def test_the_call_names_its_method(self, engine: str, endpoints: Endpoints) -> None:
        """By its path."""
        async with serving(engine, endpoints) as served:
            await served.unary()
        assert METHOD == endpoints.call.method

    async def test_the_call_has_its_metadata(self, engine: str, endpoints: Endpoints) -> None:
        """Text as text, and binary as bytes."""
        sent = [("traceparent", "00-1"), ("key-bin", b"\x00\xff")]
        async with serving(engine, endpoints) as served:
            await served.unary(metadata=sent)
        assert set(sent) <= {tuple(pair) for pair in endpoints.call.metadata}

    async def test_the_call_knows_its_peer(self, engine: str, endpoints: Endpoints) -> None:
        """The address of who called."""
        async with serving(engine, endpoints) as served:
            await served.unary()
        assert "127.0.0.1" in endpoints.call.peer

    async def test_an_unknown_method_is_unimplemented(self, engine: str, endpoints: Endpoints) -> None:
        """Nothing is called."""
        async with serving(engine, endpoints) as served:
            error = await served.error(path="/test.Service/Nope")
        assert (grpc.StatusCode.UNIMPLEMENTED, False) == (error.code(), endpoints.entered.is_set())

    async def test_a_message_above_the_limit_is_refused(self, engine: str, endpoints: Endpoints) -> None:
        """RESOURCE_EXHAUSTED, and nothing is called."""
        async with serving(engine, endpoints) as served:
            error = await served.error(b"x" * 100_001)
        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, False) == (error.code(), endpoints.entered.is_set())


class TestErrors:
    """How a failed call looks to the client."""

    @pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name)
    async def test_every_code_arrives(self, engine: str, endpoints: Endpoints, code: Code) -> None:
        """With its message, and its details in the trailer."""
        endpoints.error = StatusError(code, "what is wrong: ü", b"\x08\x05details")
        async with serving(engine, endpoints) as served:
            error = await served.error()
        trailers = dict(error.trailing_metadata() or ())
        expected = (code.value, "what is wrong: ü", b"\x08\x05details")
        assert expected == (error.code().value[0], error.details(), trailers.get("grpc-status-details-bin"))

    async def test_a_stream_ends_with_its_error(self, engine: str, endpoints: Endpoints) -> None:
        """In the same way."""
        endpoints.error = StatusError(Code.ABORTED, "enough")
        async with serving(engine, endpoints) as served:
            call = served.channel.unary_stream("/test.Service/Thrice")(b"m", timeout=PATIENCE_SECONDS)
            with pytest.raises(grpc.RpcError):
                await asyncio.to_thread(list, call)
        assert (grpc.StatusCode.ABORTED, "enough") == (call.code(), call.details())


class TestAnswers:
    """What an endpoint may say beside its messages."""

    HEADERS = (("one", "1"), ("one", "2"), ("data-bin", b"\x00\xff"))
    TRAILERS = (("last", "a"), ("last", "b"), ("end-bin", b"\xff\x00"))

    @pytest.fixture(params=["unary", "from one", "to one", "both ways"])
    def shape(self, request: pytest.FixtureRequest) -> str:
        """Return the name of each shape of a method."""
        return str(request.param)

    async def test_headers_and_trailers_arrive(self, engine: str, endpoints: Endpoints, shape: str) -> None:
        """In their order, repeated names and binary values included."""
        endpoints.headers, endpoints.trailers = self.HEADERS, self.TRAILERS
        async with serving(engine, endpoints) as served:
            heard = await asyncio.to_thread(self._hear, served, shape)
        assert (self.HEADERS, self.TRAILERS) == heard

    async def test_they_arrive_with_an_error_too(self, engine: str, endpoints: Endpoints, shape: str) -> None:
        """Beside the status and its details; a failed call may have headers, or have them among its trailers."""
        endpoints.headers, endpoints.trailers = self.HEADERS, self.TRAILERS
        endpoints.error = StatusError(Code.ABORTED, "enough", b"\x08\x0adetails")
        async with serving(engine, endpoints) as served:
            headers, trailers = await asyncio.to_thread(self._hear, served, shape)
        details = ("grpc-status-details-bin", b"\x08\x0adetails")
        assert sorted((*self.HEADERS, *self.TRAILERS, details), key=str) == sorted((*headers, *trailers), key=str)

    async def test_trailers_may_be_set_after_the_first_message(self, engine: str, endpoints: Endpoints) -> None:
        """Until the call ends."""

        async def stream(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
            async for message in messages:
                yield message
                call.trailers = self.TRAILERS

        endpoints.thrice = stream  # type: ignore[method-assign]
        async with serving(engine, endpoints) as served:
            _, trailers = await asyncio.to_thread(self._hear, served, "from one")
        assert self.TRAILERS == trailers

    async def test_a_stream_without_messages_has_both(self, engine: str, endpoints: Endpoints) -> None:
        """Nothing came before them."""

        async def stream(_messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
            call.response_headers, call.trailers = self.HEADERS, self.TRAILERS
            return
            yield b""

        endpoints.thrice = stream  # type: ignore[assignment]
        async with serving(engine, endpoints) as served:
            headers, trailers = await asyncio.to_thread(self._hear, served, "from one")
        assert sorted((*self.HEADERS, *self.TRAILERS), key=str) == sorted((*headers, *trailers), key=str)

    @pytest.mark.parametrize("shape", ["unary", "stream"])
    async def test_an_answer_is_compressed_if_endpoint_and_caller_like(
        self, engine: str, endpoints: Endpoints, shape: str
    ) -> None:
        """With gzip, and the flag says so."""
        if engine == "grpcio":
            pytest.skip("grpcio does not say what encodings a caller takes")
        endpoints.compress = True
        async with serving(engine, endpoints) as served:
            answer = await self._raw_answer(served.address, shape, accept=b"gzip,identity")
        assert (1, b"m" * 5000) == (answer[0], gzip.decompress(answer[5:]))

    async def test_an_answer_is_not_compressed_for_a_caller_who_does_not_take_it(
        self, engine: str, endpoints: Endpoints
    ) -> None:
        """`grpc-accept-encoding` names what a caller takes."""
        endpoints.compress = True
        async with serving(engine, endpoints) as served:
            answer = await self._raw_answer(served.address, "unary", accept=b"identity")
        assert (0, b"m" * 5000) == (answer[0], answer[5:])

    async def test_an_answer_is_not_compressed_unasked(self, engine: str, endpoints: Endpoints) -> None:
        """Compression costs time, so an endpoint has to want it."""
        async with serving(engine, endpoints) as served:
            answer = await self._raw_answer(served.address, "unary", accept=b"gzip")
        assert (0, b"m" * 5000) == (answer[0], answer[5:])

    async def test_a_compressed_message_is_decompressed(self, engine: str, endpoints: Endpoints) -> None:
        """An endpoint sees plain bytes."""
        async with serving(engine, endpoints) as served:
            assert b"m" * 5000 == await served.unary(b"m" * 5000, compression=grpc.Compression.Gzip)

    def _hear(self, served: Served, shape: str) -> tuple[Metadata, Metadata]:
        """Call, and return the metadata that stands before and after the messages; the call may fail."""
        match shape:
            case "unary":
                call = served.channel.unary_unary(METHOD).future(b"m", timeout=PATIENCE_SECONDS)
            case "from one":
                call = served.channel.unary_stream("/test.Service/Thrice")(b"m", timeout=PATIENCE_SECONDS)
            case "to one":
                call = served.channel.stream_unary("/test.Service/All").future(iter([b"m"]), timeout=PATIENCE_SECONDS)
            case _:
                call = served.channel.stream_stream("/test.Service/Each")(iter([b"m"]), timeout=PATIENCE_SECONDS)
        headers = call.initial_metadata()
        with contextlib.suppress(grpc.RpcError):
            list(call) if shape in {"from one", "both ways"} else call.result()
        return self._plain(headers), self._plain(call.trailing_metadata())

    def _plain(self, metadata: Metadata) -> Metadata:
        return tuple((name, value) for name, value in metadata if not name.startswith(("user-agent", "x-")))

    async def _raw_answer(self, address: str, shape: str, *, accept: bytes) -> bytes:
        """Call frame by frame; return the bytes of the first answer, gRPC's prefix (flag and length) included."""
        path = METHOD if shape == "unary" else "/test.Service/Each"
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await frames.call(address, path, b"m" * 5000, ((b"grpc-accept-encoding", accept),))
        return answer[: 5 + int.from_bytes(answer[1:5], "big")]


class TestDeadlines:
    """What time a call has."""

    async def test_the_callers_deadline_is_the_calls(self, engine: str, endpoints: Endpoints) -> None:
        """As the client sent it."""
        async with serving(engine, endpoints) as served:
            await served.unary(timeout=3)
        assert 2 < endpoints.remaining < 3.1  # the wire rounds it up

    async def test_a_call_without_one_gets_the_default(self, engine: str, endpoints: Endpoints) -> None:
        """No call lasts for ever."""
        async with serving(engine, endpoints) as served:
            await served.unary(timeout=None)
        assert 4 < endpoints.remaining <= 5

    async def test_a_longer_one_is_cut(self, engine: str, endpoints: Endpoints) -> None:
        """To the longest allowed."""
        async with serving(engine, endpoints) as served:
            await served.unary(timeout=3600)
        assert 59 < endpoints.remaining <= 60

    async def test_a_stream_without_one_has_none(self, engine: str, endpoints: Endpoints) -> None:
        """A watch may last."""
        async with serving(engine, endpoints) as served:
            call = served.channel.unary_stream("/test.Service/Thrice")(b"m")
            await asyncio.to_thread(list, call)
        assert NEVER == endpoints.call.deadline

    async def test_a_client_that_gives_up_is_told_in_time(self, engine: str, endpoints: Endpoints) -> None:
        """DEADLINE_EXCEEDED, though the endpoint still works."""
        endpoints.gate.clear()
        async with serving(engine, endpoints) as served:
            error = await served.error(timeout=0.1)
        assert grpc.StatusCode.DEADLINE_EXCEEDED == error.code()


class TestBadRequests:
    """Requests that no library sends."""

    @pytest.fixture(autouse=True)
    def _only_fast(self, engine: str) -> None:
        if engine == "grpcio":
            pytest.skip("grpcio takes them for whole")

    @pytest.mark.parametrize("method", ["Method", "Each", "All", "Thrice"])
    @pytest.mark.parametrize("sent", [b"\0\0\0", b"\0\0\0\0\x0aabc"], ids=["prefix", "message"])
    async def test_a_request_that_ends_within_a_message_fails(
        self, engine: str, endpoints: Endpoints, method: str, sent: bytes
    ) -> None:
        """INTERNAL: what came may not be what was meant."""
        opened = frames.frame(frames.HEADERS, 0x4, 1, frames.request(f"/test.Service/{method}"))
        async with serving(engine, endpoints) as served:
            fields = await self._answer(served.address, opened + frames.frame(frames.DATA, 0x1, 1, sent))
        assert b"grpc-status\x0213" in fields

    async def test_a_codec_that_nobody_knows_is_refused(self, engine: str, endpoints: Endpoints) -> None:
        """With HTTP 415, as the gRPC specification has it ("Content-Type")."""
        block = frames.request(METHOD).replace(b"\x10application/grpc", b"\x15application/grpc+json")
        opened = frames.frame(frames.HEADERS, 0x5, 1, block)
        async with serving(engine, endpoints) as served:
            assert b"415" in await self._answer(served.address, opened)

    @pytest.mark.parametrize("content_type", [b"application/grpc+proto", b"application/grpc;charset=utf-8"])
    async def test_the_known_codec_is_not(self, engine: str, endpoints: Endpoints, content_type: bytes) -> None:
        """Whether it is named or not, and with parameters."""
        typed = bytes((len(content_type),)) + content_type
        block = frames.request(METHOD).replace(b"\x10application/grpc", typed)
        sent = frames.frame(frames.HEADERS, 0x4, 1, block) + frames.frame(frames.DATA, 0x1, 1, frames.message(b"m"))
        async with serving(engine, endpoints) as served:
            await self._answer(served.address, sent)
        assert endpoints.entered.is_set()

    async def test_another_method_than_post_is_told_what_is_allowed(self, engine: str, endpoints: Endpoints) -> None:
        """RFC 9110, section 15.5.6."""
        block = frames.request(METHOD).replace(b"\x04POST", b"\x03GET")
        async with serving(engine, endpoints) as served:
            fields = await self._answer(served.address, frames.frame(frames.HEADERS, 0x5, 1, block))
        assert (True, True) == (b"405" in fields, b"allow\x04POST" in fields)

    async def _answer(self, address: str, sent: bytes) -> bytes:
        """Return the first header block that comes in answer; the engine writes it without compression."""
        async with frames.connection(address) as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
            writer.write(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0) + sent)
            while True:
                kind, _, _, payload = await frames.read(reader)
                if kind == frames.HEADERS:
                    return payload


class TestStreams:
    """Many messages, either way."""

    async def test_the_server_may_stream(self, engine: str, endpoints: Endpoints) -> None:
        """One message, three answers."""
        async with serving(engine, endpoints) as served:
            call = served.channel.unary_stream("/test.Service/Thrice")(b"m", timeout=PATIENCE_SECONDS)
            assert [b"m"] * 3 == await asyncio.to_thread(list, call)

    async def test_the_client_may_stream(self, engine: str, endpoints: Endpoints) -> None:
        """Three messages, one answer."""
        async with serving(engine, endpoints) as served:
            call = served.channel.stream_unary("/test.Service/All")
            messages = iter([b"a", b"b", b"c"])
            assert b"abc" == await asyncio.to_thread(call, messages, timeout=PATIENCE_SECONDS)

    async def test_both_may_stream(self, engine: str, endpoints: Endpoints) -> None:
        """Each message has its answer before the next is sent."""

        def converse(served: Served) -> list[bytes]:
            sent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            call = served.channel.stream_stream("/test.Service/Each")(iter(sent.get, None), timeout=PATIENCE_SECONDS)
            answers = []
            for number in range(5):
                sent.put(b"%d" % number)
                answers.append(next(call))
            sent.put(None)
            return [*answers, *call]

        async with serving(engine, endpoints) as served:
            assert [b"0", b"1", b"2", b"3", b"4"] == await asyncio.to_thread(converse, served)

    async def test_a_client_that_leaves_ends_the_endpoint(self, engine: str, endpoints: Endpoints) -> None:
        """Its generator is closed, so that it can clean up."""
        endpoints.gate.clear()
        async with serving(engine, endpoints) as served:
            call = served.channel.stream_stream("/test.Service/Each")(iter([b"m"]))
            await endpoints.entered.wait()
            call.cancel()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await endpoints.closed.wait()


class TestStopping:
    """The end."""

    async def test_a_call_under_way_is_let_finish(self, engine: str, endpoints: Endpoints) -> None:
        """Stop waits for it, and its answer arrives."""
        endpoints.gate.clear()
        async with serving(engine, endpoints) as served:
            asked = asyncio.create_task(served.unary(b"under way"))
            await endpoints.entered.wait()
            stopping = asyncio.create_task(served.engine.stop(PATIENCE_SECONDS))
            await asyncio.sleep(0.05)
            endpoints.gate.set()
            assert b"under way" == await asked
            await stopping

    async def test_a_call_that_outlasts_the_grace_is_ended(self, engine: str, endpoints: Endpoints) -> None:
        """Stop does not wait for ever."""
        endpoints.gate.clear()
        async with serving(engine, endpoints) as served:
            asked = asyncio.create_task(served.error())
            await endpoints.entered.wait()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await served.engine.stop(0.1)
            assert (await asked).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}

    async def test_no_call_is_taken_after_it(self, engine: str, endpoints: Endpoints) -> None:
        """The port is closed."""
        async with serving(engine, endpoints) as served:
            await served.engine.stop(0)
            assert grpc.StatusCode.UNAVAILABLE == (await served.error()).code()


class TestListeners:
    """Where an engine listens."""

    async def test_a_port_in_use_is_refused(self, engine: str, endpoints: Endpoints) -> None:
        """In one line that names the address; the other server goes on."""
        async with serving(engine, endpoints) as served:
            second = MAKERS[engine](endpoints.table(), [Listener(address=served.address)], POLICY)
            with pytest.raises(StartupError, match=served.address):
                await second.start()
            assert b"m" == await served.unary()

    async def test_a_port_that_another_program_has_is_refused(self, engine: str, endpoints: Endpoints) -> None:
        """Also one that is no gRPC server."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(StartupError, match=address):
                await MAKERS[engine](endpoints.table(), [Listener(address=address)], POLICY).start()

    async def test_an_address_of_another_machine_is_refused(self, engine: str, endpoints: Endpoints) -> None:
        """192.0.2.1 is nobody's (RFC 5737)."""
        with pytest.raises(StartupError, match=r"192\.0\.2\.1:"):
            await MAKERS[engine](endpoints.table(), [Listener(address=f"192.0.2.1:{free_port()}")], POLICY).start()

    async def test_a_start_that_fails_leaves_no_socket_behind(
        self, engine: str, endpoints: Endpoints, tmp_path: Path
    ) -> None:
        """The first address was free, the second is not."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            addresses = [f"unix:{tmp_path}/s", f"127.0.0.1:{taken.getsockname()[1]}"]
            listeners = [Listener(address=address) for address in addresses]
            with pytest.raises(StartupError):
                await MAKERS[engine](endpoints.table(), listeners, POLICY).start()
        assert not (tmp_path / "s").exists()

    async def test_it_serves_on_a_unix_socket(self, engine: str, endpoints: Endpoints, tmp_path: Path) -> None:
        """As on a port."""
        async with serving(engine, endpoints, address=f"unix:{tmp_path}/s") as served:
            assert b"m" == await served.unary()

    async def test_a_unix_socket_is_for_owner_and_group(
        self, engine: str, endpoints: Endpoints, tmp_path: Path
    ) -> None:
        """Nobody else may connect."""
        async with serving(engine, endpoints, address=f"unix:{tmp_path}/s"):
            assert 0o660 == stat.S_IMODE((tmp_path / "s").stat().st_mode)

    async def test_a_unix_socket_that_is_served_is_refused(
        self, engine: str, endpoints: Endpoints, tmp_path: Path
    ) -> None:
        """Its owner keeps it."""
        address = f"unix:{tmp_path}/s"
        async with serving(engine, endpoints, address=address) as served:
            with pytest.raises(StartupError, match="another server"):
                await MAKERS[engine](endpoints.table(), [Listener(address=address)], POLICY).start()
            assert b"m" == await served.unary()

    async def test_a_unix_socket_that_was_left_behind_is_taken(
        self, engine: str, endpoints: Endpoints, tmp_path: Path
    ) -> None:
        """A crashed server's socket is in nobody's way."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(f"{tmp_path}/s")
        async with serving(engine, endpoints, address=f"unix:{tmp_path}/s") as served:
            assert b"m" == await served.unary()

    async def test_a_unix_socket_in_no_folder_is_refused(
        self, engine: str, endpoints: Endpoints, tmp_path: Path
    ) -> None:
        """With the address in the message."""
        with pytest.raises(StartupError, match="none/s"):
            await MAKERS[engine](endpoints.table(), [Listener(address=f"unix:{tmp_path}/none/s")], POLICY).start()


class TestKeepalive:
    """Pings of a client without a call, frame by frame (RFC 9113, section 6.7); 200 ms stand for the five seconds."""

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
    PING = b"\0\0\x08\x06" + bytes(5) + b"12345678"
    GOAWAY, ENHANCE_YOUR_CALM = 7, 11

    async def test_a_ping_each_interval_is_answered(self, engine: str, endpoints: Endpoints) -> None:
        """A client that pings a little less often than allowed is never sent away."""
        async with serving(engine, endpoints, EnginePolicy(min_ping_interval=0.2)) as served:
            answers, farewell = await self._ping(served.address, count=6, pause=0.3)
        assert (6, None) == (answers, farewell)

    async def test_pings_without_measure_end_the_connection(self, engine: str, endpoints: Endpoints) -> None:
        """A client that pings far more often is told to calm down."""
        async with serving(engine, endpoints, EnginePolicy(min_ping_interval=5.0)) as served:
            _, farewell = await self._ping(served.address, count=12, pause=0.01)
        assert self.ENHANCE_YOUR_CALM == farewell

    async def test_pings_beside_data_are_no_fault(self, engine: str, endpoints: Endpoints) -> None:
        """A client that measures its bandwidth pings whenever data comes; what is sent forgives that (gRFC A8)."""
        opened = frames.frame(frames.HEADERS, 0x4, 1, frames.request("/test.Service/Thrice"))
        asked = frames.message(b"m" * 60_000)
        pieces = (asked[start : start + 16_000] for start in range(0, len(asked), 16_000))
        async with (
            serving(engine, endpoints, EnginePolicy(min_ping_interval=60.0)) as served,
            frames.connection(served.address) as (reader, writer),
        ):
            writer.write(self.PREFACE + opened)
            writer.write(b"".join(frames.frame(frames.DATA, 0, 1, piece) for piece in pieces))
            writer.write(frames.frame(frames.DATA, 0x1, 1))
            received, pinged = 0, False
            async with asyncio.timeout(PATIENCE_SECONDS):
                while received < 180_000:
                    kind, _, _, payload = await frames.read(reader)
                    assert frames.GOAWAY != kind, payload
                    if kind == frames.PING:
                        pinged = False
                    if kind == frames.DATA:
                        received += len(payload)
                        # Opened by little, so that what is left of a message waits for its window many times.
                        size = min(len(payload), 4096).to_bytes(4, "big")
                        writer.write(b"" if pinged else self.PING)
                        writer.write(b"".join(frames.frame(frames.WINDOW_UPDATE, 0, stream, size) for stream in (0, 1)))
                        pinged = True

    async def _ping(self, address: str, *, count: int, pause: float) -> tuple[int, int | None]:
        """Send pings; return how many were answered, and the code of the GOAWAY that ended it, if one did."""
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        hearing = asyncio.create_task(self._hear(reader, count))
        writer.write(self.PREFACE)
        for _ in range(count):
            if not hearing.done():
                writer.write(self.PING)
                await asyncio.sleep(pause)
        async with asyncio.timeout(PATIENCE_SECONDS):
            heard = await hearing
        writer.close()
        return heard

    async def _hear(self, reader: asyncio.StreamReader, count: int) -> tuple[int, int | None]:
        answers = 0
        while answers < count:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            answers += head[3:5] == b"\x06\x01"
            if head[3] == self.GOAWAY:
                return answers, int.from_bytes(payload[4:8], "big")
        return answers, None
