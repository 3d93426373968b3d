"""gRPC's messages within a stream's data ("Length-Prefixed-Message" in the specification "gRPC over HTTP2").

A message is a flag that says whether it is compressed, its length in four bytes, and itself. Where DATA frames begin
and end means nothing.
"""

from __future__ import annotations

import zlib
from typing import Final

PREFIX_BYTES: Final = 5
# zlib's window for gzip (zlib.decompressobj).
_GZIP_WINDOW: Final = 31
# The fastest level: loopback is quicker than any compressor.
_GZIP_LEVEL: Final = 1
# Below this gzip's own header outweighs what it saves.
MIN_COMPRESSED_BYTES: Final = 1024


class MessageFault(Exception):  # noqa: N818 (a fault is the peer's)
    """A message that cannot be taken; `too_large` for one beyond the limit."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


class MessageReader:
    """Cuts a stream's data into messages."""

    __slots__ = ("_buffer", "_gzip", "_max_bytes")

    def __init__(self, max_bytes: int, gzip: bool) -> None:  # noqa: FBT001 (one is made for each stream)
        self._max_bytes = max_bytes
        self._gzip = gzip
        self._buffer = bytearray()

    @property
    def partial_bytes(self) -> int:
        """How much of a message has come that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take in data; return the messages that it completes, decompressed. Raises `MessageFault`."""
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        position = 0
        end = len(buffer)
        while end - position >= PREFIX_BYTES:
            flag = buffer[position]
            size = int.from_bytes(buffer[position + 1 : position + PREFIX_BYTES], "big")
            if size > self._max_bytes:
                raise too_large(self._max_bytes)
            if flag > 1:
                raise MessageFault("a message whose compressed flag is neither 0 nor 1")
            if flag and not self._gzip:
                raise MessageFault("a compressed message on a stream without grpc-encoding")
            start = position + PREFIX_BYTES
            if end - start < size:
                break
            position = start + size
            message = bytes(buffer[start:position])
            messages.append(_decompressed(message, self._max_bytes) if flag else message)
        del buffer[:position]
        return messages


def too_large(max_bytes: int) -> MessageFault:
    """Return the fault of a message beyond the limit."""
    return MessageFault(f"the message is larger than the {max_bytes} bytes that are allowed", too_large=True)


def _decompressed(message: bytes, max_bytes: int) -> bytes:
    """Return a message in the clear, or raise before more than the limit has been made of it."""
    stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        clear = stream.decompress(message, max_bytes + 1)
        if len(clear) > max_bytes:
            raise too_large(max_bytes)
        if not stream.eof or stream.unused_data:
            raise MessageFault("a message that is not one whole gzip stream")
    except zlib.error:
        raise MessageFault("a message that is not gzip") from None
    return clear


def framed(message: bytes, gzip: bool) -> bytes:  # noqa: FBT001 (the hot path)
    """Return a message with its prefix, compressed if that is allowed and worth it."""
    if gzip and len(message) >= MIN_COMPRESSED_BYTES:
        squeezer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
        message = squeezer.compress(message) + squeezer.flush()
        return b"\x01" + len(message).to_bytes(4, "big") + message
    return len(message).to_bytes(PREFIX_BYTES, "big") + message
