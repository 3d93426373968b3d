"""The conformance suite's service: each call says itself how it is to be answered.

The messages are those of `connectrpc.conformance.v1`, whose definitions come from the suite's own module at run time,
so no class of theirs is known to the type checker.
"""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import status_pb2

from sidecar.call import Code, Endpoint, MethodTable, StatusError
from sidecar.clock import remaining
from sidecar.server.engine import EnginePolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint

_PACKAGE = "connectrpc.conformance.v1"
_TYPES = "type.googleapis.com/"
# The suite wants to hear of a caller's deadline and of no other; its own ones are of seconds.
_UNBOUNDED_SECONDS = 1e6
_LONGEST_SECONDS = 1e5


def policy(max_message_bytes: int) -> EnginePolicy:
    """Return the policy of an engine that serves the suite."""
    return EnginePolicy(
        max_message_bytes=max_message_bytes, default_deadline=_UNBOUNDED_SECONDS, max_deadline=_UNBOUNDED_SECONDS
    )


class Messages:
    """The message classes of the suite."""

    def __init__(self, descriptors: Path) -> None:
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        """Return the class of a message of the suite's package, or of any other by its full name."""
        found = self._pool.FindMessageTypeByName(name if "." in name else f"{_PACKAGE}.{name}")
        return message_factory.GetMessageClass(found)


