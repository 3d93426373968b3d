"""One header field, read once: what it is to HTTP/2 (RFC 9113, section 8) and to gRPC over HTTP/2.

A client sends the same few fields with every call. A `Field` keeps all that can be said of one by itself, so that the
next call finds it said.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

METADATA: Final = 0
METHOD: Final = 1
SCHEME: Final = 2
AUTHORITY: Final = 3
PATH: Final = 4
CONTENT_TYPE: Final = 5
TE: Final = 6
TIMEOUT: Final = 7
ENCODING: Final = 8
ACCEPT_ENCODING: Final = 9
CONTENT_LENGTH: Final = 10
MALFORMED: Final = 11
"""A field that makes the whole request malformed."""

_KINDS: Final = {
    b":method": METHOD,
    b":scheme": SCHEME,
    b":authority": AUTHORITY,
    b":path": PATH,
    b"content-type": CONTENT_TYPE,
    b"te": TE,
    b"grpc-timeout": TIMEOUT,
    b"grpc-encoding": ENCODING,
    b"grpc-accept-encoding": ACCEPT_ENCODING,
    b"content-length": CONTENT_LENGTH,
    # Connection-specific fields (RFC 9113, section 8.2.2).
    b"connection": MALFORMED,
    b"proxy-connection": MALFORMED,
    b"keep-alive": MALFORMED,
    b"transfer-encoding": MALFORMED,
    b"upgrade": MALFORMED,
}
# What no name and no value may hold (RFC 9113, section 8.2.1). A colon only begins the names in the table above.
_BAD_NAME: Final = re.compile(rb"[\x00-\x20A-Z:\x7f-\xff]")
_BLANKS: Final = b" \t"
_BINARY: Final = b"-bin"
# What the entry of a header list weighs besides name and value (RFC 9113, section 10.5.1).
_ENTRY_BYTES: Final = 32

Pairs = tuple[tuple[str, "str | bytes"], ...]


class Field:
    """A name and a value, and what they mean."""

    __slots__ = ("kind", "name", "pairs", "size", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self.size = len(name) + len(value) + _ENTRY_BYTES
        kind = _KINDS.get(name, -1)
        if kind < 0:
            kind = METADATA if name and _BAD_NAME.search(name) is None else MALFORMED
        # Not by a regular expression: its 30 ns a byte would make long values an attack of their own.
        if b"\0" in value or b"\n" in value or b"\r" in value or value.strip(_BLANKS) != value:
            kind = MALFORMED
        elif kind == TE and value != b"trailers":
            kind = MALFORMED  # section 8.2.2
        pairs: Pairs = ()
        if kind == METADATA:
            if name.endswith(_BINARY):
                decoded = _binary(name.decode("ascii"), value)
                if decoded is None:
                    kind = MALFORMED
                else:
                    pairs = decoded
            else:
                pairs = ((name.decode("ascii"), value.decode("latin-1")),)
        self.kind = kind
        self.pairs = pairs
        """What the application sees of it: nothing of the fields that are the protocol's own."""


def _binary(name: str, value: bytes) -> Pairs | None:
    """Return a binary field's values, which may come joined by commas; None if one is not base64.

    gRPC over HTTP/2, "Binary-Header": padding may be left out.
    """
    pairs: list[tuple[str, str | bytes]] = []
    for part in value.split(b","):
        text = part.strip(b" \t").rstrip(b"=")
        try:
            pairs.append((name, base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)))
        except (binascii.Error, ValueError):
            return None
    return tuple(pairs)
