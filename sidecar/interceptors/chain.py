"""From methods to endpoints: the interceptors around a method's decode, handle and encode.

Each interceptor wraps the endpoint within it once per method, when the sidecar starts; a call then passes through
plain nested coroutines and meets no lookup and no closure of its own. Each layer of a stream closes the one within
it: an asynchronous generator that is merely dropped ends when the garbage collector comes by.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from sidecar.call import Call, Endpoint, UnaryMethod

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from sidecar.call import Method, StreamEndpoint, StreamMethod, UnaryEndpoint


class Interceptor(Protocol):
    """Stands around the calls of a method."""

    def around_unary(self, path: str, proceed: UnaryEndpoint) -> UnaryEndpoint:
        """Return an endpoint around `proceed`."""
        ...

    def around_stream(self, path: str, proceed: StreamEndpoint) -> StreamEndpoint:
        """Return an endpoint around `proceed`."""
        ...


def build_endpoint(method: Method, interceptors: Sequence[Interceptor]) -> Endpoint:
    """Return what an engine serves for a method; `interceptors` stand outermost first."""
    if isinstance(method, UnaryMethod):
        unary = _innermost_unary(method)
        for interceptor in reversed(interceptors):
            unary = interceptor.around_unary(method.path, unary)
        return Endpoint(path=method.path, unary=unary)
    stream = _innermost_stream(method)
    for interceptor in reversed(interceptors):
        stream = interceptor.around_stream(method.path, stream)
    return Endpoint(
        path=method.path,
        stream=stream,
        client_streams=method.client_streams,
        server_streams=method.server_streams,
    )


def _innermost_unary(method: UnaryMethod) -> UnaryEndpoint:
    decode, handle, encode = method.decode, method.handle, method.encode

    async def serve(message: bytes, call: Call) -> bytes:
        return encode(await handle(decode(message), call))

    return serve


def _innermost_stream(method: StreamMethod) -> StreamEndpoint:
    decode, handle, encode = method.decode, method.handle, method.encode

    async def serve(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        responses = handle((decode(message) async for message in messages), call)
        async with aclosing(responses):
            async for response in responses:
                yield encode(response)

    return serve
