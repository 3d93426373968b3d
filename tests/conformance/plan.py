"""The common plan of calls that real clients of five HTTP/2 stacks make, and the service that answers them.

Messages are plain bytes, so no client needs generated code: it is the stacks that are tried, and not protobuf. Each
client makes the same steps in the same order, over one connection, and prints `ok STEP` or `FAIL STEP: what happened`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.call import Code, Endpoint, MethodTable, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint

STEPS = {
    "unary": "one message, one answer",
    "empty-message": "a message of no bytes is a message",
    "server-stream": "one message, five answers",
    "client-stream": "three messages, one answer",
    "bidi-stream": "each message is answered before the next is sent",
    "no-messages": "streams of no messages, either way",
    "error": "a code, a text that needs percent-encoding, and details",
    "error-after-messages": "a stream that fails after two messages, which arrive",
    "unknown-method": "UNIMPLEMENTED",
    "deadline": "the client gives up in time, and the endpoint is ended",
    "cancel-unary": "a cancelled call ends its endpoint",
    "cancel-stream": "a stream that is dropped while it is sent ends its endpoint",
    "metadata": "headers and trailers, repeated names and binary values included, there and back",
    "large-message": "3 MiB in one message, there and back: far more than any window",
    "large-upload": "8 MiB in 64 messages",
    "slow-reader": "13 MiB to a client that stops reading for a while",
    "large-conversation": "8 MiB each way at the same time",
    "many-calls": "500 calls by 100 callers on one connection",
    "compression": "gzip, there and, where the engine knows that it may, back",
}
WRONG = "what is wrong: ü, 100 %"
_PATTERN = bytes(range(251))


class PlanService:
    """Answers the calls of the plan."""

    def __init__(self) -> None:
        self._ended = 0

    def table(self) -> MethodTable:
        """Return what is served."""
        unary: dict[str, UnaryEndpoint] = {
            "Echo": self._echo,
            "Fail": self._fail,
            "Hang": self._hang,
            "Ended": self._count_ended,
        }
        # Each with whether the client and the server stream.
        streams: dict[str, tuple[StreamEndpoint, bool, bool]] = {
            "Repeat": (self._repeat, False, True),
            "Join": (self._join, True, False),
            "Count": (self._count, True, False),
            "Converse": (self._converse, True, True),
        }
        endpoints = [Endpoint(path=_path(name), unary=endpoint) for name, endpoint in unary.items()]
        endpoints += [
            Endpoint(path=_path(name), stream=endpoint, client_streams=up, server_streams=down)
            for name, (endpoint, up, down) in streams.items()
        ]
        return MethodTable(
            endpoints={endpoint.path: endpoint for endpoint in endpoints},
            unknown=StatusError(Code.UNIMPLEMENTED, "no such method"),
        )

    async def _echo(self, message: bytes, call: Call) -> bytes:
        """Answer with the message."""
        _mirror(call)
        return message

    async def _fail(self, message: bytes, _call: Call) -> bytes:
        """Fail, with the message for details."""
        raise StatusError(Code.FAILED_PRECONDITION, WRONG, message)

    async def _hang(self, message: bytes, _call: Call) -> bytes:
        """Answer never."""
        try:
            await asyncio.Event().wait()
        finally:
            self._ended += 1
        return message

    async def _count_ended(self, _message: bytes, _call: Call) -> bytes:
        """Answer with the number of calls that were ended before their time."""
        return b"%d" % self._ended

    async def _repeat(self, messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        """Answer `COUNT SIZE` with as many messages of that size, and fail then if a code follows."""
        count, size, *code = [int(word) async for message in messages for word in message.split()]
        answer = (_PATTERN * (size // len(_PATTERN) + 1))[:size]
        done = False
        try:
            for _ in range(count):
                yield answer
            done = True
        finally:
            self._ended += not done
        if code:
            raise StatusError(Code(code[0]), WRONG)

    async def _join(self, messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        """Answer with all messages in one."""
        yield b"".join([message async for message in messages])

    async def _count(self, messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        """Answer with the number of messages, and of their bytes."""
        sizes = [len(message) async for message in messages]
        yield b"%d %d" % (len(sizes), sum(sizes))

    async def _converse(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        """Answer each message with itself."""
        _mirror(call)
        async for message in messages:
            yield message


def _path(method: str) -> str:
    return f"/conformance.Plan/{method}"


def _mirror(call: Call) -> None:
    """Send back as headers what came as `x-echo-*`, as trailers what came as `x-trail-*`."""
    call.response_headers = [(name, value) for name, value in call.metadata if name.startswith("x-echo-")]
    call.trailers = [(name, value) for name, value in call.metadata if name.startswith("x-trail-")]
    call.compress = ("x-compress", "yes") in [(name, value) for name, value in call.metadata]
