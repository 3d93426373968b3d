"""A gRPC service of four methods, one of each kind, whose messages are bytes; and clients that call all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SERVICE = "test.Kinds"
KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")


class AsyncKinds:
    """As coroutines and asynchronous generators."""

    async def unary_unary(self, request: bytes, _: Any) -> bytes:
        """Return the message."""
        return request

    async def unary_stream(self, request: bytes, _: Any) -> AsyncIterator[bytes]:
        """Return it twice."""
        yield request
        yield request

    async def stream_unary(self, requests: AsyncIterator[bytes], _: Any) -> bytes:
        """Return the messages in one."""
        return b"".join([request async for request in requests])

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Return each message, written by hand."""
        async for request in requests:
            await context.write(request)


class PlainKinds:
    """As functions and generators, for threads."""

    def unary_unary(self, request: bytes, _: Any) -> bytes:
        """Return the message."""
        return request

    def unary_stream(self, request: bytes, _: Any) -> Iterator[bytes]:
        """Return it twice."""
        yield request
        yield request

    def stream_unary(self, requests: Iterator[bytes], _: Any) -> bytes:
        """Return the messages in one."""
        return b"".join(requests)

    def stream_stream(self, requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        """Return each message."""
        yield from requests


def handlers(kinds: AsyncKinds | PlainKinds) -> grpc.GenericRpcHandler:
    """Return what a server serves."""
    made: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(kinds.unary_unary),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(kinds.unary_stream),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(kinds.stream_unary),
        "StreamStream": grpc.stream_stream_rpc_method_handler(kinds.stream_stream),
    }
    return grpc.method_handlers_generic_handler(SERVICE, made)


def call_kind(channel: grpc.Channel, kind: str, metadata: tuple[tuple[str, str], ...] = ()) -> list[bytes]:
    """Call one of the methods from a thread, with one message; return the answers."""
    method = f"/{SERVICE}/{kind}"
    request = b"ada" if kind.startswith("Unary") else iter([b"ada"])
    callables: dict[str, Callable[[], Any]] = {
        "UnaryUnary": lambda: channel.unary_unary(method),
        "UnaryStream": lambda: channel.unary_stream(method),
        "StreamUnary": lambda: channel.stream_unary(method),
        "StreamStream": lambda: channel.stream_stream(method),
    }
    answer = callables[kind]()(request, timeout=10, metadata=metadata)
    return list(answer) if kind.endswith("Stream") else [answer]


def call_method(channel: grpc.Channel, method: str) -> Any:
    """Call any method from a thread, with an empty message."""
    method_callable: Any = channel.unary_unary(method)
    return method_callable(b"", timeout=10)


def details_of(error: Any) -> tuple[error_details_pb2.RetryInfo, list[str]]:
    """Return a status's RetryInfo, and the subjects of its QuotaFailure."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (error.code().value[0], error.details()) == (status.code, status.message)
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    for detail in status.details:
        assert detail.Unpack(retry) or detail.Unpack(quota)
    return retry, [violation.subject for violation in quota.violations]
