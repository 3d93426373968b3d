"""Calls to a running sidecar, for the command line: a channel to it, and its methods by their descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf.message_factory import GetMessageClass

from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from google.protobuf.descriptor import ServiceDescriptor


# How gRPC begins what it says where no connection can be made; a sidecar says nothing like it.
_UNCONNECTED = "failed to connect to all addresses"


class Remote:
    """A running sidecar; a call that fails raises `StartupError` with a line for the operator.

    `unserved` says why a sidecar may lack the method that is called, where that has a reason.
    """

    def __init__(self, address: str, seconds: float, *, unserved: str = "") -> None:
        self._address = address
        self._seconds = seconds
        self._unserved = unserved
        # A proxy from the environment would lead away from this machine.
        self._channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(self, service: ServiceDescriptor, method: str, request: Any, seconds: float | None = None) -> Any:
        """Call a unary method of a service, and return its response; `seconds` is how long this call may take."""
        descriptor = service.methods_by_name[method]
        invoke = self._channel.unary_unary(
            f"/{service.full_name}/{method}",
            request_serializer=GetMessageClass(descriptor.input_type).SerializeToString,
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        try:
            return invoke(request, timeout=self._seconds if seconds is None else seconds)
        except grpc.RpcError as error:
            raise self._failed(error) from None

    def stream(self, service: ServiceDescriptor, method: str, request: Any) -> Iterator[Any]:
        """Call a method that answers with a stream, for as long as that goes on."""
        descriptor = service.methods_by_name[method]
        invoke = self._channel.unary_stream(
            f"/{service.full_name}/{method}",
            request_serializer=GetMessageClass(descriptor.input_type).SerializeToString,
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        try:
            yield from invoke(request)
        except grpc.RpcError as error:
            raise self._failed(error) from None

    def _failed(self, error: grpc.RpcError) -> StartupError:
        if self._unserved and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return StartupError(f"{self._address}: {self._unserved}")
        # What the server says may be of several lines; the first says what is wrong.
        said = str(error.details()).splitlines() or [""]
        if error.code() is grpc.StatusCode.UNAVAILABLE and said[0].startswith(_UNCONNECTED):
            why = said[0].rpartition(": ")[2].lower()
            return StartupError(
                f"{self._address}: no sidecar can be reached there ({why}); start one, or name it by --address"
            )
        return StartupError(f"{self._address}: {error.code().name}: {said[0]}")
