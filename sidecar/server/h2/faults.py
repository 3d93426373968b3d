"""What a peer did wrong, in HTTP/2's two sizes (RFC 9113, section 5.4): the connection's end, or one stream's."""

from __future__ import annotations


class ConnectionFault(Exception):  # noqa: N818 (a fault is the peer's)
    """The connection cannot go on: GOAWAY with `code`, then it is closed."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StreamFault(Exception):  # noqa: N818 (as above)
    """One stream cannot go on: RST_STREAM with `code`."""

    def __init__(self, stream_id: int, code: int) -> None:
        super().__init__(stream_id, code)
        self.stream_id = stream_id
        self.code = code
