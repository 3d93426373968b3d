"""Calls that are too many or too late are refused before any work is done for them.

A refusal costs microseconds, an accepted call that cannot be finished costs all of its work; under overload the
difference decides whether anybody is served. Long-lived streams (health watches, reflection) are exempt: they wait,
and work little.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint

# A full sidecar is through with what it has in about this time.
_RETRY_AFTER_MS = 50


class SheddingInterceptor:
    """Bounds the calls in flight, over all methods but the exempt ones."""

    def __init__(self, *, max_concurrent_calls: int, exempt: Collection[str]) -> None:
        self._most = max_concurrent_calls
        self._exempt = frozenset(exempt)
        self._in_flight = 0

    def around_unary(self, path: str, proceed: UnaryEndpoint) -> UnaryEndpoint:
        """Return an endpoint that refuses with OVERLOADED or DEADLINE_EXCEEDED before it proceeds."""
        if path in self._exempt:
            return proceed

        async def bounded(message: bytes, call: Call) -> bytes:
            self._admit(call)
            self._in_flight += 1
            try:
                return await proceed(message, call)
            finally:
                self._in_flight -= 1

        return bounded

    def around_stream(self, path: str, proceed: StreamEndpoint) -> StreamEndpoint:
        """Return a stream endpoint that refuses in the same way; a stream counts as one call."""
        if path in self._exempt:
            return proceed

        async def bounded(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
            self._admit(call)
            self._in_flight += 1
            try:
                async with aclosing(proceed(messages, call)) as answers:
                    async for answer in answers:
                        yield answer
            finally:
                self._in_flight -= 1

        return bounded

    def _admit(self, call: Call) -> None:
        if self._in_flight >= self._most:
            raise SidecarError(
                Reason.OVERLOADED,
                f"more than {self._most} calls are in flight (limits.max_concurrent_calls); slow down and try again",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        if call.deadline <= time.monotonic():
            raise SidecarError(Reason.DEADLINE_EXCEEDED, "the deadline had passed when the call came; nothing was done")
