"""The test service of gRPC's interop cases (grpc/doc/interop-test-descriptions.md), as far as a plaintext server goes.

Of its messages only the fields that the cases use are described here, by their numbers and types; whatever else a
client sends is skipped, as protobuf has it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sidecar.call import Code, Endpoint, MethodTable, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint

_PACKAGE = "interop"
_FIELD = descriptor_pb2.FieldDescriptorProto
# By message and field: its number, and its type or the message that it is.
_MESSAGES: dict[str, dict[str, tuple[int, Any]]] = {
    "Empty": {},
    # How a map's entries are sent.
    "Gauge": {"key": (1, _FIELD.TYPE_STRING), "value": (2, _FIELD.TYPE_DOUBLE)},
    "WantedLoad": {
        "cpu": (1, _FIELD.TYPE_DOUBLE),
        "memory": (2, _FIELD.TYPE_DOUBLE),
        "cost": (3, ["Gauge"]),
        "use": (4, ["Gauge"]),
    },
    "LoadReport": {
        "cpu": (1, _FIELD.TYPE_DOUBLE),
        "memory": (2, _FIELD.TYPE_DOUBLE),
        "cost": (4, ["Gauge"]),
        "use": (5, ["Gauge"]),
    },
    "Payload": {"type": (1, _FIELD.TYPE_INT32), "body": (2, _FIELD.TYPE_BYTES)},
    "EchoStatus": {"code": (1, _FIELD.TYPE_INT32), "message": (2, _FIELD.TYPE_STRING)},
    "SimpleRequest": {
        "response_size": (2, _FIELD.TYPE_INT32),
        "payload": (3, "Payload"),
        "response_status": (7, "EchoStatus"),
        "fill_server_id": (9, _FIELD.TYPE_BOOL),
        "load": (11, "WantedLoad"),
    },
    "SimpleResponse": {"payload": (1, "Payload"), "server_id": (4, _FIELD.TYPE_STRING)},
    "StreamingInputCallRequest": {"payload": (1, "Payload")},
    "StreamingInputCallResponse": {"aggregated_payload_size": (1, _FIELD.TYPE_INT32)},
    "ResponseParameters": {"size": (1, _FIELD.TYPE_INT32), "interval_us": (2, _FIELD.TYPE_INT32)},
    "StreamingOutputCallRequest": {
        "response_parameters": (2, ["ResponseParameters"]),
        "payload": (3, "Payload"),
        "response_status": (7, "EchoStatus"),
        "load": (8, "WantedLoad"),
    },
    "StreamingOutputCallResponse": {"payload": (1, "Payload")},
}
_ECHOED_HEADER = "x-grpc-test-echo-initial"
_ECHOED_TRAILER = "x-grpc-test-echo-trailing-bin"
_LOAD_TRAILER = "endpoint-load-metrics-bin"
_LOAD_METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
# Often enough for a client that looks each second.
_LOAD_SECONDS = 0.1


def _classes() -> dict[str, Any]:
    """Return the message classes by name."""
    file = descriptor_pb2.FileDescriptorProto(name="interop.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            described = message.field.add(name=field, number=number, label=_FIELD.LABEL_OPTIONAL)
            if isinstance(kind, list):
                described.label = _FIELD.LABEL_REPEATED
                kind = kind[0]  # noqa: PLW2901 (the one type of a repeated field)
            if isinstance(kind, str):
                described.type = _FIELD.TYPE_MESSAGE
                described.type_name = f".{_PACKAGE}.{kind}"
            else:
                described.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


class InteropService:
    """Does what each case asks for."""

    def __init__(self) -> None:
        self._types = _classes()
        self._load = self._types["LoadReport"]()

    def table(self) -> MethodTable:
        """Return what is served; the methods that must be unknown are."""
        unary: dict[str, UnaryEndpoint] = {"EmptyCall": self._empty_call, "UnaryCall": self._unary_call}
        streams: dict[str, tuple[StreamEndpoint, bool, bool]] = {
            "StreamingInputCall": (self._input_call, True, False),
            "StreamingOutputCall": (self._output_call, False, True),
            "FullDuplexCall": (self._full_duplex_call, True, True),
        }
        endpoints = [Endpoint(path=_path(name), unary=endpoint) for name, endpoint in unary.items()]
        endpoints += [
            Endpoint(path=_path(name), stream=endpoint, client_streams=up, server_streams=down)
            for name, (endpoint, up, down) in streams.items()
        ]
        endpoints.append(Endpoint(path=_LOAD_METHOD, stream=self._stream_load, server_streams=True))
        return MethodTable(
            endpoints={endpoint.path: endpoint for endpoint in endpoints},
            unknown=StatusError(Code.UNIMPLEMENTED, "no such method"),
        )

    async def _empty_call(self, message: bytes, _call: Call) -> bytes:
        self._decode("Empty", message)
        return b""

    async def _unary_call(self, message: bytes, call: Call) -> bytes:
        request = self._decode("SimpleRequest", message)
        _echo_metadata(call)
        _raise_if_wanted(request)
        load = self._load_report(request.load) if request.HasField("load") else self._load
        call.trailers = [*call.trailers, (_LOAD_TRAILER, load.SerializeToString())]
        server_id = "conformance" if request.fill_server_id else ""
        return self._encode("SimpleResponse", payload={"body": bytes(request.response_size)}, server_id=server_id)

    async def _input_call(self, messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        requests = [self._decode("StreamingInputCallRequest", message) async for message in messages]
        size = sum(len(request.payload.body) for request in requests)
        yield self._encode("StreamingInputCallResponse", aggregated_payload_size=size)

    async def _output_call(self, messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        async for message in messages:
            async for answer in self._answers(self._decode("StreamingOutputCallRequest", message)):
                yield answer

    async def _full_duplex_call(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        _echo_metadata(call)
        async for message in messages:
            request = self._decode("StreamingOutputCallRequest", message)
            _raise_if_wanted(request)
            if request.HasField("load"):
                self._load = self._load_report(request.load)
            async for answer in self._answers(request):
                yield answer

    async def _stream_load(self, _messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        """Report the load that was last wanted, on and on."""
        while True:
            yield self._load.SerializeToString()
            await asyncio.sleep(_LOAD_SECONDS)

    def _load_report(self, wanted: Any) -> Any:
        """Return the report that a case wants to see."""
        return self._types["LoadReport"](cpu=wanted.cpu, memory=wanted.memory, cost=wanted.cost, use=wanted.use)

    async def _answers(self, request: Any) -> AsyncGenerator[bytes, None]:
        for wanted in request.response_parameters:
            await asyncio.sleep(wanted.interval_us / 1e6)
            yield self._encode("StreamingOutputCallResponse", payload={"body": bytes(wanted.size)})

    def _decode(self, name: str, message: bytes) -> Any:
        return self._types[name].FromString(message)

    def _encode(self, name: str, **fields: Any) -> bytes:
        encoded: bytes = self._types[name](**fields).SerializeToString()
        return encoded


def _path(method: str) -> str:
    return f"/grpc.testing.TestService/{method}"


def _echo_metadata(call: Call) -> None:
    call.response_headers = [(name, value) for name, value in call.metadata if name == _ECHOED_HEADER]
    call.trailers = [(name, value) for name, value in call.metadata if name == _ECHOED_TRAILER]


def _raise_if_wanted(request: Any) -> None:
    if request.response_status.code:
        raise StatusError(Code(request.response_status.code), request.response_status.message)
