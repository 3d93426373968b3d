"""The sending side of a connection: frames out, as far as the client's windows allow (RFC 9113, section 5.2).

Data that no window has room for waits in its stream's outbox. When the connection's window opens, the streams that wait
have it in turn; one that is not through goes to the end of the line. What waits is bounded for the whole connection.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sidecar.server.h2 import frames, states
from sidecar.server.h2.frames import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from sidecar.server.h2.guard import Guard
    from sidecar.server.h2.streams import Stream, Streams

# Data drawn from us in smaller pieces is not worth its frame.
_SMALL_PIECE_BYTES: Final = 256


class HeaderBlock:
    """A header block to send, with the beginnings of its frame."""

    __slots__ = ("block", "ending", "opening")

    def __init__(self, block: bytes) -> None:
        self.block = block
        start = len(block) << 16 | frames.HEADERS << 8
        self.opening = (start | frames.END_HEADERS).to_bytes(5, "big") if len(block) <= MAX_FRAME_BYTES else b""
        self.ending = (start | frames.END_HEADERS | frames.END_STREAM).to_bytes(5, "big") if self.opening else b""


class Sender:
    """What leaves."""

    __slots__ = (
        "_blocked",
        "_guard",
        "_max_unsent_bytes",
        "_out",
        "_streams",
        "stream_window",
        "unsent_bytes",
        "window",
    )

    def __init__(self, streams: Streams, guard: Guard, max_unsent_bytes: int) -> None:
        self._streams = streams
        self._guard = guard
        self._max_unsent_bytes = max_unsent_bytes
        self._out: list[bytes] = []
        self._blocked: dict[int, Stream] = {}
        self.window = frames.DEFAULT_WINDOW
        """What the client still takes on the connection."""
        self.stream_window = frames.DEFAULT_WINDOW
        """What it takes on a new stream."""
        self.unsent_bytes = 0
        """Data that waits for a window."""

    def put(self, frame: bytes) -> None:
        """Send a frame as it is."""
        self._out.append(frame)

    def take(self) -> bytes:
        """Return what is to be written, and forget it."""
        out = self._out
        if not out:
            return b""
        self._out = []
        return out[0] if len(out) == 1 else b"".join(out)

    def send_all(self, stream: Stream, head: HeaderBlock, data: bytes, trailers: HeaderBlock) -> None:
        """Send a whole response, as soon as the windows allow."""
        size = len(data)
        if (
            size <= stream.send_window
            and size <= self.window
            and size <= MAX_FRAME_BYTES
            and head.opening
            and trailers.ending
        ):
            self.window -= size
            number = stream.id.to_bytes(4, "big")
            self._out.append(
                b"".join(
                    (
                        head.opening, number, head.block,
                        size.to_bytes(3, "big"), b"\x00\x00", number, data,
                        trailers.ending, number, trailers.block,
                    )
                )
            )  # fmt: skip
            self._guard.has_sent()
            self._end(stream)
            return
        self.send_headers(stream, head)
        self.send_data(stream, data)
        self.send_trailers(stream, trailers)

    def send_headers(self, stream: Stream, head: HeaderBlock) -> None:
        """Send the response's headers."""
        self._guard.has_sent()
        self._put_block(stream.id, head.block, 0)

    def send_data(self, stream: Stream, data: bytes) -> bool:
        """Send data, at once or, where `stream.outbox` is then not None, when the windows allow.

        Return False if the stream is closed: before, or now, because more waits than the connection may hold.
        """
        if stream.state == states.CLOSED:
            return False
        self._guard.has_sent()
        size = len(data)
        if stream.outbox is None:
            if size <= stream.send_window and size <= self.window and size <= MAX_FRAME_BYTES:
                stream.send_window -= size
                self.window -= size
                self._out.append(frames.frame(frames.DATA, 0, stream.id, data))
                return True
            stream.outbox = deque()
        # In pieces of a frame's size: what leaves is freed, and to cut some off costs no copy of all the rest.
        stream.outbox.extend([data[start : start + MAX_FRAME_BYTES] for start in range(0, size or 1, MAX_FRAME_BYTES)])
        stream.outbox_bytes += size
        self.unsent_bytes += size
        self._pump(stream, drawn=False)
        if self.unsent_bytes > self._max_unsent_bytes:
            self.reset(stream, frames.ENHANCE_YOUR_CALM)
            return False
        return True

    def send_trailers(self, stream: Stream, trailers: HeaderBlock) -> None:
        """End the stream with trailers, once the data before them has been sent."""
        if stream.state == states.CLOSED:
            return
        self._guard.has_sent()
        if stream.outbox is not None:
            stream.trailers = trailers.block
            return
        self._put_block(stream.id, trailers.block, frames.END_STREAM)
        self._end(stream)

    def reset(self, stream: Stream, code: int) -> None:
        """Give a stream up."""
        if stream.state == states.CLOSED:
            return
        self.forget(stream)
        self._streams.remember_reset(stream.id)
        self._out.append(frames.rst_stream(stream.id, code))

    def forget(self, stream: Stream) -> None:
        """Drop whatever waits to be sent on a stream, and the stream."""
        self.unsent_bytes -= stream.outbox_bytes
        stream.outbox_bytes = 0
        stream.outbox = None
        if self._blocked:
            self._blocked.pop(stream.id, None)
        self._streams.close(stream)

    def widen(self, stream: Stream) -> bool:
        """Go on with a stream whose window has opened; return whether nothing of it waits any more."""
        return stream.outbox is not None and self._pump(stream, drawn=True)

    def widen_all(self) -> list[Stream]:
        """Go on with all that wait for the connection's window, since it has opened; return those that are through."""
        drained = []
        for stream in list(self._blocked.values()):
            if self.window <= 0:
                break
            del self._blocked[stream.id]
            if self._pump(stream, drawn=True):
                drained.append(stream)
        return drained

    # --- inside ---

    def _put_block(self, stream_id: int, block: bytes, end_stream: int) -> None:
        """Send a header block, in more than one frame if it is long (section 4.3)."""
        last = max(0, (len(block) - 1) // MAX_FRAME_BYTES)
        for number in range(last + 1):
            part = block[number * MAX_FRAME_BYTES : (number + 1) * MAX_FRAME_BYTES]
            kind = frames.CONTINUATION if number else frames.HEADERS
            flags = (0 if number else end_stream) | (frames.END_HEADERS if number == last else 0)
            self._out.append(frames.frame(kind, flags, stream_id, part))

    def _pump(self, stream: Stream, *, drawn: bool) -> bool:
        """Send of a stream's outbox what the windows allow; return whether all of it has left.

        `drawn`: because the client has just opened a window, whose size it answers for.
        """
        outbox = stream.outbox
        if outbox is None:
            return True
        while outbox:
            data = outbox[0]
            room = min(stream.send_window, self.window, MAX_FRAME_BYTES)
            if room <= 0 and data:
                break
            if len(data) <= room:
                outbox.popleft()
            else:
                if drawn and room < _SMALL_PIECE_BYTES:
                    self._guard.small_piece()
                outbox[0] = data[room:]
                data = data[:room]
            size = len(data)
            stream.send_window -= size
            self.window -= size
            stream.outbox_bytes -= size
            self.unsent_bytes -= size
            self._guard.has_sent()
            self._out.append(frames.frame(frames.DATA, 0, stream.id, data))
        if outbox:
            if stream.send_window > 0:
                self._blocked[stream.id] = stream
            else:
                # It waits for its own window: the connection's is of no use to it, however often that opens.
                self._blocked.pop(stream.id, None)
            return False
        stream.outbox = None
        self._blocked.pop(stream.id, None)
        if stream.trailers is not None:
            self._put_block(stream.id, stream.trailers, frames.END_STREAM)
            self._end(stream)
        return True

    def _end(self, stream: Stream) -> None:
        """Note that our side of a stream has ended; a client that has not is told that it need not go on."""
        if stream.state == states.OPEN:
            # Section 8.1: a server may do so without error, once the response is complete.
            self._streams.remember_reset(stream.id)
            self._out.append(frames.rst_stream(stream.id, frames.NO_ERROR))
        self._streams.close(stream)
