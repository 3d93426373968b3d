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
# Messages are protobuf: of "application/grpc+json" nothing here could make sense.
_GRPC: Final = frozenset((b"application/grpc", b"application/grpc+proto"))


class Head:
    """What a header block says."""

    __slots__ = (
        "accepts_gzip", "content_length", "encoding", "is_fit", "is_grpc", "is_post", "malformed",
        "malformed_as_trailers", "metadata", "path", "size", "timeout",
    )  # fmt: skip

    def __init__(self, found: list[Field]) -> None:
        self.path = b""
        self.malformed = False
        """Whether HTTP/2 forbids to serve it: a stream error of type PROTOCOL_ERROR."""
        self.is_post = False
        self.is_grpc = False
        self.timeout = NO_TIMEOUT
        """Seconds, or NO_TIMEOUT, or BAD_TIMEOUT."""
        self.encoding = IDENTITY
        self.accepts_gzip = False
        self.content_length = -1
        """-1 if it does not say."""
        self.size = 0
        metadata: list[tuple[str, str | bytes]] = []
        # Bits for the pseudo-header fields seen: each once, and none after another field.
        seen = 0
        regular = False
        for field in found:
            kind = field.kind
            self.size += field.size
            if kind == fields.METADATA:
                regular = True
                metadata.extend(field.pairs)
            elif kind <= fields.PATH:
                bit = 1 << kind
                if regular or seen & bit:
                    self.malformed = True
                seen |= bit
                if kind == fields.PATH:
                    self.path = field.value
                elif kind == fields.METHOD:
                    self.is_post = field.value == b"POST"
            else:
                regular = True
                self._take(kind, field.value)
        # Trailers have no pseudo-header fields (section 8.1).
        self.malformed_as_trailers = self.malformed or seen != 0
        # Method, scheme and a path that is not empty must be there (section 8.3.1).
        if not self.path or not seen & (1 << fields.METHOD) or not seen & (1 << fields.SCHEME):
            self.malformed = True
        self.metadata: Pairs = tuple(metadata)
        self.is_fit = (
            self.is_post and self.is_grpc and self.timeout != BAD_TIMEOUT and self.encoding != UNKNOWN_ENCODING
        )
        """Whether a gRPC server can serve it, if it has the method."""

    def with_timeout(self, field: Field) -> Head:
        """Return the head as it is with one more field, the deadline, when it has none yet."""
        head = Head.__new__(Head)
        head.path = self.path
        head.malformed = self.malformed or field.kind == fields.MALFORMED
        head.malformed_as_trailers = self.malformed_as_trailers or field.kind == fields.MALFORMED
        head.is_post = self.is_post
        head.is_grpc = self.is_grpc
        head.timeout = _timeout(field.value) if field.kind == fields.TIMEOUT else NO_TIMEOUT
        head.encoding = self.encoding
        head.accepts_gzip = self.accepts_gzip
        head.content_length = self.content_length
        head.size = self.size + field.size
        head.metadata = self.metadata
        head.is_fit = self.is_fit and head.timeout != BAD_TIMEOUT
        return head

    def _take(self, kind: int, value: bytes) -> None:
        if kind == fields.CONTENT_TYPE:
            self.is_grpc = value.partition(b";")[0].rstrip() in _GRPC
        elif kind == fields.TIMEOUT:
            self.timeout = _timeout(value)
        elif kind == fields.ENCODING:
            self.encoding = GZIP if value == b"gzip" else IDENTITY if value == b"identity" else UNKNOWN_ENCODING
        elif kind == fields.ACCEPT_ENCODING:
            self.accepts_gzip = any(part.strip() == b"gzip" for part in value.split(b","))
        elif kind == fields.CONTENT_LENGTH:
            # A second one that says otherwise is as malformed as one that is no number (RFC 9110, section 8.6).
            length = int(value) if value.isdigit() else -1
            if length < 0 or self.content_length not in {-1, length}:
                self.malformed = True
            self.content_length = length
        elif kind == fields.MALFORMED:
            self.malformed = True


def _timeout(value: bytes) -> float:
    """Return seconds: at most eight digits and a unit ("Timeout" in the gRPC specification)."""
    digits = value[:-1]
    unit = _UNITS.get(value[-1:])
    if unit is None or not digits.isdigit() or len(digits) > _MAX_TIMEOUT_DIGITS:
        return BAD_TIMEOUT
    return int(digits) * unit
