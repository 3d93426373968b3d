"""Calls that are too many or too late are refused before any work is done for them.

A refusal costs microseconds, an accepted call that cannot be finished costs all of its work; under overload the
difference decides whether anybody is served. How many are too many is `admission.py`'s to say, from what became of the
last ones. Long-lived streams are exempt: health watches and reflection wait, and work little; a stream of batches lets
each batch in by itself, and a call that waits for another caller each of its turns (`sidecar.rpc.turns`). A call that
only seldom waits on purpose, such as for a cache's origin, is paused for that, and its time does not count.
"""

from __future__ import annotations

import time
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from sidecar.errors import Reason, SidecarError
from sidecar.interceptors.admission import WINDOW_SECONDS, Window, is_late, next_bound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint
    from sidecar.clock import Deadline
    from sidecar.interceptors.admission import AdmissionPolicy

# A full sidecar is through with what it has in about this time.
_RETRY_AFTER_MS = 50
# Where so many wait, what they wait for is slow.
_WAITING_RETRY_AFTER_MS = 500


class Admission:
    """The count of what is in flight, and its bound: calls, and the batches of streams."""

    def __init__(self, policy: AdmissionPolicy) -> None:
        self._policy = policy
        self._in_flight = 0
        self._waiting = 0
        self._ended = 0
        self._late = 0
        self._peak = 0
        self._refused = False
        self._judge_at = 0.0
        self.bound = policy.most
        """How many may be in flight now."""

    def enter(self, deadline: Deadline) -> float:
        """Count one more, and return when; raises OVERLOADED if there is no room, DEADLINE_EXCEEDED if it is late."""
        now = time.monotonic()
        if self._in_flight >= self.bound:
            self._refused = True
            raise SidecarError(
                Reason.OVERLOADED,
                f"{self.bound} calls are in flight, as many as can be answered in time "
                "(limits.max_concurrent_calls at most); slow down and try again",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        if deadline <= now:
            raise SidecarError(Reason.DEADLINE_EXCEEDED, "the deadline had passed when the call came; nothing was done")
        return self._count(now)

    def resume(self) -> float:
        """Count one again that was let in before and has left to wait on purpose, and return when; never refused."""
        return self._count(time.monotonic())

    @contextmanager
    def pause(self, call: Call) -> Iterator[None]:
        """Count a call that was let in for nothing during a block that waits on purpose; it goes on unrefused.

        Blocks of one call do not overlap. A call of the sidecar's own, whose method is no path, was never counted.
        Raises as `waiting` does.
        """
        if not call.method.startswith("/"):
            yield
            return
        with self.waiting():
            began = time.monotonic()
            self._in_flight -= 1
            try:
                yield
            finally:
                call.waited += self._count(time.monotonic()) - began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a call among those that wait on purpose during a block; raises OVERLOADED where these are too many."""
        most = self._policy.most_waiting
        if self._waiting >= most:
            raise SidecarError(
                Reason.OVERLOADED,
                f"{most} calls wait for what others load, or for an origin, as many as may "
                "(16 times limits.max_concurrent_calls); slow down and try again",
                retry_after_ms=_WAITING_RETRY_AFTER_MS,
            )
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def _count(self, now: float) -> float:
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)
        return now

    def leave(self, entered: float, deadline: Deadline) -> None:
        """Count one less, which `enter` let in then, with that deadline."""
        now = time.monotonic()
        self._in_flight -= 1
        self._ended += 1
        if is_late(now - entered, deadline - entered):
            self._late += 1
        if now >= self._judge_at:
            self._judge(now)

    def _judge(self, now: float) -> None:
        self._judge_at = now + WINDOW_SECONDS
        window = Window(ended=self._ended, late=self._late, peak=self._peak, refused=self._refused)
        self.bound = next_bound(self.bound, window, self._policy)
        self._ended = self._late = 0
        self._peak = self._in_flight
        self._refused = False


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
            entered = enter(call.deadline)
            try:
                return await proceed(message, call)
            finally:
                leave(entered + call.waited, call.deadline)

        return bounded

    def around_stream(self, path: str, proceed: StreamEndpoint) -> StreamEndpoint:
        """Return a stream endpoint that refuses in the same way; a stream counts as one call."""
        if path in self._exempt:
            return proceed
        enter, leave = self._admission.enter, self._admission.leave

        async def bounded(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
            entered = enter(call.deadline)
            try:
                async with aclosing(proceed(messages, call)) as answers:
                    async for answer in answers:
                        yield answer
            finally:
                leave(entered, call.deadline)

        return bounded
