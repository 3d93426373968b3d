"""What happens around every call: counting, timing, refusing, and what a failure says."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from sidecar.call import Call, Code, StatusError, StreamMethod, UnaryMethod
from sidecar.clock import NEVER, after
from sidecar.errors import InvalidArgumentError, Reason
from sidecar.interceptors.admission import AdmissionPolicy
from sidecar.interceptors.chain import build_endpoint
from sidecar.interceptors.errors import ErrorInterceptor
from sidecar.interceptors.shedding import Admission, SheddingInterceptor
from sidecar.interceptors.telemetry import TelemetryInterceptor
from sidecar.rpc.status import to_status
from sidecar.rpc.turns import Turns
from sidecar.telemetry.metrics import Counter, Gauge, Histogram, Metrics
from sidecar.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from sidecar.call import Endpoint
    from sidecar.interceptors.chain import Interceptor

PATH = "/test.Service/Method"


class Sidecar:
    """The whole chain around one handler."""

    def __init__(self, *, most: int = 10, exempt: bool = False) -> None:
        self.metrics = Metrics()
        tracing = Tracing(service_name="test", sample_ratio=1.0)
        self.admission = Admission(AdmissionPolicy(most=most))
        self._interceptors: list[Interceptor] = [
            TelemetryInterceptor(metrics=self.metrics, tracing=tracing),
            ErrorInterceptor(to_status),
            SheddingInterceptor(admission=self.admission, exempt={PATH} if exempt else ()),
        ]

    def unary(self, handle: Callable[[str, Call], Awaitable[str]]) -> Endpoint:
        """Return the endpoint of a unary handler of text."""
        return build_endpoint(
            UnaryMethod(path=PATH, decode=_decode, encode=str.encode, handle=handle), self._interceptors
        )

    def stream(self, handle: Callable[[AsyncIterator[str], Call], AsyncGenerator[str, None]]) -> Endpoint:
        """Return the endpoint of a streaming handler of text."""
        method = StreamMethod(path=PATH, decode=_decode, encode=str.encode, handle=handle, client_streams=True)
        return build_endpoint(method, self._interceptors)

    def calls(self) -> dict[str, int]:
        """Return the counted calls by status code, those of no call left out."""
        family = self.metrics.families["sidecar_calls"]
        assert isinstance(family, Counter)
        return {labels[1]: cell.value for labels, cell in family.cells.items() if cell.value}

    def in_flight(self) -> float:
        """Return the gauge of calls under way."""
        family = self.metrics.families["sidecar_calls_in_flight"]
        assert isinstance(family, Gauge)
        return family.read()[()]

    def timed(self) -> int:
        """Return how many durations were recorded."""
        family = self.metrics.families["sidecar_call_duration_seconds"]
        assert isinstance(family, Histogram)
        return sum(sum(cell.buckets) for cell in family.cells.values())


def _decode(message: bytes) -> str:
    if message == b"\xff":
        raise InvalidArgumentError(Reason.MESSAGE_MALFORMED, "no text")
    return message.decode()


def a_call() -> Call:
    """Return a call with time left."""
    return Call(PATH, deadline=after(5))


async def shout(request: str, _call: Call) -> str:
    """Answer in capitals."""
    return request.upper()


async def ask(endpoint: Endpoint, message: bytes, call: Call | None = None) -> bytes:
    """Call a unary endpoint."""
    assert endpoint.unary is not None
    return await endpoint.unary(message, call or a_call())


async def one(message: bytes) -> AsyncIterator[bytes]:
    """Return a stream of one message."""
    yield message


class TestSuccess:
    """A call that ends well."""

    async def test_it_is_decoded_handled_and_encoded(self) -> None:
        """Bytes in, bytes out."""
        assert await ask(Sidecar().unary(shout), b"hello") == b"HELLO"

    async def test_it_is_counted_and_timed_once(self) -> None:
        """One OK, one duration, nothing in flight."""
        sidecar = Sidecar()
        await ask(sidecar.unary(shout), b"hello")
        assert ({"OK": 1}, 1, 0) == (sidecar.calls(), sidecar.timed(), sidecar.in_flight())

    async def test_a_stream_passes_each_message(self) -> None:
        """Every message of a stream is decoded, and every answer encoded."""

        async def shout_all(requests: AsyncIterator[str], _call: Call) -> AsyncGenerator[str, None]:
            async for request in requests:
                yield request.upper()
                yield "!"

        sidecar = Sidecar()
        endpoint = sidecar.stream(shout_all)
        assert endpoint.stream is not None
        answers = [answer async for answer in endpoint.stream(one(b"a"), a_call())]
        assert ([b"A", b"!"], {"OK": 1}) == (answers, sidecar.calls())


class TestFailure:
    """A call that ends with an error."""

    async def test_the_projects_error_becomes_its_status(self) -> None:
        """The one map is used, and the code counted."""
        sidecar = Sidecar()
        with pytest.raises(StatusError) as caught:
            await ask(sidecar.unary(shout), b"\xff")
        assert (Code.INVALID_ARGUMENT, {"INVALID_ARGUMENT": 1}) == (caught.value.code, sidecar.calls())

    async def test_a_defect_tells_neither_caller_nor_log_what_it_saw(self, caplog: pytest.LogCaptureFixture) -> None:
        """The status is INTERNAL; the log has the type and the place, and not the exception's text."""

        async def fail(_request: str, _call: Call) -> str:
            raise RuntimeError("ssn 123-45-6789")

        with caplog.at_level(logging.ERROR), pytest.raises(StatusError) as caught:
            await ask(Sidecar().unary(fail), b"x")
        assert caught.value.code is Code.INTERNAL
        assert "RuntimeError" in caplog.text
        assert "test_interceptors.py" in caplog.text
        assert "123-45" not in caplog.text + caught.value.message + str(caught.value.details)

    async def test_a_cancelled_call_is_counted_as_such(self) -> None:
        """Cancellation passes through, and leaves nothing in flight."""

        async def wait(_request: str, _call: Call) -> str:
            await asyncio.Event().wait()
            return ""

        sidecar = Sidecar()
        task = asyncio.create_task(ask(sidecar.unary(wait), b"x"))
        await asyncio.sleep(0)
        assert sidecar.in_flight() == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ({"CANCELLED": 1}, 0) == (sidecar.calls(), sidecar.in_flight())

    async def test_a_stream_that_fails_ends_with_a_status(self) -> None:
        """What was sent before stays sent."""

        async def fail_later(requests: AsyncIterator[str], _call: Call) -> AsyncGenerator[str, None]:
            async for request in requests:
                yield request
                raise ValueError(request)

        sidecar = Sidecar()
        endpoint = sidecar.stream(fail_later)
        assert endpoint.stream is not None
        answers = endpoint.stream(one(b"a"), a_call())
        assert await anext(answers) == b"a"
        with pytest.raises(StatusError):
            await anext(answers)
        assert {"INTERNAL": 1} == sidecar.calls()

    async def test_a_status_of_an_inner_stream_passes(self) -> None:
        """A malformed message in a stream is INVALID_ARGUMENT."""

        async def echo(requests: AsyncIterator[str], _call: Call) -> AsyncGenerator[str, None]:
            async for request in requests:
                yield request

        endpoint = Sidecar().stream(echo)
        assert endpoint.stream is not None
        with pytest.raises(StatusError) as caught:
            await anext(endpoint.stream(one(b"\xff"), a_call()))
        assert caught.value.code is Code.INVALID_ARGUMENT


