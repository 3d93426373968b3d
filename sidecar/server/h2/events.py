"""What a peer's bytes come to: the events that `Connection.receive` returns, in the order of the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.server.h2.head import Head
    from sidecar.server.h2.streams import Stream


class Event:
    """One thing that happened."""

    __slots__ = ()


class RequestReceived(Event):
    """A client opened a stream; with `ended`, there will be no data."""

    __slots__ = ("ended", "head", "stream")

    def __init__(self, stream: Stream, head: Head, ended: bool) -> None:  # noqa: FBT001 (one is made for each call)
        self.stream = stream
        self.head = head
        self.ended = ended


class DataReceived(Event):
    """Data came on a stream.

    `weight` is what it took of the stream's window, padding included: the receiver gives it back with
    `Connection.credit` when it has room for more. With `ended`, it was the last.
    """

    __slots__ = ("data", "ended", "stream", "weight")

    def __init__(self, stream: Stream, data: bytes, weight: int, ended: bool) -> None:  # noqa: FBT001 (as above)
        self.stream = stream
        self.data = data
        self.weight = weight
        self.ended = ended


class StreamReset(Event):
    """A stream ended before its time: its client gave it up, or broke a rule. Nothing can be sent on it any more."""

    __slots__ = ("code", "stream")

    def __init__(self, stream: Stream, code: int) -> None:
        self.stream = stream
        self.code = code


class StreamDrained(Event):
    """All that was given to a stream to send has been sent, after some of it had to wait."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream) -> None:
        self.stream = stream


class PingAcknowledged(Event):
    """The client answered a PING of ours: it has seen everything sent before that."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class ConnectionFailed(Event):
    """The connection is over: the client broke a rule. What the sender holds should still be sent."""

    __slots__ = ("code", "message")

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
