"""A streaming call on the fast engine: a task around the endpoint's generator.

Back-pressure both ways. Messages that the endpoint has not read yet are kept up to `_READ_AHEAD_BYTES`; beyond that the
stream's window is not given back, and the client has to wait. The endpoint is not asked for its next message while the
last waits for the client's window, or for the socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING

from sidecar.call import StatusError
from sidecar.server.fast import routes
from sidecar.server.h2 import replies, states
from sidecar.server.h2.frames import CANCEL
from sidecar.server.h2.head import GZIP
from sidecar.server.h2.messages import MessageFault, MessageReader, framed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sidecar.call import Call
    from sidecar.server.fast.link import Link
    from sidecar.server.fast.routes import Route
    from sidecar.server.h2.head import Head
    from sidecar.server.h2.sender import HeaderBlock
    from sidecar.server.h2.streams import Stream

_READ_AHEAD_BYTES = 64 * 1024
# What an endpoint may answer before the event loop has a turn.
_BURST_BYTES = 64 * 1024
# What a message takes besides its bytes: a flood of empty ones must weigh something.
_MESSAGE_OVERHEAD_BYTES = 64


class StreamCall:
    """One call, from its headers to its trailers."""

    def __init__(self, link: Link, stream: Stream, head: Head, call: Call, route: Route) -> None:
        self._link = link
        self._stream = stream
        self._call = call
        self._route = route
        self._accepts_gzip = head.accepts_gzip
        self._reader = MessageReader(link.routes.max_message_bytes, head.encoding == GZIP)
        self._messages: deque[bytes] = deque()
        self._message_bytes = 0
        self._received = 0
        self._ended = False
        self._held = 0
        self._owed = 0
        """The part of the window that is kept back until the endpoint reads on."""
        self._waiters: list[asyncio.Future[None]] = []
        """An endpoint may read in one task and answer in another: then both wait."""
        self._begun = False
        self._answered = False
        self._burst_bytes = 0
        self._is_cut = False
        self._task: asyncio.Task[None] | None = None
        self.deadline: float = call.deadline

    def begin(self) -> None:
        """Call the endpoint."""
        self._link.running += 1
        self._task = self._link.loop.create_task(self._serve())
        self._task.add_done_callback(self._done)

    # --- what the client does ---

    def receive(self, data: bytes, weight: int, ended: bool) -> None:  # noqa: FBT001 (as UnaryCall's)
        """Take in data of the request."""
        if self._answered or self._is_cut:
            return
        try:
            messages = self._reader.feed(data)
        except MessageFault as fault:
            self.end(self._link.fault(fault))
            return
        self._received += len(messages)
        self._messages.extend(messages)
        self._message_bytes += sum(map(_weight, messages))
        self._ended = ended
        if ended and self._reader.partial_bytes:
            self.end(routes.CUT_SHORT)
            return
        if self._is_miscounted():
            self.end(routes.NOT_ONE_MESSAGE)
            return
        if not self._hold():
            self.end(routes.TOO_MUCH_HELD)
            return
        self._owed += weight
        self._give_back()
        self._wake()

    def reset(self) -> None:
        """Give up: the client has."""
        self.abandon()
        self.cancel()

    def abandon(self) -> None:
        """Answer no more; whoever says so cancels the endpoint, now or a little later."""
        self._answered = True
        self._let_go()

    def cancel(self) -> None:
        """End the endpoint."""
        if self._task is not None:
            self._task.cancel()

    def expire(self) -> None:
        """End the call, whose deadline has passed."""
        if self._answered:
            self._link.sender.reset(self._stream, CANCEL)
            return
        self.end(self._link.routes.late)

    def end(self, error: StatusError) -> None:
        """Answer with an error, whatever the endpoint is doing."""
        self._fail(error)
        self.cancel()

    def cut(self) -> None:
        """Read no more of a conversation that has no end of its own: the engine stops.

        What has come is still answered; then it ends with STOPPING, so that its client asks elsewhere for the rest.
        """
        if self._route.client_streams and self._route.server_streams and not self._ended:
            self._is_cut = True
            self._wake()

    def drained(self) -> None:
        """Go on: what had to wait has been sent."""
        self._wake()

    # --- the endpoint ---

    async def _serve(self) -> None:
        endpoint = self._route.stream
        if endpoint is None:
            raise TypeError("not a streaming method")
        answers = 0
        try:
            async with aclosing(endpoint(self._requests(), self._call)) as responses:
                async for response in responses:
                    answers += 1
                    if answers > 1 and not self._route.server_streams:
                        break
                    await self._send(response)
        except StatusError as error:
            self._fail(error)
            return
        if answers != 1 and not self._route.server_streams:
            self._fail(routes.NOT_ONE_ANSWER)
            return
        if self._is_cut:
            self._fail(self._link.routes.stopping)
        if not self._answered:
            self._answered = True
            self._open()
            self._close(replies.trailers(0, "", replies.metadata_fields(list(self._call.trailers))))

    async def _requests(self) -> AsyncGenerator[bytes, None]:
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._message_bytes -= _weight(message)
                self._hold()
                self._give_back()
                yield message
            if self._ended or self._is_cut:
                return
            await self._wait()

    async def _send(self, response: bytes) -> None:
        if self._answered:
            return
        self._open()
        data = framed(response, self._call.compress and self._accepts_gzip)
        if not self._link.sender.send_data(self._stream, data):
            # Too much waits for the client on this connection: the stream was reset, and nobody else tells the call.
            self._link.has_output()
            self.reset()
            raise asyncio.CancelledError
        self._link.has_output()
        if not self._route.server_streams:
            return
        while self._stream.outbox is not None and not self._answered:
            await self._wait()
        self._burst_bytes += len(data)
        if self._burst_bytes >= _BURST_BYTES:
            # An endpoint that never waits would fill memory before the event loop gets to write.
            self._burst_bytes = 0
            self._link.flush()
            await asyncio.sleep(0)
        await self._link.writable()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._link.running -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._link.report(self._call, error)
        self._fail(routes.DEFECT)
        self._link.check_drained()

    # --- inside ---

    def _is_miscounted(self) -> bool:
        """Return whether the request is not one message, where it must be."""
        if self._route.client_streams:
            return False
        return self._received > 1 or (self._ended and self._received != 1)

    def _hold(self) -> bool:
        """Account for what is kept of the request; return False if the connection keeps too much."""
        size = self._message_bytes + self._reader.partial_bytes
        grown, self._held = size - self._held, size
        return self._link.hold(grown)

    def _give_back(self) -> None:
        """Give the window back, unless there is enough to read already."""
        if self._owed and self._message_bytes < _READ_AHEAD_BYTES:
            self._link.protocol.credit(self._stream, self._owed)
            self._owed = 0
            self._link.has_output()

    def _let_go(self) -> None:
        self._messages.clear()
        self._message_bytes = 0
        self._link.hold(-self._held)
        self._held = 0

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        """Wait until something has changed; what, the caller has to look."""
        waiter = self._link.loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _open(self) -> None:
        """Send the response's headers, if that has not been done."""
        if self._begun or self._stream.state == states.CLOSED:
            return
        self._begun = True
        gzip = self._call.compress and self._accepts_gzip
        metadata = replies.metadata_fields(list(self._call.response_headers))
        self._link.sender.send_headers(self._stream, replies.response_headers(metadata, gzip=gzip))

    def _fail(self, error: StatusError) -> None:
        if self._answered:
            return
        self._answered = True
        trailers = list(self._call.trailers)
        if self._call.response_headers:
            self._open()
        if self._begun:
            self._close(routes.failed_late(error, trailers))
        else:
            self._close(routes.failed(error, trailers))

    def _close(self, trailers: HeaderBlock) -> None:
        self._let_go()
        if self._stream.state != states.CLOSED:
            self._link.sender.send_trailers(self._stream, trailers)
            self._link.has_output()


def _weight(message: bytes) -> int:
    return len(message) + _MESSAGE_OVERHEAD_BYTES
