"""The interceptor for servers on a thread pool.

The rules are asked in the method's place and not in the interceptor's own: only there is the request known and the
peer, and only there does waiting hold up no other call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from sidecar_client.grpc_server.call import GrpcCall
from sidecar_client.grpc_server.handlers import behaviour_of, with_behaviour
from sidecar_client.grpc_server.refusal import refusal_of
from sidecar_client.guard import BlockingGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar_client.blocking import BlockingSidecar
    from sidecar_client.durations import Span
    from sidecar_client.rules import Answer, Rule


@dataclass(frozen=True)
class _Status(grpc.Status):
    """What `ServicerContext.abort_with_status` takes."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


class RateLimitInterceptor(grpc.ServerInterceptor):
    """Rate limits before the methods of a `grpc.server`, of all four kinds; a stream counts once, when it begins.

    `rules`, `timeout` and `observe` are those of `RateLimitMiddleware`, with a `GrpcCall` for a key; keys are plain
    functions. One that returns None leaves the call alone: health checks should be.

        grpc.server(pool, interceptors=[RateLimitInterceptor(sidecar=sidecar, rules=[...])])
    """

    def __init__(
        self,
        *,
        sidecar: BlockingSidecar,
        rules: Sequence[Rule[GrpcCall]],
        timeout: Span | None = None,
        observe: Callable[[Answer], None] | None = None,
    ) -> None:
        self._guard = BlockingGuard(sidecar.limit, rules, timeout=timeout, observe=observe)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method's handler with the rules before it; None if there is no such method."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        behaviour, method, has_message = (
            behaviour_of(handler),
            handler_call_details.method,
            not handler.request_streaming,
        )

        def limited(request: Any, context: grpc.ServicerContext) -> Any:
            call = GrpcCall(method=method, request=request if has_message else None, context=context)
            stopped_by = self._guard.judge(call).stopped_by
            if stopped_by is not None:
                context.abort_with_status(_Status(*refusal_of(stopped_by)))
            return behaviour(request, context)

        return with_behaviour(handler, limited)
