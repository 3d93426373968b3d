"""A unary call on the fast engine: one message in, one endpoint's coroutine, one response out.

The whole of a usual call is here and in `Driver`: its message comes in one DATA frame with END_STREAM, the coroutine
runs at once, and the response leaves as one piece. What is unusual (a message in parts, compressed, or too many of
them) goes through a `MessageReader`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sidecar.call import StatusError
from sidecar.server.fast import routes
from sidecar.server.fast.driver import Driver
from sidecar.server.h2 import replies, states
from sidecar.server.h2.frames import CANCEL
from sidecar.server.h2.head import GZIP
from sidecar.server.h2.messages import PREFIX_BYTES, MessageFault, MessageReader, framed

if TYPE_CHECKING:
    from sidecar.call import Call, UnaryEndpoint
    from sidecar.server.fast.link import Link
    from sidecar.server.h2.head import Head
    from sidecar.server.h2.sender import HeaderBlock
    from sidecar.server.h2.streams import Stream


class UnaryCall(Driver):
    """One call, from its headers to its trailers."""

    __slots__ = (
        "_answered",
        "_call",
        "_endpoint",
        "_head",
        "_held",
        "_link",
        "_message",
        "_reader",
        "_stream",
        "deadline",
    )

    def __init__(self, link: Link, stream: Stream, head: Head, call: Call, endpoint: UnaryEndpoint) -> None:
        super().__init__(link.loop, link.context)
        self._link = link
        self._stream = stream
        self._head = head
        self._call = call
        self._endpoint = endpoint
        self._message: bytes | None = None
        self._reader: MessageReader | None = None
        self._held = 0
        self._answered = False
        self.deadline: float = call.deadline

    # --- what the client does ---

    def receive(self, data: bytes, weight: int, ended: bool) -> None:  # noqa: FBT001 (the hot path)
        """Take in data of the request."""
        if self._answered:
            return
        size = len(data) - PREFIX_BYTES
        if (
            ended
            and self._reader is None
            and size >= 0
            and data[0] == 0
            and int.from_bytes(data[1:PREFIX_BYTES], "big") == size
            and size <= self._link.routes.max_message_bytes
        ):
            self._run(data[PREFIX_BYTES:])
            return
        self._receive_part(data, weight, ended)

    def reset(self) -> None:
        """Give up: the client has."""
        self.abandon()
        self.cancel()

    def abandon(self) -> None:
        """Answer no more; whoever says so cancels the endpoint, now or a little later."""
        self._answered = True
        self._release()

    def expire(self) -> None:
        """End the call, whose deadline has passed."""
        if self._answered:
            # The client does not take the response.
            self._link.sender.reset(self._stream, CANCEL)
            return
        self.end(self._link.routes.late)

    def end(self, error: StatusError) -> None:
        """Answer with an error, whatever the endpoint is doing."""
        self._fail(error)
        self.cancel()

    def drained(self) -> None:
        """Do nothing: the call was over when its response was handed to the connection."""

    def cut(self) -> None:
        """Do nothing: one message has an end."""

    # --- what becomes of the endpoint's coroutine ---

    def returned(self, value: Any) -> None:
        """Send the response; see `Driver`."""
        link = self._link
        link.running -= 1
        if self._answered:
            link.check_drained()
            return
        try:
            head, body, trailers = self._response(value)
        except Exception as error:  # noqa: BLE001 (an answer that cannot be sent is a defect of its endpoint)
            self._link.report(self._call, error)
            self._fail(routes.DEFECT)
            return
        self._answered = True
        link.sender.send_all(self._stream, head, body, trailers)
        link.has_output()

    def raised(self, error: BaseException) -> None:
        """Send the error; see `Driver`."""
        self._link.running -= 1
        if self._answered:
            self._link.check_drained()
            return
        if isinstance(error, StatusError):
            self._fail(error)
            return
        if not isinstance(error, asyncio.CancelledError):
            self._link.report(self._call, error)
        self._fail(routes.DEFECT)

    # --- inside ---

    def _response(self, message: bytes) -> tuple[HeaderBlock, bytes, HeaderBlock]:
        """Return the headers, the data and the trailers of a response."""
        call = self._call
        gzip = call.compress and self._head.accepts_gzip
        head = replies.HEADERS_GZIP if gzip else replies.HEADERS
        trailers = replies.OK
        if call.response_headers:
            head = replies.response_headers(replies.metadata_fields(list(call.response_headers)), gzip=gzip)
        if call.trailers:
            trailers = replies.trailers(0, "", replies.metadata_fields(list(call.trailers)))
        return head, framed(message, gzip), trailers

    def _run(self, message: bytes) -> None:
        self._link.running += 1
        # An endpoint's awaitable is its coroutine: endpoints are `async def` (sidecar/interceptors/chain.py).
        self.start(self._endpoint(message, self._call))  # type: ignore[arg-type]

    def _receive_part(self, data: bytes, weight: int, ended: bool) -> None:  # noqa: FBT001 (as above)
        link = self._link
        reader = self._reader
        if reader is None:
            reader = self._reader = MessageReader(link.routes.max_message_bytes, self._head.encoding == GZIP)
        try:
            messages = reader.feed(data)
        except MessageFault as fault:
            self._fail(link.fault(fault))
            return
        if len(messages) + (self._message is not None) > 1:
            self._fail(routes.NOT_ONE_MESSAGE)
            return
        if messages:
            self._message = messages[0]
        if ended:
            message, self._message = self._message, None
            self._release()
            if message is None or reader.partial_bytes:
                self._fail(routes.CUT_SHORT if reader.partial_bytes else routes.NOT_ONE_MESSAGE)
                return
            self._run(message)
            return
        if not self._hold(reader.partial_bytes + len(self._message or b"")):
            self._fail(routes.TOO_MUCH_HELD)
            return
        link.protocol.credit(self._stream, weight)

    def _hold(self, size: int) -> bool:
        """Account for what is kept of the request; return False if the connection keeps too much."""
        grown, self._held = size - self._held, size
        return self._link.hold(grown)

    def _release(self) -> None:
        self._link.hold(-self._held)
        self._held = 0
        self._message = None
        self._reader = None

    def _fail(self, error: StatusError) -> None:
        if self._answered:
            return
        self._answered = True
        self._release()
        if self._stream.state == states.CLOSED:
            return
        link = self._link
        call = self._call
        if call.response_headers:
            head = replies.response_headers(replies.metadata_fields(list(call.response_headers)))
            link.sender.send_headers(self._stream, head)
            link.sender.send_trailers(self._stream, routes.failed_late(error, list(call.trailers)))
        else:
            link.sender.send_trailers(self._stream, routes.failed(error, list(call.trailers)))
        link.has_output()
