"""What an eavesdropper on the store sees: the output of MONITOR, byte for byte."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

from support.programs import wait_until

if TYPE_CHECKING:
    from types import TracebackType

_RECEIVE_BYTES = 1 << 16
_END = b"end-of-monitoring"


class Monitor:
    """Records every command that a server on 127.0.0.1 is given, within `with`. `text` is complete after it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._thread = threading.Thread(target=self._record)
        self.text = b""

    def __enter__(self) -> Self:
        self._socket.sendall(b"MONITOR\r\n")
        self._thread.start()
        wait_until(lambda: b"+OK" in self.text, "the server monitors")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What the server was given before this command it also reports before it.
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as other:
            other.sendall(b"ECHO %b\r\n" % _END)
            other.recv(_RECEIVE_BYTES)
        self._thread.join(10)
        self._socket.close()

    def _record(self) -> None:
        while _END not in self.text:
            received = self._socket.recv(_RECEIVE_BYTES)
            if not received:
                return
            self.text += received