class ConnectService:
    """Answers as the calls want it."""

    def __init__(self, messages: Messages) -> None:
        self._types = messages
        self._payload = messages.ConformancePayload
        self._info = getattr(messages, f"{_PACKAGE}.ConformancePayload.RequestInfo")
        self._any = getattr(messages, "google.protobuf.Any")

    def table(self) -> MethodTable:
        """Return what is served; `Unimplemented` is not, and ends as it should by that."""
        unary: dict[str, UnaryEndpoint] = {
            "Unary": partial(self._unary, self._types.UnaryRequest, self._types.UnaryResponse),
            "IdempotentUnary": partial(
                self._unary, self._types.IdempotentUnaryRequest, self._types.IdempotentUnaryResponse
            ),
        }
        streams: dict[str, tuple[StreamEndpoint, bool, bool]] = {
            "ClientStream": (self._client_stream, True, False),
            "ServerStream": (self._server_stream, False, True),
            "BidiStream": (self._bidi_stream, True, True),
        }
        endpoints = [Endpoint(path=_path(name), unary=endpoint) for name, endpoint in unary.items()]
        endpoints += [
            Endpoint(path=_path(name), stream=endpoint, client_streams=up, server_streams=down)
            for name, (endpoint, up, down) in streams.items()
        ]
        return MethodTable(
            endpoints={endpoint.path: endpoint for endpoint in endpoints},
            unknown=StatusError(Code.UNIMPLEMENTED, "no such method"),
        )

    async def _unary(self, request_type: Any, response_type: Any, message: bytes, call: Call) -> bytes:
        request = _decode(request_type, message)
        payload = await self._answer_once(request.response_definition, [request], call)
        answer: bytes = response_type(payload=payload).SerializeToString()
        return answer

    async def _client_stream(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        requests = [_decode(self._types.ClientStreamRequest, message) async for message in messages]
        wanted = requests[0].response_definition if requests else self._types.UnaryResponseDefinition()
        payload = await self._answer_once(wanted, requests, call)
        yield self._types.ClientStreamResponse(payload=payload).SerializeToString()

    async def _server_stream(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        async for message in messages:
            request = _decode(self._types.ServerStreamRequest, message)
            wanted = request.response_definition
            _dress(call, wanted)
            info = self._request_info([request], call)
            async for payload in self._answer_many(wanted, 0, info):
                yield self._types.ServerStreamResponse(payload=payload).SerializeToString()
            if wanted.HasField("error"):
                raise self._error(wanted.error, None if wanted.response_data else info)

    async def _bidi_stream(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        """Answer each message at once (full duplex), or all when the last is in (half duplex)."""
        wanted = self._types.StreamResponseDefinition()
        full_duplex = False
        requests: list[Any] = []
        sent = received = 0
        async for message in messages:
            request = _decode(self._types.BidiStreamRequest, message)
            requests.append(request)
            if not received:
                wanted, full_duplex = request.response_definition, request.full_duplex
                _dress(call, wanted)
            received += 1
            if full_duplex:
                if sent >= len(wanted.response_data):
                    break
                info = self._info(requests=self._packed(requests)) if sent else self._request_info(requests, call)
                await asyncio.sleep(wanted.response_delay_ms / 1000)
                payload = self._payload(data=wanted.response_data[sent], request_info=info)
                yield self._types.BidiStreamResponse(payload=payload).SerializeToString()
                sent += 1
                requests = []
        info = self._request_info(requests, call)
        async for payload in self._answer_many(wanted, sent, info):
            yield self._types.BidiStreamResponse(payload=payload).SerializeToString()
        if wanted.HasField("error"):
            raise self._error(wanted.error, None if wanted.response_data else info)

    async def _answer_once(self, wanted: Any, requests: Sequence[Any], call: Call) -> Any:
        """Return the one payload of an answer, after the delay that is wanted."""
        _dress(call, wanted)
        await asyncio.sleep(wanted.response_delay_ms / 1000)
        info = self._request_info(requests, call)
        if wanted.WhichOneof("response") == "error":
            raise self._error(wanted.error, info)
        return self._payload(data=wanted.response_data, request_info=info)

    async def _answer_many(self, wanted: Any, sent: int, info: Any) -> AsyncGenerator[Any, None]:
        """Return the payloads that are still to be sent; the first of all tells of the request."""
        for number, data in enumerate(wanted.response_data[sent:], sent):
            await asyncio.sleep(wanted.response_delay_ms / 1000)
            yield self._payload(data=data, request_info=None if number else info)

    def _request_info(self, requests: Sequence[Any], call: Call) -> Any:
        """Return what the server saw of a request."""
        headers: dict[str, list[str]] = {}
        for name, value in call.metadata:
            headers.setdefault(name, []).append(_text(value))
        left = remaining(call.deadline)
        return self._info(
            request_headers=[self._types.Header(name=name, value=values) for name, values in headers.items()],
            requests=self._packed(requests),
            timeout_ms=int(left * 1000) if left < _LONGEST_SECONDS else None,
        )

    def _packed(self, messages: Sequence[Any]) -> list[Any]:
        return [
            self._any(type_url=_TYPES + type(each).DESCRIPTOR.full_name, value=each.SerializeToString())
            for each in messages
        ]

    def _error(self, wanted: Any, info: Any) -> StatusError:
        """Return the error that is wanted; it tells of the request where no message did."""
        details = [*wanted.details, *(self._packed([info]) if info is not None else ())]
        status = status_pb2.Status(code=wanted.code, message=wanted.message)
        for detail in details:
            status.details.add(type_url=detail.type_url, value=detail.value)
        return StatusError(Code(wanted.code), wanted.message, status.SerializeToString())


def _path(method: str) -> str:
    return f"/{_PACKAGE}.ConformanceService/{method}"


def _decode(kind: Any, message: bytes) -> Any:
    return kind.FromString(message)


def _dress(call: Call, wanted: Any) -> None:
    """Set the headers and trailers that are wanted; answers are compressed for whoever takes that."""
    call.response_headers = [
        (field.name, _value(field.name, value)) for field in wanted.response_headers for value in field.value
    ]
    call.trailers = [
        (field.name, _value(field.name, value)) for field in wanted.response_trailers for value in field.value
    ]
    call.compress = True


def _value(name: str, value: str) -> str | bytes:
    """Return a value that stands in a message as it goes into metadata: binary ones stand in base64."""
    return base64.b64decode(value + "=" * (-len(value) % 4)) if name.endswith("-bin") else value


def _text(value: str | bytes) -> str:
    """Return a value of metadata as it goes into a message."""
    return base64.b64encode(value).rstrip(b"=").decode() if isinstance(value, bytes) else value
