"""A header block in several frames (RFC 9113, section 6.10), bounded in bytes and in frames (CVE-2024-27316)."""

from __future__ import annotations

from typing import Final

from sidecar.server.h2 import frames
from sidecar.server.h2.faults import ConnectionFault

_MAX_BYTES: Final = 32_768
_MAX_CONTINUATIONS: Final = 16


class HeaderParts:
    """The parts so far."""

    __slots__ = ("_bytes", "_continuations", "_parts", "ended", "stream_id")

    def __init__(self) -> None:
        self.stream_id = 0
        """The stream whose block is not whole yet; 0 if there is none. Nothing else may come then."""
        self.ended = False
        """Whether the block ends the stream."""
        self._parts: list[bytes] = []
        self._bytes = 0
        self._continuations = 0

    def begin(self, stream_id: int, part: bytes, ended: bool) -> None:  # noqa: FBT001 (a flag of the frame)
        """Take the first part, of HEADERS."""
        self.stream_id = stream_id
        self.ended = ended
        self._parts = [part]
        self._bytes = len(part)
        self._continuations = 0

    def add(self, part: bytes) -> None:
        """Take a further part, of CONTINUATION."""
        if not self.stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._continuations += 1
        self._bytes += len(part)
        if self._continuations > _MAX_CONTINUATIONS or self._bytes > _MAX_BYTES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a header block without end")
        self._parts.append(part)

    def take(self) -> bytes:
        """Return the whole block, and forget it."""
        block = b"".join(self._parts)
        self._parts = []
        self.stream_id = 0
        return block
