"""The streams of a connection: those under way, and what must be known of those that are over."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from sidecar.server.h2 import states
from sidecar.server.h2.faults import StreamFault
from sidecar.server.h2.frames import MAX_STREAM_ID, MAX_WINDOW, PROTOCOL_ERROR, STREAM_CLOSED
from sidecar.server.h2.states import CLOSED, OPEN

# More than any window: a first WINDOW_UPDATE is never one too many.
NEVER_WIDENED: Final = MAX_WINDOW + 1
# Streams that we reset and whose client may not know it yet (RFC 9113, section 5.1, "closed").
_MAX_RESETS_REMEMBERED: Final = 1000


class Stream:
    """A request and its response under way."""

    __slots__ = (
        "call", "expected", "id", "opened_at", "outbox", "outbox_bytes", "owed", "receive_window", "received",
        "send_window", "state", "trailers", "widened_to",
    )  # fmt: skip

    def __init__(self, stream_id: int, send_window: int, receive_window: int, opened_at: float, expected: int) -> None:
        self.id = stream_id
        self.state = OPEN
        self.send_window = send_window
        self.receive_window = receive_window
        self.owed = 0
        """Received and given back by the receiver, but not yet said to the client."""
        self.opened_at = opened_at
        self.expected = expected
        """The content-length, -1 if there was none."""
        self.received = 0
        self.outbox: deque[bytes] | None = None
        """Data that waits for a window."""
        self.outbox_bytes = 0
        self.trailers: bytes | None = None
        """A header block that ends the stream, behind the data that waits."""
        self.widened_to = NEVER_WIDENED
        """The send window after the client's last WINDOW_UPDATE."""
        self.call: Any = None
        """Whatever the user of the connection keeps with the stream."""

    def advance(self, received: int) -> None:
        """Move to the next state, or raise as the table says."""
        state = states.after(self.state, received)
        if state < 0:
            raise StreamFault(self.id, PROTOCOL_ERROR if state == states.PROTOCOL_FAULT else STREAM_CLOSED)
        self.state = state

    def check_length(self) -> None:
        """Raise unless the data is as long as content-length said (RFC 9113, section 8.1.1)."""
        if self.expected >= 0 and self.received != self.expected:
            raise StreamFault(self.id, PROTOCOL_ERROR)


class Streams:
    """All streams that a client has opened."""

    __slots__ = ("_reset_ids", "_resets", "final_id", "last_id", "live")

    def __init__(self) -> None:
        self.live: dict[int, Stream] = {}
        self.last_id = 0
        """The highest that the client has opened."""
        self.final_id = MAX_STREAM_ID
        """The last that is served; lower once the connection is about to end."""
        self._resets: deque[int] = deque()
        self._reset_ids: set[int] = set()

    def is_idle(self, stream_id: int) -> bool:
        """Return whether a stream was never opened; no client opens one with an even number."""
        return stream_id > self.last_id or not stream_id & 1

    def is_ignored(self, stream_id: int) -> bool:
        """Return whether a stream that is not live may still get frames that its client sent in good faith."""
        return stream_id in self._reset_ids or stream_id > self.final_id

    def close(self, stream: Stream) -> None:
        """Forget a stream: nothing is received or sent on it any more."""
        stream.state = CLOSED
        self.live.pop(stream.id, None)

    def remember_reset(self, stream_id: int) -> None:
        """Note that we reset a stream."""
        if stream_id in self._reset_ids:
            return
        self._resets.append(stream_id)
        self._reset_ids.add(stream_id)
        if len(self._resets) > _MAX_RESETS_REMEMBERED:
            self._reset_ids.discard(self._resets.popleft())
