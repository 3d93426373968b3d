"""The head of a request: its fields as HTTP/2 and gRPC read them together.

Sources: RFC 9113, section 8.3 (pseudo-header fields) and 8.1.1 (malformed messages); the gRPC specification
"gRPC over HTTP2", section "Requests". A head never changes, so one may serve many calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.server.h2 import fields

if TYPE_CHECKING:
    from sidecar.server.h2.fields import Field, Pairs

NO_TIMEOUT: Final = -1.0
BAD_TIMEOUT: Final = -2.0

IDENTITY: Final = 0
GZIP: Final = 1
UNKNOWN_ENCODING: Final = 2

_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_TIMEOUT_DIGITS: Final = 8
# Of a content-length: 2^63 has as many.
_MAX_LENGTH_DIGITS: Final = 19
# Messages are protobuf: of "application/grpc+json" nothing here could make sense.
_GRPC: Final = frozenset((b"application/grpc", b"application/grpc+proto"))


class Head:
    """What a header block says."""

    __slots__ = (
        "accepts_gzip", "content_length", "encoding", "is_fit", "is_grpc", "is_post", "malformed",
        "malformed_as_trailers", "metadata", "path", "size", "timeout",
    )  # fmt: skip

    def __init__(self) -> None:
        self.path = b""
        self.malformed = False
        """Whether HTTP/2 forbids to serve it: a stream error of type PROTOCOL_ERROR."""
        self.malformed_as_trailers = False
        self.is_post = False
        self.is_grpc = False
        self.timeout = NO_TIMEOUT
        """Seconds, or NO_TIMEOUT, or BAD_TIMEOUT."""
        self.encoding = IDENTITY
        self.accepts_gzip = False
        self.content_length = -1
        """-1 if it does not say."""
        self.size = 0
        self.metadata: Pairs = ()
        self.is_fit = False
        """Whether a gRPC server can serve it, if it has the method."""

    def with_timeout(self, field: Field) -> Head:
        """Return the head as it is with one more field, the deadline, when it has none yet."""
        head = Head()
        broken = field.kind == fields.MALFORMED
        head.path = self.path
        head.malformed = self.malformed or broken
        head.malformed_as_trailers = self.malformed_as_trailers or broken
        head.is_post = self.is_post
        head.is_grpc = self.is_grpc
        head.timeout = NO_TIMEOUT if broken else _timeout(field.value)
        head.encoding = self.encoding
        head.accepts_gzip = self.accepts_gzip
        head.content_length = self.content_length
        head.size = self.size + field.size
        head.metadata = self.metadata
        head.is_fit = self.is_fit and head.timeout != BAD_TIMEOUT
        return head


def read_head(found: list[Field]) -> Head:
    """Return what the fields of a block say together."""
    head = Head()
    metadata: list[tuple[str, str | bytes]] = []
    # Bits for the pseudo-header fields seen: each once, and none after another field.
    seen = 0
    regular = False
    for field in found:
        kind = field.kind
        head.size += field.size
        if kind == fields.METADATA:
            regular = True
            metadata.extend(field.pairs)
        elif kind <= fields.PATH:
            bit = 1 << kind
            if regular or seen & bit:
                head.malformed = True
            seen |= bit
            if kind == fields.PATH:
                head.path = field.value
            elif kind == fields.METHOD:
                head.is_post = field.value == b"POST"
        else:
            regular = True
            _take(head, kind, field.value)
    # Trailers have no pseudo-header fields (section 8.1).
    head.malformed_as_trailers = head.malformed or seen != 0
    # Method, scheme and a path that is not empty must be there (section 8.3.1).
    if not head.path or not seen & (1 << fields.METHOD) or not seen & (1 << fields.SCHEME):
        head.malformed = True
    head.metadata = tuple(metadata)
    head.is_fit = head.is_post and head.is_grpc and head.timeout != BAD_TIMEOUT and head.encoding != UNKNOWN_ENCODING
    return head


def _take(head: Head, kind: int, value: bytes) -> None:
    if kind == fields.CONTENT_TYPE:
        head.is_grpc = value.partition(b";")[0].rstrip() in _GRPC
    elif kind == fields.TIMEOUT:
        head.timeout = _timeout(value)
    elif kind == fields.ENCODING:
        head.encoding = GZIP if value == b"gzip" else IDENTITY if value == b"identity" else UNKNOWN_ENCODING
    elif kind == fields.ACCEPT_ENCODING:
        head.accepts_gzip = any(part.strip() == b"gzip" for part in value.split(b","))
    elif kind == fields.CONTENT_LENGTH:
        # A second one that says otherwise is as malformed as one that is no number (RFC 9110, section 8.6).
        length = int(value) if value.isdigit() and len(value) <= _MAX_LENGTH_DIGITS else -1
        if length < 0 or head.content_length not in {-1, length}:
            head.malformed = True
        head.content_length = length
    elif kind == fields.MALFORMED:
        head.malformed = True


def _timeout(value: bytes) -> float:
    """Return seconds: at most eight digits and a unit ("Timeout" in the gRPC specification)."""
    digits = value[:-1]
    unit = _UNITS.get(value[-1:])
    if unit is None or not digits.isdigit() or len(digits) > _MAX_TIMEOUT_DIGITS:
        return BAD_TIMEOUT
    return int(digits) * unit
