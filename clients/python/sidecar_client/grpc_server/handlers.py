"""A method's handler, with another behaviour in the place of its own.

gRPC keeps the four kinds of methods apart by where a handler holds its behaviour, and makes a handler by a function for
each kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = grpc.RpcMethodHandler[Any, Any]
    # What a method does: a function of a request, or an iterator of requests, and a context.
    Behaviour = Callable[[Any, Any], Any]

# By whether the client streams and whether the server does.
_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def behaviour_of(handler: Handler) -> Behaviour:
    """Return what the handler's method does."""
    if handler.request_streaming:
        found = handler.stream_stream if handler.response_streaming else handler.stream_unary
    else:
        found = handler.unary_stream if handler.response_streaming else handler.unary_unary
    if found is None:
        raise TypeError("a handler has no behaviour of its kind")
    return found


def with_behaviour(handler: Handler, behaviour: Behaviour) -> Handler:
    """Return a handler of the same kind that does something else."""
    make = _MAKERS[handler.request_streaming, handler.response_streaming]
    return make(behaviour, handler.request_deserializer, handler.response_serializer)
