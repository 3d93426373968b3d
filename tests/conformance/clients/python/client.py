"""The common plan of calls, made by grpcio; one line is printed for each step.

Usage: client.py TARGET, where TARGET is `host:port` or `unix:/path`.
"""

from __future__ import annotations

import itertools
import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

STEP_SECONDS = 30
WRONG = "what is wrong: ü, 100 %"
MEGABYTE = 1 << 20


class MismatchError(Exception):
    """A step found something else than it expected."""


def expect(expected: object, actual: object) -> None:
    """Raise `MismatchError` unless the two are equal."""
    if expected != actual:
        raise MismatchError(f"expected {expected!r}, got {actual!r}"[:500])


def pattern(size: int) -> bytes:
    """Return what the server's `Repeat` sends."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class Client:
    """One channel, and the steps."""

    def __init__(self, target: str) -> None:
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(target, limits)
        grpc.channel_ready_future(self.channel).result(STEP_SECONDS)

    def call(self, method: str, message: bytes = b"", **options: Any) -> bytes:
        """Call a unary method."""
        options.setdefault("timeout", STEP_SECONDS)
        answer: bytes = self._method("unary_unary", method)(message, **options)
        return answer

    def failure(self, method: str, message: bytes = b"", **options: Any) -> Any:
        """Call a unary method that must fail."""
        try:
            self.call(method, message, **options)
        except grpc.RpcError as error:
            return error
        raise MismatchError("it did not fail")

    def gather(self, method: str, messages: Iterable[bytes]) -> bytes:
        """Call a method to which the client streams."""
        answer: bytes = self._method("stream_unary", method)(iter(messages), timeout=STEP_SECONDS)
        return answer

    def repeat(self, what: bytes) -> Any:
        """Call the method that streams to the client."""
        return self._method("unary_stream", "Repeat")(what, timeout=STEP_SECONDS)

    def converse(self, messages: Iterable[bytes], **options: Any) -> Any:
        """Call the method of two streams."""
        return self._method("stream_stream", "Converse")(iter(messages), timeout=STEP_SECONDS, **options)

    def ended(self) -> int:
        """Return how many calls the server saw end before their time."""
        return int(self.call("Ended"))

    def await_end(self, before: int) -> None:
        """Wait until the server has seen one more."""
        for _ in range(500):
            if self.ended() > before:
                return
            time.sleep(0.01)
        raise MismatchError("the server never saw the call end")

    def unary(self) -> None:
        """One message, one answer."""
        expect(b"hello", self.call("Echo", b"hello"))

    def empty_message(self) -> None:
        """No bytes."""
        expect(b"", self.call("Echo", b""))

    def server_stream(self) -> None:
        """Five answers."""
        expect([pattern(10)] * 5, list(self.repeat(b"5 10")))

    def client_stream(self) -> None:
        """Three messages."""
        expect(b"abc", self.gather("Join", [b"a", b"b", b"c"]))

    def bidi_stream(self) -> None:
        """Message and answer in turn."""
        messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        answers = self.converse(iter(messages.get, None))
        for number in range(5):
            messages.put(b"%d" % number)
            expect(b"%d" % number, next(answers))
        messages.put(None)
        expect([], list(answers))

    def no_messages(self) -> None:
        """Streams of none."""
        expect(b"", self.gather("Join", []))
        expect([], list(self.repeat(b"0 0")))

    def error(self) -> None:
        """Code, text, details."""
        text = WRONG.encode()
        details = bytes((0x08, 0x09, 0x12, len(text))) + text
        error = self.failure("Fail", details)
        expect((grpc.StatusCode.FAILED_PRECONDITION, WRONG), (error.code(), error.details()))
        expect(details, dict(error.trailing_metadata()).get("grpc-status-details-bin"))

    def error_after_messages(self) -> None:
        """Two messages, then a failure."""
        answers = self.repeat(b"2 10 10")
        expect([pattern(10)] * 2, list(itertools.islice(answers, 2)))
        try:
            next(answers)
        except grpc.RpcError:
            expect((grpc.StatusCode.ABORTED, WRONG), (answers.code(), answers.details()))
        else:
            raise MismatchError("it did not fail")

    def unknown_method(self) -> None:
        """Refused."""
        expect(grpc.StatusCode.UNIMPLEMENTED, self.failure("Nope").code())

    def deadline(self) -> None:
        """Give a call up."""
        before = self.ended()
        expect(grpc.StatusCode.DEADLINE_EXCEEDED, self.failure("Hang", timeout=0.2).code())
        self.await_end(before)

    def cancel_unary(self) -> None:
        """Cancel a call."""
        before = self.ended()
        call = self._method("unary_unary", "Hang").future(b"", timeout=STEP_SECONDS)
        time.sleep(0.1)
        call.cancel()
        expect(grpc.StatusCode.CANCELLED, call.code())
        self.await_end(before)

    def cancel_stream(self) -> None:
        """Cancel a stream."""
        before = self.ended()
        answers = self.repeat(b"1000000 1000")
        expect(pattern(1000), next(answers))
        answers.cancel()
        self.await_end(before)

    def metadata(self) -> None:
        """Headers and trailers."""
        values = [
            ("text", "words, and more"),
            ("twice", "1"),
            ("twice", "2"),
            ("data-bin", b"\x00\xff\x01\xfe\x2c\x0a"),
        ]
        sent = [(f"{prefix}-{name}", value) for prefix in ("x-echo", "x-trail") for name, value in values]
        call = self.converse([b"m"], metadata=sent)
        expect([b"m"], list(call))
        for prefix, metadata in (("x-echo-", call.initial_metadata()), ("x-trail-", call.trailing_metadata())):
            got = [(name.removeprefix(prefix), value) for name, value in metadata if name.startswith("x-")]
            expect(values, got)

    def large_message(self) -> None:
        """More than a window, both ways."""
        message = pattern(3 * MEGABYTE)
        expect(True, message == self.call("Echo", message))

    def large_upload(self) -> None:
        """Flow control upwards."""
        expect(b"64 8388608", self.gather("Count", [pattern(128 * 1024)] * 64))

    def slow_reader(self) -> None:
        """Flow control downwards."""
        count = 0
        for answer in self.repeat(b"200 65536"):
            expect(True, pattern(65536) == answer)
            if count == 0:
                time.sleep(0.3)
            count += 1
        expect(200, count)

    def large_conversation(self) -> None:
        """Flow control both ways."""
        message = pattern(128 * 1024)
        expect(True, [message] * 64 == list(self.converse([message] * 64)))

    def many_calls(self) -> None:
        """Call from a hundred threads."""

        def converse(caller: int) -> None:
            for turn in range(5):
                message = b"%d/%d" % (caller, turn)
                expect(message, self.call("Echo", message))

        with ThreadPoolExecutor(100) as pool:
            list(pool.map(converse, range(100)))

    def compression(self) -> None:
        """With gzip."""
        options = {"compression": grpc.Compression.Gzip, "metadata": (("x-compress", "yes"),)}
        expect(bytes(100_000), self.call("Echo", bytes(100_000), **options))

    def _method(self, shape: str, method: str) -> Any:
        return getattr(self.channel, shape)(f"/conformance.Plan/{method}")


def main() -> int:
    """Make all steps; return 1 if any failed."""
    client = Client(sys.argv[1])
    steps = (
        client.unary,
        client.empty_message,
        client.server_stream,
        client.client_stream,
        client.bidi_stream,
        client.no_messages,
        client.error,
        client.error_after_messages,
        client.unknown_method,
        client.deadline,
        client.cancel_unary,
        client.cancel_stream,
        client.metadata,
        client.large_message,
        client.large_upload,
        client.slow_reader,
        client.large_conversation,
        client.many_calls,
        client.compression,
    )
    failed = 0
    for step in steps:
        name = step.__name__.replace("_", "-")
        try:
            step()
        except (MismatchError, grpc.RpcError, StopIteration) as error:
            failed = 1
            print(f"FAIL {name}: {error!r}"[:500])
        else:
            print(f"ok {name}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
