"""The least of HTTP/2 that it takes to call a gRPC server, at a few microseconds for each message.

A load generator shares two cores with the server, and a library's client would take more of them than the server does.
This one sends header fields as literals, and of what comes it reads the data and the stream's end alone: an answer is a
message, and a call that ends before its message came has failed. It keeps to the server's flow control (RFC 9113,
section 5.2) and opens its own windows wide. It blocks; what is under way at once must fit into the kernel's buffers.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Self

from bench.processes import Failure

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Frame types and flags (RFC 9113, section 6).
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
# "I keep no table of header fields", to be said once when the server has changed its bound (RFC 7541, section 4.2).
_NO_TABLE = b"\x20"
_DEFAULT_WINDOW = 65_535
_WIDEST_WINDOW = 2**31 - 1
_LARGEST_FRAME = 16_384
# The window is given back in large pieces: it is so wide that none is ever missed.
_GIVE_BACK_BYTES = 2**24
_READ_BYTES = 2**18
_TIMEOUT_SECONDS = 10.0


class Wire:
    """One connection with one call at a time, of many messages either way; raises `Failure` for all that goes wrong."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), _TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._authority = address
        self._stream = -1
        self._out = bytearray(_PREFACE)
        self._in = bytearray()
        self._body = bytearray()
        self._table_news = b""
        self._is_last = False
        self._ended = False
        self._unsent: deque[bytes] = deque()
        self._received = 0
        self._initial_window = self._window = self._stream_window = _DEFAULT_WINDOW
        self._frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _WIDEST_WINDOW))
        self._frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WIDEST_WINDOW - _DEFAULT_WINDOW))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._socket.close()

    def open(self, method: str) -> None:
        """Begin a call of `package.Service/Method`."""
        self._stream += 2
        self._stream_window = self._initial_window
        self._ended = False
        self._body.clear()
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/{method}",
            ":authority": self._authority,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        block = self._table_news + b"".join(_literal(*field) for field in fields.items())
        self._table_news = b""
        self._frame(_HEADERS, _END_HEADERS, self._stream, block)

    def send(self, message: bytes, *, last: bool = False) -> None:
        """Queue a message; `receive` sends it. With `last` it is the call's last."""
        framed = struct.pack(">BI", 0, len(message)) + message
        if len(framed) > _LARGEST_FRAME:
            raise Failure(f"a message of {len(message)} bytes is too large for this load generator")
        self._unsent.append(framed)
        self._is_last = last

    def receive(self) -> list[bytes]:
        """Send what is queued, as far as the windows allow, and return what came: nothing once the call has ended."""
        while True:
            self._send_what_fits()
            self._flush()
            messages = self._take_messages()
            if messages or self._ended:
                return messages
            read = self._socket.recv(_READ_BYTES)
            if not read:
                raise Failure("the server has closed the connection")
            self._in += read
            self._read_frames()

    def _take_messages(self) -> list[bytes]:
        messages = []
        begin = 0
        while len(self._body) - begin >= 5:  # a byte that says whether it is compressed, and four of length
            compressed, length = struct.unpack_from(">BI", self._body, begin)
            if compressed:
                raise Failure("a message came compressed, which nobody asked for")
            end = begin + 5 + length
            if len(self._body) < end:
                break
            messages.append(bytes(self._body[begin + 5 : end]))
            begin = end
        del self._body[:begin]
        return messages

    def _read_frames(self) -> None:
        begin = 0
        while len(self._in) - begin >= 9:
            head, kind, flags, stream = struct.unpack_from(">IBBI", b"\0" + self._in[begin : begin + 9])
            end = begin + 9 + head
            if len(self._in) < end:
                break
            self._read_frame(kind, flags, stream, bytes(self._in[begin + 9 : end]))
            begin = end
        del self._in[:begin]

    def _read_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA and stream == self._stream:
            self._body += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
            self._give_back(len(payload))
        elif kind == _WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == _SETTINGS and not flags & _ACK:
            self._read_settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._frame(_PING, _ACK, 0, payload)
        elif kind == _GOAWAY:
            raise Failure(f"the server said GOAWAY, code {int.from_bytes(payload[4:8], 'big')}: {payload[8:]!r}")
        elif kind == _RST_STREAM and stream == self._stream:
            raise Failure(f"the server has reset the call, code {int.from_bytes(payload, 'big')}")
        if kind in {_DATA, _HEADERS} and flags & _END_STREAM and stream == self._stream:
            self._ended = True

    def _read_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif name == _HEADER_TABLE_SIZE:
                self._table_news = _NO_TABLE
        self._frame(_SETTINGS, _ACK, 0, b"")

    def _widen(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        elif stream == self._stream:
            self._stream_window += size

    def _give_back(self, size: int) -> None:
        self._received += size
        if self._received >= _GIVE_BACK_BYTES:
            update = struct.pack(">I", self._received)
            self._frame(_WINDOW_UPDATE, 0, 0, update)
            self._frame(_WINDOW_UPDATE, 0, self._stream, update)
            self._received = 0

    def _send_what_fits(self) -> None:
        while self._unsent and len(self._unsent[0]) <= min(self._window, self._stream_window):
            framed = self._unsent.popleft()
            self._window -= len(framed)
            self._stream_window -= len(framed)
            is_end = self._is_last and not self._unsent
            self._frame(_DATA, _END_STREAM if is_end else 0, self._stream, framed)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._out += len(payload).to_bytes(3, "big")
        self._out += struct.pack(">BBI", kind, flags, stream)
        self._out += payload

    def _flush(self) -> None:
        if self._out:
            self._socket.sendall(self._out)
            self._out.clear()


def _literal(name: str, value: str) -> bytes:
    """Return a header field as a literal without indexing, and without Huffman's code (RFC 7541, section 6.2.2)."""
    # Seven bits hold the length of all names and values here.
    return bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()
