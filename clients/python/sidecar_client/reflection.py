"""Which services a server has, by gRPC server reflection.

The two versions of the protocol carry the same messages under two names; servers have one or both. The newer name is
asked first. The messages come from `grpcio-reflection`, which only this needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from sidecar_client.errors import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_METHODS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


async def list_services(channel: grpc.aio.Channel, *, timeout_s: float) -> list[str]:
    """Return the names of the server's services, sorted.

    Raises SidecarError, and RuntimeError when `grpcio-reflection` is not installed.
    """
    try:
        from grpc_reflection.v1alpha import reflection_pb2  # noqa: PLC0415 (an optional extra)
    except ImportError as error:
        raise RuntimeError(
            "listing services needs grpcio-reflection: pip install 'sidecar-client[reflection]'"
        ) from error

    async def question() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    for method in _METHODS:
        ask = channel.stream_stream(
            method,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        try:
            answers = [answer async for answer in ask(question(), timeout=timeout_s)]
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED and method is not _METHODS[-1]:
                continue
            raise from_rpc_error(error) from error
        return sorted(service.name for answer in answers for service in answer.list_services_response.service)
    return []
