"""Calls that are too many or too late are refused before any work is done for them.

A refusal costs microseconds, an accepted call that cannot be finished costs all of its work; under overload the
difference decides whether anybody is served. Long-lived streams are exempt: health watches and reflection wait, and
work little; a stream of batches lets each batch in by itself.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint
    from sidecar.clock import Deadline

# A full sidecar is through with what it has in about this time.
_RETRY_AFTER_MS = 50


class Admission:
    """The count of what is in flight, and its bound: calls, and the batches of streams."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_flight = 0

    def enter(self, deadline: Deadline) -> None:
        """Count one more; raises OVERLOADED if there is no room, DEADLINE_EXCEEDED if it comes too late."""
        if self._in_flight >= self._most:
            raise SidecarError(
                Reason.OVERLOADED,
                f"more than {self._most} calls are in flight (limits.max_concurrent_calls); slow down and try again",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        if deadline <= time.monotonic():
            raise SidecarError(Reason.DEADLINE_EXCEEDED, "the deadline had passed when the call came; nothing was done")
        self._in_flight += 1

    def leave(self) -> None:
        """Count one less; only after `enter` has succeeded."""
        self._in_flight -= 1


class SheddingInterceptor:
    """Bounds the calls in flight, over all methods but the exempt ones."""

    def __init__(self, *, admission: Admission, exempt: Collection[str]) -> None:
        self._admission = admission
        self._exempt = frozenset(exempt)

    def around_unary(self, path: str, proceed: UnaryEndpoint) -> UnaryEndpoint:
        """Return an endpoint that refuses with OVERLOADED or DEADLINE_EXCEEDED before it proceeds."""
        if path in self._exempt:
            return proceed
        enter, leave = self._admission.enter, self._admission.leave

        async def bounded(message: bytes, call: Call) -> bytes:
            enter(call.deadline)
            try:
                return await proceed(message, call)
            finally:
                leave()

        return bounded

    def around_stream(self, path: str, proceed: StreamEndpoint) -> StreamEndpoint:
        """Return a stream endpoint that refuses in the same way; a stream counts as one call."""
        if path in self._exempt:
            return proceed
        enter, leave = self._admission.enter, self._admission.leave

        async def bounded(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
            enter(call.deadline)
            try:
                async with aclosing(proceed(messages, call)) as answers:
                    async for answer in answers:
                        yield answer
            finally:
                leave()

        return bounded
