"""Every call is counted and timed; a sampled one has a span.

The outermost interceptor, so that it also sees what others refuse. In a call that is not sampled it costs two
readings of the clock and a few additions.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from sidecar.call import Code, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint
    from sidecar.telemetry.metrics import Cell, Counter, Metrics
    from sidecar.telemetry.tracing import Tracing


class TelemetryInterceptor:
    """Feeds the metrics and the traces."""

    def __init__(self, *, metrics: Metrics, tracing: Tracing) -> None:
        self._calls = metrics.counter("sidecar_calls", "Calls by method and status code.", "method", "code")
        self._durations = metrics.histogram(
            "sidecar_call_duration_seconds", "Time from a call's arrival to its answer.", "method"
        )
        self._tracing = tracing
        self._in_flight = 0
        metrics.gauge("sidecar_calls_in_flight", "Calls under way.", lambda: {(): self._in_flight})

    def around_unary(self, path: str, proceed: UnaryEndpoint) -> UnaryEndpoint:
        """Return an endpoint that is counted, timed and traced."""
        method = path[1:]
        ended = _Ended(self._calls, method)
        duration = self._durations.cell(method)
        start_call, end_call, clock = self._tracing.start_call, self._tracing.end_call, time.perf_counter

        async def observed(message: bytes, call: Call) -> bytes:
            begun = clock()
            self._in_flight += 1
            start_call(call)
            code = Code.OK
            try:
                return await proceed(message, call)
            except BaseException as error:
                code = _code_of(error, call)
                raise
            finally:
                self._in_flight -= 1
                duration.observe(clock() - begun)
                ended.with_code(code).value += 1
                if call.span is not None:
                    end_call(call, code)

        return observed

    def around_stream(self, path: str, proceed: StreamEndpoint) -> StreamEndpoint:
        """Return a stream endpoint that is counted, timed as a whole, and traced."""
        method = path[1:]
        ended = _Ended(self._calls, method)
        duration = self._durations.cell(method)

        async def observed(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
            begun = time.perf_counter()
            self._in_flight += 1
            self._tracing.start_call(call)
            code = Code.OK
            try:
                async with aclosing(proceed(messages, call)) as answers:
                    async for answer in answers:
                        yield answer
            except BaseException as error:
                code = _code_of(error, call)
                raise
            finally:
                self._in_flight -= 1
                duration.observe(time.perf_counter() - begun)
                ended.with_code(code).value += 1
                if call.span is not None:
                    self._tracing.end_call(call, code)

        return observed


class _Ended:
    """One method's cells by status code, made when a code first occurs: most never do."""

    __slots__ = ("_calls", "_cells", "_method")

    def __init__(self, calls: Counter, method: str) -> None:
        self._calls = calls
        self._method = method
        self._cells: dict[Code, Cell] = {}
        self.with_code(Code.OK)

    def with_code(self, code: Code) -> Cell:
        cell = self._cells.get(code)
        if cell is None:
            cell = self._cells[code] = self._calls.cell(self._method, code.name)
        return cell


def _code_of(error: BaseException, call: Call) -> Code:
    if isinstance(error, StatusError):
        return error.code
    # A caller that leaves a stream closes its generator.
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        # Engines end a late call by cancelling it; what its caller sees is DEADLINE_EXCEEDED.
        return Code.DEADLINE_EXCEEDED if call.deadline <= time.monotonic() else Code.CANCELLED
    return Code.INTERNAL
