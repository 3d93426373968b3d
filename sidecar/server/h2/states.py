"""The life of a stream as a table (RFC 9113, section 5.1), for a server whose client opens all streams.

`half-closed (local)` and the `reserved` states do not occur: a server that ends a stream before its client has ended it
resets it in the same breath, with NO_ERROR (section 8.1), and nothing is pushed.
"""

from __future__ import annotations

from typing import Final

IDLE: Final = 0
OPEN: Final = 1
HALF_CLOSED_REMOTE: Final = 2
CLOSED: Final = 3

RECV_HEADERS: Final = 0
RECV_HEADERS_END: Final = 1
"""HEADERS with END_STREAM: a request without a body, or trailers."""
RECV_DATA: Final = 2
RECV_DATA_END: Final = 3

# In place of a state: what is wrong.
PROTOCOL_FAULT: Final = -1
STREAM_CLOSED_FAULT: Final = -2

_COLUMNS: Final = 4
# A second HEADERS that does not end the stream is malformed: trailers must (section 8.1). After END_STREAM nothing but
# WINDOW_UPDATE, PRIORITY and RST_STREAM may come (section 5.1, "half-closed (remote)").
_TABLE: Final = (
    # RECV_HEADERS        RECV_HEADERS_END     RECV_DATA            RECV_DATA_END
    OPEN,                 HALF_CLOSED_REMOTE,  PROTOCOL_FAULT,      PROTOCOL_FAULT,       # IDLE
    PROTOCOL_FAULT,       HALF_CLOSED_REMOTE,  OPEN,                HALF_CLOSED_REMOTE,   # OPEN
    STREAM_CLOSED_FAULT,  STREAM_CLOSED_FAULT, STREAM_CLOSED_FAULT, STREAM_CLOSED_FAULT,  # HALF_CLOSED_REMOTE
    STREAM_CLOSED_FAULT,  STREAM_CLOSED_FAULT, STREAM_CLOSED_FAULT, STREAM_CLOSED_FAULT,  # CLOSED
)  # fmt: skip


def after(state: int, received: int) -> int:
    """Return the state that follows, or a negative number that says what is wrong."""
    return _TABLE[state * _COLUMNS + received]
