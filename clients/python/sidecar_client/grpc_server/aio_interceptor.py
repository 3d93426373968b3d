"""The interceptor for servers on an event loop.

As in `interceptor.py`, the rules are asked in the method's place. What stands there must be of the method's own kind,
because the server tells by it how to call the method: a coroutine, an asynchronous generator, or a plain function or
generator, which it runs in a thread. There the rules are asked on the loop all the same, and the thread waits.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from sidecar_client.grpc_server.call import GrpcCall
from sidecar_client.grpc_server.handlers import behaviour_of, with_behaviour
from sidecar_client.grpc_server.refusal import refusal_of
from sidecar_client.guard import Guard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from sidecar_client.client import SidecarClient
    from sidecar_client.durations import Span
    from sidecar_client.grpc_server.handlers import Behaviour
    from sidecar_client.rules import Answer, Rule


class AioRateLimitInterceptor(grpc.aio.ServerInterceptor):
    """Rate limits before the methods of a `grpc.aio.server`, of all four kinds; a stream counts once, when it begins.

    `rules`, `timeout` and `observe` are those of `RateLimitMiddleware`, with a `GrpcCall` for a key. A key that returns
    None leaves the call alone: health checks should be.

        grpc.aio.server(interceptors=[AioRateLimitInterceptor(sidecar=sidecar, rules=[...])])
    """

    def __init__(
        self,
        *,
        sidecar: SidecarClient,
        rules: Sequence[Rule[GrpcCall]],
        timeout: Span | None = None,
        observe: Callable[[Answer], None] | None = None,
    ) -> None:
        self._guard = Guard(sidecar.limit, rules, timeout=timeout, observe=observe)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method's handler with the rules before it; None if there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        admission = _Admission(self._guard, handler_call_details.method, has_message=not handler.request_streaming)
        return with_behaviour(handler, _limited(behaviour_of(handler), admission, streams=handler.response_streaming))


class _Admission:
    """Asks the rules for one method's calls, and ends those that do not pass by raising what `abort` raises."""

    def __init__(self, guard: Guard[GrpcCall], method: str, *, has_message: bool) -> None:
        self._guard = guard
        self._method = method
        self._has_message = has_message
        self._loop = asyncio.get_running_loop()

    async def ask(self, request: Any, context: Any) -> None:
        """Ask on the loop."""
        stopped_by = await self._stopped_by(request, context)
        if stopped_by is not None:
            await context.abort(*refusal_of(stopped_by))

    def ask_in_thread(self, request: Any, context: Any) -> None:
        """Ask from another thread, with the context that the server makes for methods that run there."""
        asking = self._stopped_by(request, context)
        stopped_by = asyncio.run_coroutine_threadsafe(asking, self._loop).result()
        if stopped_by is not None:
            context.abort(*refusal_of(stopped_by))

    async def _stopped_by(self, request: Any, context: Any) -> Answer | None:
        call = GrpcCall(method=self._method, request=request if self._has_message else None, context=context)
        return (await self._guard.judge(call)).stopped_by


def _limited(behaviour: Behaviour, admission: _Admission, *, streams: bool) -> Behaviour:
    """Return a behaviour of the same kind that is admitted first."""
    if inspect.iscoroutinefunction(behaviour):
        return _coroutine(behaviour, admission)
    if inspect.isasyncgenfunction(behaviour):
        return _stream(behaviour, admission)
    return _plain_stream(behaviour, admission) if streams else _plain(behaviour, admission)


def _coroutine(behaviour: Behaviour, admission: _Admission) -> Behaviour:
    async def limited(request: Any, context: Any) -> Any:
        await admission.ask(request, context)
        return await behaviour(request, context)

    return limited


def _stream(behaviour: Behaviour, admission: _Admission) -> Behaviour:
    async def limited(request: Any, context: Any) -> AsyncIterator[Any]:
        await admission.ask(request, context)
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    return limited


def _plain(behaviour: Behaviour, admission: _Admission) -> Behaviour:
    def limited(request: Any, context: Any) -> Any:
        admission.ask_in_thread(request, context)
        return behaviour(request, context)

    return limited


def _plain_stream(behaviour: Behaviour, admission: _Admission) -> Behaviour:
    def limited(request: Any, context: Any) -> Iterator[Any]:
        admission.ask_in_thread(request, context)
        yield from behaviour(request, context)

    return limited
