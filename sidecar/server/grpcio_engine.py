"""The engine on grpcio: complete, proven, and the one for TLS. It costs about 300 µs of CPU per call.

Requests and responses pass through as bytes; decoding is the endpoint's work. Concurrency is bounded by an
interceptor and not by `maximum_concurrent_rpcs`: that one counts calls whose message has not come yet, so two clients
that never send theirs can block everybody. Compressed messages are taken, but no answer is compressed: grpcio hides
what encodings a caller accepts, and would compress for one that accepts none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc import aio

from sidecar.call import Call, Code, StatusError
from sidecar.clock import Deadline
from sidecar.errors import StartupError
from sidecar.server.sockets import UNIX, protect_socket, refuse_taken_socket, remove_socket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from sidecar.call import Endpoint, Metadata, MethodTable, StreamEndpoint, UnaryEndpoint
    from sidecar.server.engine import EnginePolicy, Listener

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS = "grpc-status-details-bin"
# Between two attempts to take back an address that another program took meanwhile.
_AGAIN_SECONDS = 1.0
_Context = aio.ServicerContext[Any, Any]
_log = logging.getLogger("sidecar.server")


class GrpcioEngine:
    """Serves a method table on `host:port` and `unix:/path` addresses."""

    def __init__(self, table: MethodTable, listeners: Sequence[Listener], policy: EnginePolicy) -> None:
        if any(listener.descriptor is not None for listener in listeners):
            raise ValueError("grpcio cannot serve a socket that it did not open itself")
        self._table = table
        self._listeners = listeners
        self._policy = policy
        self._server: aio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.addresses: tuple[str, ...] = ()

    async def start(self) -> None:
        """Bind all listeners and serve; see `Engine.start`."""
        self._server = await self._serve([listener.address for listener in self._listeners])
        self._keeper = asyncio.create_task(self._keep(self._server), name="grpcio-keeper")

    async def stop(self, grace: float) -> None:
        """Drain and stop; see `Engine.stop`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(grace)

    async def _keep(self, server: aio.Server) -> None:
        """Serve again whenever grpcio has given up: its server ends at a path that is no UTF-8, whoever sent it."""
        while True:
            try:
                # Shielded: grpcio's own future would be cancelled with the keeper, and `stop` wait for it in vain.
                await asyncio.shield(server.wait_for_termination())
            except Exception as error:  # noqa: BLE001 (whatever ended it, the sidecar must not end with it)
                _log.error("grpcio's server ended with %s; it is started again", type(error).__qualname__)
            self._server = server = await self._serve_again()

    async def _serve_again(self) -> aio.Server:
        while True:
            try:
                return await self._serve(self.addresses)
            except StartupError as error:
                _log.error("%s", error)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _serve(self, addresses: Sequence[str]) -> aio.Server:
        """Return a server that serves at the addresses; `self.addresses` says where, with the ports that were found."""
        server = aio.server(options=_options(self._policy, shared=any(item.shared for item in self._listeners)))
        server.add_generic_rpc_handlers((_Router(self._table, self._policy),))
        listening: list[str] = []
        for address in addresses:
            refuse_taken_socket(address)
            try:
                bound = server.add_insecure_port(address)
            except RuntimeError:
                bound = 0
            if not bound:
                paths = [item.removeprefix(UNIX) for item in listening if item.startswith(UNIX)]
                ours = [(path, os.stat(path).st_ino) for path in paths]  # noqa: PTH116 (once, at start-up)
                await server.stop(None)
                for path, inode in ours:
                    remove_socket(path, inode)
                raise StartupError(
                    f"cannot listen on {address}: the port is in use or the address is not this machine's; "
                    "stop the other program or choose another with --listen"
                )
            listening.append(address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{bound}")
        await server.start()
        self.addresses = tuple(listening)
        for address in addresses:
            protect_socket(address)
        return server


def _options(policy: EnginePolicy, *, shared: bool) -> list[tuple[str, int]]:
    return [
        # Unless it is wanted: a second sidecar would share the port in silence.
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", policy.max_message_bytes),
        ("grpc.max_send_message_length", policy.max_message_bytes),
        ("grpc.http2.min_ping_interval_without_data_ms", int(policy.min_ping_interval * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Without a bound C core queues what a flood brings, and its own protection against rapid resets, which counts
        # by this one, is off.
        ("grpc.max_concurrent_streams", policy.max_concurrent_streams),
        # One early ping is a matter of jitter, three in a row are not.
        ("grpc.http2.max_ping_strikes", 3),
    ]


class _Router(grpc.GenericRpcHandler):
    """Finds the handler of a path; all are made once."""

    def __init__(self, table: MethodTable, policy: EnginePolicy) -> None:
        self._handlers = {
            path: _handler_of(endpoint, _CallMaker(path, policy)) for path, endpoint in table.endpoints.items()
        }
        # Of both directions' streaming handlers, since nobody knows what the caller will send.
        self._unknown: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_refuse(table.unknown))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a path, or the one that refuses."""
        return self._handlers.get(handler_call_details.method, self._unknown)


class _CallMaker:
    """Makes the `Call` of one method's calls."""

    def __init__(self, path: str, policy: EnginePolicy) -> None:
        self._path = path
        self._default = policy.default_deadline
        self._most = policy.max_deadline

    def __call__(self, context: _Context, *, bounded: bool) -> Call:
        left = context.time_remaining()
        if left is None:
            left = self._default if bounded else None
        metadata = tuple(context.invocation_metadata() or ())
        if left is None:
            return Call(self._path, metadata=metadata, peer=context.peer())
        deadline = Deadline(time.monotonic() + (left if left < self._most or not bounded else self._most))
        return Call(self._path, deadline=deadline, metadata=metadata, peer=context.peer())


def _handler_of(endpoint: Endpoint, make_call: _CallMaker) -> grpc.RpcMethodHandler[Any, Any]:
    if endpoint.unary is not None:
        return grpc.unary_unary_rpc_method_handler(_serve_unary(endpoint.unary, make_call))
    if endpoint.stream is None:
        raise ValueError(f"{endpoint.path} has neither a unary nor a stream endpoint")
    serve = _serve_stream(endpoint.stream, make_call)
    if endpoint.client_streams and endpoint.server_streams:
        return grpc.stream_stream_rpc_method_handler(serve)
    if endpoint.server_streams:
        return grpc.unary_stream_rpc_method_handler(_from_one(endpoint.stream, make_call))
    return grpc.stream_unary_rpc_method_handler(_to_one(endpoint.stream, make_call))


def _serve_unary(endpoint: UnaryEndpoint, make_call: _CallMaker) -> Callable[[bytes, _Context], Awaitable[bytes]]:
    async def serve(message: bytes, context: _Context) -> bytes:
        call = make_call(context, bounded=True)
        try:
            answer = await endpoint(message, call)
        except StatusError as error:
            return await _end(context, error, call)
        await _begin(context, call)
        _trail(context, call)
        return answer

    return serve


def _serve_stream(
    endpoint: StreamEndpoint, make_call: _CallMaker
) -> Callable[[AsyncIterator[bytes], _Context], AsyncGenerator[bytes, None]]:
    async def serve(messages: AsyncIterator[bytes], context: _Context) -> AsyncGenerator[bytes, None]:
        call = make_call(context, bounded=False)
        begun = False
        try:
            async with aclosing(endpoint(messages, call)) as answers:
                async for answer in answers:
                    if not begun:
                        begun = True
                        await _begin(context, call)
                    yield answer
        except StatusError as error:
            await _end(context, error, call, begun=begun)
        if not begun:
            await _begin(context, call)
        _trail(context, call)

    return serve


def _from_one(endpoint: StreamEndpoint, make_call: _CallMaker) -> Callable[[bytes, _Context], AsyncIterator[bytes]]:
    serve_stream = _serve_stream(endpoint, make_call)

    # A generator itself: grpcio would take a plain function that returns one for a handler to run in a thread.
    async def serve(message: bytes, context: _Context) -> AsyncIterator[bytes]:
        async with aclosing(serve_stream(_single(message), context)) as answers:
            async for answer in answers:
                yield answer

    return serve


def _to_one(
    endpoint: StreamEndpoint, make_call: _CallMaker
) -> Callable[[AsyncIterator[bytes], _Context], Awaitable[bytes]]:
    serve_stream = _serve_stream(endpoint, make_call)

    async def serve(messages: AsyncIterator[bytes], context: _Context) -> bytes:
        answers = [answer async for answer in serve_stream(messages, context)]
        if len(answers) != 1:
            await _abort(context, StatusError(Code.INTERNAL, "the method did not answer exactly once"), ())
        return answers[0]

    return serve


def _refuse(error: StatusError) -> Callable[[AsyncIterator[bytes], _Context], Awaitable[None]]:
    async def refuse(_messages: AsyncIterator[bytes], context: _Context) -> None:
        await _abort(context, error, ())

    return refuse


async def _single(message: bytes) -> AsyncIterator[bytes]:
    yield message


async def _begin(context: _Context, call: Call) -> None:
    """Start the answer as the endpoint set it; grpcio does so by itself where nothing was set."""
    if call.response_headers:
        await context.send_initial_metadata(tuple(call.response_headers))


def _trail(context: _Context, call: Call) -> None:
    if call.trailers:
        context.set_trailing_metadata(tuple(call.trailers))


async def _end(context: _Context, error: StatusError, call: Call, *, begun: bool = False) -> NoReturn:
    """End a call with an error."""
    if not begun:
        await _begin(context, call)
    await _abort(context, error, call.trailers)


async def _abort(context: _Context, error: StatusError, trailers: Metadata) -> NoReturn:
    """End a call with an error; `abort` raises."""
    details = ((_DETAILS, error.details),) if error.details else ()
    await context.abort(_CODES[int(error.code)], error.message, (*trailers, *details))
    raise asyncio.CancelledError
