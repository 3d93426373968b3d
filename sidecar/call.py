"""What a servicer, an interceptor and an engine say to each other: calls, methods, endpoints.

An engine turns its transport into `Call`s and message bytes and hands them to an `Endpoint`; it knows no service. The
rpc layer describes its services as `Method`s; it knows no transport. `interceptors/` makes an endpoint of a method
once, at start-up, so that a call meets no lookup and no closure of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.clock import NEVER, Deadline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    Metadata = Sequence[tuple[str, str | bytes]]
    UnaryHandler = Callable[[Any, "Call"], Awaitable[Any]]
    StreamHandler = Callable[[AsyncIterator[Any], "Call"], AsyncGenerator[Any, None]]
    UnaryEndpoint = Callable[[bytes, "Call"], Awaitable[bytes]]
    StreamEndpoint = Callable[[AsyncIterator[bytes], "Call"], AsyncGenerator[bytes, None]]


class Code(IntEnum):
    """The gRPC status codes (grpc/doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class PeerCredentials(NamedTuple):
    """Who is at the other end of a Unix socket, as the kernel says (`SO_PEERCRED`, unix(7))."""

    pid: int
    uid: int
    gid: int


class Call:
    """One call on its way through the sidecar.

    `deadline` bounds everything done on its behalf. `metadata` is what the caller sent, in its order, each name as
    often as it came. `span` is the OpenTelemetry span of a sampled call, else None, and every layer that would trace
    looks there first. `credentials` are the caller's where the transport knows them beyond doubt, else None.

    An endpoint may say how its answer looks: `response_headers` and `compress` until it gives its first message or
    fails, `trailers` until it ends, well or with an error. `compress` is a wish, granted with gzip where the engine
    knows that the caller takes it.

    `waited` is for how many seconds the call has waited on purpose, for what others do: they say nothing of the
    sidecar's speed.
    """

    __slots__ = (
        "compress", "credentials", "deadline", "metadata", "method", "peer", "response_headers", "span", "trailers",
        "waited",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        *,
        deadline: Deadline = NEVER,
        metadata: Metadata = (),
        peer: str = "",
        credentials: PeerCredentials | None = None,
    ) -> None:
        self.method = method
        self.deadline = deadline
        self.metadata = metadata
        self.peer = peer
        self.credentials = credentials
        self.span: Any = None
        self.response_headers: Metadata = ()
        self.trailers: Metadata = ()
        self.compress = False
        self.waited = 0.0


class StatusError(Exception):
    """How a failed call ends on the wire: the only exception an endpoint raises on purpose.

    `details` is a serialized `google.rpc.Status` for the trailer `grpc-status-details-bin`.
    """

    def __init__(self, code: Code, message: str, details: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryMethod:
    """A method with one request and one response, as the rpc layer describes it."""

    path: str
    """`/package.Service/Method`."""
    decode: Callable[[bytes], Any]
    """Make the request of its bytes; raises `SidecarError(MESSAGE_MALFORMED)`."""
    encode: Callable[[Any], bytes]
    handle: UnaryHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMethod:
    """A method that streams in at least one direction; a single message is a stream of one."""

    path: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    handle: StreamHandler
    client_streams: bool = False
    server_streams: bool = True


Method = UnaryMethod | StreamMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What an engine serves at one path: bytes in, bytes out, `StatusError` for a failure.

    Exactly one of `unary` and `stream` is set.
    """

    path: str
    unary: UnaryEndpoint | None = None
    stream: StreamEndpoint | None = None
    client_streams: bool = False
    server_streams: bool = False


_LATE = StatusError(Code.DEADLINE_EXCEEDED, "the deadline passed")
_TOO_LARGE = StatusError(Code.RESOURCE_EXHAUSTED, "the message is too large")
_STOPPING = StatusError(Code.UNAVAILABLE, "the server is stopping")
_INTERRUPTED = StatusError(Code.CANCELLED, "the server stopped before the call had ended")


@dataclass(frozen=True, slots=True)
class MethodTable:
    """All that a sidecar serves, by path."""

    endpoints: Mapping[str, Endpoint]
    unknown: StatusError
    """How a call of any other path ends."""
    late: StatusError = _LATE
    """How a call ends whose deadline passes while it is served."""
    too_large: StatusError = _TOO_LARGE
    """How a call ends whose message is larger than the engine takes."""
    stopping: StatusError = _STOPPING
    """How a conversation ends that the engine reads no further, since it stops."""
    interrupted: StatusError = _INTERRUPTED
    """How a call ends that the engine's end does not wait for."""
