"""What the fast engine knows before any call comes: its methods by path, and ready-made answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.call import Code, StatusError
from sidecar.server.h2 import replies
from sidecar.server.h2.head import BAD_TIMEOUT, UNKNOWN_ENCODING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.call import Endpoint, MethodTable
    from sidecar.server.engine import EnginePolicy
    from sidecar.server.h2.head import Head
    from sidecar.server.h2.sender import HeaderBlock

# Unfinished and unread messages of one connection, and answers that wait for a window: room for a few of the largest.
_HELD_MESSAGES: Final = 4
_LEAST_HELD_BYTES: Final = 32 * 1024 * 1024
# A method that is not allowed must be told which is (RFC 9110, section 15.5.6).
_ONLY_POST: Final = replies.http_refusal(405, (b"allow", b"POST"))
# The gRPC specification names this status ("Content-Type").
_ONLY_GRPC: Final = replies.http_refusal(415)
_DETAILS: Final = "grpc-status-details-bin"


class Route:
    """One method."""

    __slots__ = ("client_streams", "path", "server_streams", "stream", "unary")

    def __init__(self, endpoint: Endpoint) -> None:
        if (endpoint.unary is None) == (endpoint.stream is None):
            raise ValueError(f"{endpoint.path} must have either a unary or a stream endpoint")
        self.path = endpoint.path
        self.unary = endpoint.unary
        self.stream = endpoint.stream
        self.client_streams = endpoint.client_streams
        self.server_streams = endpoint.server_streams


class Routes:
    """All methods, and how calls end that reach none or fail before one."""

    def __init__(self, table: MethodTable, policy: EnginePolicy) -> None:
        self.by_path: Mapping[bytes, Route] = {
            path.encode(): Route(endpoint) for path, endpoint in table.endpoints.items()
        }
        self.unknown = table.unknown
        self.late = table.late
        self.too_large = table.too_large
        self.stopping = table.stopping
        self.interrupted = table.interrupted
        self.max_message_bytes = policy.max_message_bytes
        self.max_held_bytes = max(_LEAST_HELD_BYTES, _HELD_MESSAGES * policy.max_message_bytes)
        self.default_deadline = policy.default_deadline
        self.max_deadline = policy.max_deadline


def failed(error: StatusError, metadata: replies.Metadata) -> HeaderBlock:
    """Return the whole response of a call that fails before it answered anything."""
    return replies.trailers_only(int(error.code), error.message, _metadata(error, metadata))


def failed_late(error: StatusError, metadata: replies.Metadata) -> HeaderBlock:
    """Return the trailers of a call that fails after its response began."""
    return replies.trailers(int(error.code), error.message, _metadata(error, metadata))


def _metadata(error: StatusError, metadata: replies.Metadata) -> bytes:
    details = [(_DETAILS, error.details)] if error.details else []
    return replies.metadata_fields([*metadata, *details]) if metadata or details else b""


# A request that is not one message, to a method that takes one: a "request cardinality violation"
# (grpc/doc/statuscodes.md).
NOT_ONE_MESSAGE: Final = StatusError(Code.UNIMPLEMENTED, "the method takes exactly one message")
CUT_SHORT: Final = StatusError(Code.INTERNAL, "the request ends within a message")
NOT_ONE_ANSWER: Final = StatusError(Code.INTERNAL, "the method did not answer exactly once")
DEFECT: Final = StatusError(Code.UNKNOWN, "the server failed")
_BAD_TIMEOUT: Final = StatusError(Code.INTERNAL, "grpc-timeout is at most eight digits and one of H, M, S, m, u, n")
_UNKNOWN_ENCODING: Final = StatusError(Code.UNIMPLEMENTED, "grpc-encoding is neither identity nor gzip")
_HEADERS_TOO_LARGE: Final = StatusError(Code.RESOURCE_EXHAUSTED, "the metadata is larger than the server takes")
TOO_MUCH_HELD: Final = StatusError(
    Code.RESOURCE_EXHAUSTED, "the connection has too many unread messages under way; send fewer at a time"
)


def refusal(head: Head, routes: Routes) -> HeaderBlock:
    """Return the answer to a request that is not served."""
    if not head.is_post:
        return _ONLY_POST
    if not head.is_grpc:
        return _ONLY_GRPC
    if head.path not in routes.by_path:
        return failed(routes.unknown, [])
    if head.timeout == BAD_TIMEOUT:
        return failed(_BAD_TIMEOUT, [])
    if head.encoding == UNKNOWN_ENCODING:
        # With those that are taken, as the specification has it ("Compression").
        return replies.trailers_only(int(_UNKNOWN_ENCODING.code), _UNKNOWN_ENCODING.message, replies.ACCEPTED)
    return failed(_HEADERS_TOO_LARGE, [])
