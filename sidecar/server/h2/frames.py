"""The frames of HTTP/2 (RFC 9113, sections 4 and 6): their numbers, and the bytes of those that are sent.

A frame is a header of nine bytes (length of the payload in three, type, flags, stream in four) and its payload. Frames
are read in `connection.py`, in one loop without an object for each.
"""

from __future__ import annotations

from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113, section 3.4)."""

HEADER_BYTES: Final = 9
# Every frame of ours and of theirs may be this long; nobody is told of another bound (section 4.2).
MAX_FRAME_BYTES: Final = 16_384
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# The lengths of payloads whose length is fixed, or has a least.
PRIORITY_BYTES: Final = 5
RST_STREAM_BYTES: Final = 4
PING_BYTES: Final = 8
GOAWAY_BYTES: Final = 8
WINDOW_UPDATE_BYTES: Final = 4

END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
HAS_PRIORITY: Final = 0x20

SETTINGS_HEADER_TABLE_SIZE: Final = 1
SETTINGS_ENABLE_PUSH: Final = 2
SETTINGS_MAX_CONCURRENT_STREAMS: Final = 3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
SETTINGS_MAX_FRAME_SIZE: Final = 5
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 6

# Error codes (section 7).
NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

SETTINGS_ACK: Final = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a frame."""
    head = (len(payload) << 16 | kind << 8 | flags).to_bytes(5, "big")
    return head + stream_id.to_bytes(4, "big") + payload


def settings(values: list[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame (section 6.5)."""
    payload = b"".join([number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in values])
    return frame(SETTINGS, 0, 0, payload)


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return an RST_STREAM frame (section 6.4)."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame (section 6.9)."""
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def goaway(last_stream_id: int, code: int, debug: bytes) -> bytes:
    """Return a GOAWAY frame (section 6.8)."""
    return frame(GOAWAY, 0, 0, last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big") + debug)
