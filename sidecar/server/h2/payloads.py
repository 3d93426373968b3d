"""What lies around the content of a frame: padding and priority (RFC 9113, sections 6.1 to 6.3)."""

from __future__ import annotations

from sidecar.server.h2 import frames
from sidecar.server.h2.faults import ConnectionFault


def unpadded(payload: bytes, least: int) -> bytes:
    """Return what a padded frame holds besides its padding (section 6.1), which is so many bytes at least."""
    if not payload:
        raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a padded frame without its padding's length")
    end = len(payload) - payload[0]
    if end < 1 + least:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1:end]


def dependency(priority: bytes) -> int:
    """Return the stream that a priority names; nothing else of it is of use any more (section 5.3)."""
    return int.from_bytes(priority[:4], "big") & frames.MAX_STREAM_ID