class TestShedding:
    """Too much, or too late."""

    async def test_one_call_too_many_is_refused_at_once(self) -> None:
        """With RESOURCE_EXHAUSTED and a time to wait; the others go on."""
        release = asyncio.Event()

        async def wait(request: str, _call: Call) -> str:
            await release.wait()
            return request

        sidecar = Sidecar(most=2)
        endpoint = sidecar.unary(wait)
        waiting = [asyncio.create_task(ask(endpoint, b"x")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StatusError) as caught:
            await ask(endpoint, b"x")
        release.set()
        assert [b"x", b"x"] == await asyncio.gather(*waiting)
        assert (Code.RESOURCE_EXHAUSTED, True) == (caught.value.code, b"RetryInfo" in caught.value.details)

    async def test_late_calls_lower_the_bound(self) -> None:
        """A hundred that each took half of their time: seventy may be in flight from then on.

        Fewer if a busy machine lets them end one by one, so that they are judged again.
        """

        async def dawdle(request: str, _call: Call) -> str:
            await asyncio.sleep(0.2)
            return request

        sidecar = Sidecar(most=100)
        endpoint = sidecar.unary(dawdle)
        await asyncio.gather(*(ask(endpoint, b"x", Call(PATH, deadline=after(0.4))) for _ in range(100)))
        assert 64 <= sidecar.admission.bound <= 70

    async def test_who_waits_on_purpose_keeps_nobody_out_and_is_not_late(self) -> None:
        """A hundred that waited for most of their time: the bound is what it was, and others had room."""

        async def wait(request: str, call: Call) -> str:
            with sidecar.admission.pause(call):
                await asyncio.sleep(0.3)
            return request

        sidecar = Sidecar(most=70)
        endpoint = sidecar.unary(wait)
        waiting = [asyncio.create_task(ask(endpoint, b"x", Call(PATH, deadline=after(0.4)))) for _ in range(100)]
        await asyncio.sleep(0)
        beside = await ask(sidecar.unary(shout), b"x")
        await asyncio.gather(*waiting)
        assert (b"X", 70, 0) == (beside, sidecar.admission.bound, sidecar.in_flight())

    @pytest.mark.parametrize("kind", ["pause", "turns"])
    async def test_one_that_would_wait_beside_too_many_is_refused(self, kind: str) -> None:
        """With a hint when to try again; those who wait go on, and make room when they leave."""
        release = asyncio.Event()

        async def wait(request: str, call: Call) -> str:
            if kind == "pause":
                with sidecar.admission.pause(call):
                    await release.wait()
            else:
                with Turns(sidecar.admission, call) as turns, turns.pause():
                    await release.wait()
            return request

        sidecar = Sidecar(most=2, exempt=kind == "turns")
        endpoint = sidecar.unary(wait)
        most = 32
        waiting = []
        for _ in range(most):
            waiting.append(asyncio.create_task(ask(endpoint, b"x")))
            await asyncio.sleep(0)
        with pytest.raises(StatusError) as refused:
            await ask(endpoint, b"x")
        assert (Code.RESOURCE_EXHAUSTED, True) == (refused.value.code, b"RetryInfo" in refused.value.details)
        assert (b"X", 0) == (await ask(sidecar.unary(shout), b"x"), sidecar.in_flight() - most)
        release.set()
        assert [b"x"] * most == await asyncio.gather(*waiting)
        assert b"x" == await ask(endpoint, b"x")

    async def test_a_call_of_the_sidecars_own_makes_no_room_while_it_waits(self) -> None:
        """As when a cache is warmed: it has taken none."""
        release = asyncio.Event()

        async def wait(request: str, _call: Call) -> str:
            await release.wait()
            return request

        sidecar = Sidecar(most=1)
        with sidecar.admission.pause(Call("cache.warm")):
            waiting = asyncio.create_task(ask(sidecar.unary(wait), b"x"))
            await asyncio.sleep(0)
            with pytest.raises(StatusError):
                await ask(sidecar.unary(shout), b"x")
        release.set()
        assert b"x" == await waiting

    async def test_a_refused_call_frees_no_place_that_it_did_not_take(self) -> None:
        """After refusals the bound is what it was."""
        sidecar = Sidecar(most=0)
        for _ in range(3):
            with pytest.raises(StatusError):
                await ask(sidecar.unary(shout), b"x")
        assert {"RESOURCE_EXHAUSTED": 3} == sidecar.calls()

    async def test_a_call_past_its_deadline_is_not_handled(self) -> None:
        """The handler does not run."""
        handled: list[str] = []

        async def note(request: str, _call: Call) -> str:
            handled.append(request)
            return request

        with pytest.raises(StatusError) as caught:
            await ask(Sidecar().unary(note), b"x", Call(PATH, deadline=after(-0.001)))
        assert (Code.DEADLINE_EXCEEDED, []) == (caught.value.code, handled)

    async def test_exempt_methods_take_no_place(self) -> None:
        """A watch may last for ever."""
        sidecar = Sidecar(most=0, exempt=True)
        assert await ask(sidecar.unary(shout), b"x", Call(PATH, deadline=NEVER)) == b"X"

    async def test_a_stream_gives_its_place_back_when_its_caller_leaves(self) -> None:
        """Closing the generator ends the call."""

        async def count(_requests: AsyncIterator[str], _call: Call) -> AsyncGenerator[str, None]:
            while True:
                yield "tick"

        sidecar = Sidecar(most=1)
        endpoint = sidecar.stream(count)
        assert endpoint.stream is not None
        for _ in range(2):
            ticking = endpoint.stream(one(b"a"), a_call())
            assert await anext(ticking) == b"tick"
            await ticking.aclose()
        assert ({"CANCELLED": 2}, 0) == (sidecar.calls(), sidecar.in_flight())
