"""Header blocks out: what a gRPC server answers with, in HPACK's plainest form.

Every field is a literal without indexing and without Huffman code (RFC 7541, section 6.2.2): on loopback bytes are
cheap, and a block without state can be made once and sent for ever.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import quote

from sidecar.server.h2.sender import HeaderBlock

_NAME: Final = re.compile(r"[0-9a-z_.-]+")
# The static table's entry of `:status: 200` (RFC 7541, appendix A).
_STATUS_200: Final = b"\x88"
# A number that does not fit into seven bits goes on in further bytes (RFC 7541, section 5.1).
_LOW_7: Final = 0x7F
_MORE: Final = 0x80
# The printable ASCII characters but the percent sign ("Status-Message" in the gRPC specification).
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

Metadata = list[tuple[str, "str | bytes"]]


def header_fields(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return the block of some fields."""
    return b"".join([b"\x00" + _string(name) + _string(value) for name, value in fields])


def metadata_fields(metadata: Metadata) -> bytes:
    """Return the block of application metadata; binary values leave as base64 without padding.

    A name that is none in the gRPC specification ("Header-Name") is left out: it would end the client's connection.
    """
    return header_fields(
        [
            (
                name.encode("ascii"),
                base64.b64encode(value).rstrip(b"=")
                if isinstance(value, bytes)
                else value.encode("latin-1", "replace"),
            )
            for name, value in metadata
            if _NAME.fullmatch(name)
        ]
    )


def trailers(code: int, message: str, metadata: bytes = b"") -> HeaderBlock:
    """Return the trailers that end a call."""
    return HeaderBlock(_status(code, message) + metadata)


def trailers_only(code: int, message: str, metadata: bytes = b"") -> HeaderBlock:
    """Return the one block that is a whole failed response ("Trailers-Only")."""
    return HeaderBlock(_CONTENT + _status(code, message) + metadata)


def http_refusal(status: int, *more: tuple[bytes, bytes]) -> HeaderBlock:
    """Return the answer to what is no gRPC, without content and with some more fields."""
    return HeaderBlock(header_fields([(b":status", str(status).encode()), (b"content-length", b"0"), *more]))


def response_headers(metadata: bytes = b"", *, gzip: bool = False) -> HeaderBlock:
    """Return the block that opens a response."""
    encoding = header_fields([(b"grpc-encoding", b"gzip")]) if gzip else b""
    return HeaderBlock(_CONTENT + encoding + metadata)


def _status(code: int, message: str) -> bytes:
    fields = [(b"grpc-status", str(code).encode())]
    if message:
        fields.append((b"grpc-message", quote(message, safe=_PLAIN).encode()))
    return header_fields(fields)


def _string(text: bytes) -> bytes:
    """Return a string with its length before it (sections 5.1 and 5.2)."""
    length = len(text)
    if length < _LOW_7:
        return bytes((length,)) + text
    head = bytearray((_LOW_7,))
    length -= _LOW_7
    while length > _LOW_7:
        head.append(length & _LOW_7 | _MORE)
        length >>= 7
    head.append(length)
    return bytes(head) + text


_CONTENT: Final = _STATUS_200 + header_fields([(b"content-type", b"application/grpc")])
HEADERS: Final = response_headers()
HEADERS_GZIP: Final = response_headers(gzip=True)
OK: Final = trailers(0, "")
# What the server takes, said to a client that sent something else.
ACCEPTED: Final = header_fields([(b"grpc-accept-encoding", b"identity,gzip")])
