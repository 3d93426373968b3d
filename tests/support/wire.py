"""A bare pipelined connection: half a million steps of a script take seconds with it, and minutes with a client."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, cast

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Words = tuple[bytes | str | int, ...]

# Its stub describes a tuple of one word.
_pack = cast("Callable[[Words], bytes]", hiredis.pack_command)

_RECEIVE_BYTES = 1 << 16
_PATIENCE_SECONDS = 30.0


class Wire:
    """One connection to a server on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def send(self, *batch: Words) -> list[Any]:
        """Send all commands of `batch` at once and return their replies; raises the first error among them."""
        replies = self.send_raw(batch)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
        return replies

    def send_raw(self, batch: Sequence[Words]) -> list[Any]:
        """Send all commands of `batch` at once and return their replies, errors in their places."""
        self._socket.sendall(b"".join([_pack(words) for words in batch]))
        replies: list[Any] = []
        while len(replies) < len(batch):
            received = self._socket.recv(_RECEIVE_BYTES)
            if not received:
                raise ConnectionError("the server closed the connection")
            self._reader.feed(received)
            while (reply := self._reader.gets()) is not False:
                replies.append(reply)
        return replies

    def now_us(self) -> int:
        """Return the server's time."""
        seconds, micros = self.send(("TIME",))[0]
        return int(seconds) * 1_000_000 + int(micros)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
