"""The client's SETTINGS (RFC 9113, section 6.5): only its initial window concerns a server that sends small frames."""

from __future__ import annotations

from typing import Final

from sidecar.server.h2 import frames
from sidecar.server.h2.faults import ConnectionFault

_SETTING_BYTES: Final = 6
# The length of a frame is three bytes on the wire.
_LARGEST_FRAME: Final = 2**24 - 1


def initial_window(payload: bytes, window: int) -> int:
    """Return the initial window that a payload leaves, which was `window` before; raises `ConnectionFault`.

    The last one counts if there are several: changing every stream's window for each would be work for nothing.
    """
    if len(payload) % _SETTING_BYTES:
        raise ConnectionFault(frames.FRAME_SIZE_ERROR, "SETTINGS of a broken length")
    for position in range(0, len(payload), _SETTING_BYTES):
        number = int.from_bytes(payload[position : position + 2], "big")
        value = int.from_bytes(payload[position + 2 : position + _SETTING_BYTES], "big")
        if number == frames.SETTINGS_INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "an initial window that is too large")
            window = value
        elif number == frames.SETTINGS_ENABLE_PUSH and value > 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        elif number == frames.SETTINGS_MAX_FRAME_SIZE and not frames.MAX_FRAME_BYTES <= value <= _LARGEST_FRAME:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a largest frame out of bounds")
    return window
