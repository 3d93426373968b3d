"""An application that implements OriginService, for tests: a table of values, and a way to fail for each method."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
from grpc import aio

from sidecar.gen.sidecar.v1 import origin_pb2
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    Context = aio.ServicerContext[Any, Any]

_METHODS: dict[str, type[Message]] = {
    "Load": origin_pb2.LoadRequest,
    "LoadMany": origin_pb2.LoadManyRequest,
    "Store": origin_pb2.StoreRequest,
    "StoreMany": origin_pb2.StoreManyRequest,
    "Remove": origin_pb2.RemoveRequest,
}


@dataclass
class OriginApplication:
    """The application; `async with` serves it."""

    entries: dict[str, origin_pb2.OriginEntry] = field(default_factory=dict)
    failures: dict[str, grpc.StatusCode] = field(default_factory=dict)
    """How methods end, by name; or keys, within a method."""
    refuses_together: bool = False
    """Whether LoadMany and StoreMany end with the failure of any of their keys."""
    answers: dict[str, bytes] = field(default_factory=dict)
    """What methods answer whatever they are asked, in bytes."""
    delay: float = 0.0
    asked: list[tuple[str, Any]] = field(default_factory=list)
    """The requests, with the methods' names."""
    deadlines: list[float] = field(default_factory=list)
    """How many seconds each call had left when it came."""
    tokens: set[str] = field(default_factory=set)
    credentials: grpc.ServerCredentials | None = None
    port: int = field(default_factory=free_port)
    _server: aio.Server | None = None

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self.port}"

    def put(self, key: str, value: bytes, **more: Any) -> None:
        """Have a value under a key."""
        self.entries[key] = origin_pb2.OriginEntry(present=True, value=value, **more)

    def methods(self) -> list[str]:
        """Return the methods that were called, in order."""
        return [method for method, _ in self.asked]

    async def __aenter__(self) -> Self:
        """Serve."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        await self.stop()

    async def start(self) -> None:
        """Serve; again, after `stop`, at the same address."""
        server = self._server = aio.server()
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._handler(name), request_deserializer=kind.FromString, response_serializer=_serialized
            )
            for name, kind in _METHODS.items()
        }
        server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("sidecar.v1.OriginService", handlers),
        ))  # fmt: skip
        if self.credentials is None:
            server.add_insecure_port(self.address)
        else:
            server.add_secure_port(self.address, self.credentials)
        await server.start()

    async def stop(self) -> None:
        """End at once."""
        if self._server is not None:
            await self._server.stop(None)

    def _handler(self, name: str) -> Callable[[Any, Context], Awaitable[Any]]:
        async def handle(request: Any, context: Context) -> Any:
            self.asked.append((name, request))
            self.deadlines.append(context.time_remaining() or 0.0)
            await asyncio.sleep(self.delay)
            code = self.failures.get(name) or self.failures.get(getattr(request, "key", ""))
            if self.refuses_together and name.endswith("Many"):
                keys = request.keys if name == "LoadMany" else [change.key for change in request.changes]
                code = next((self.failures[key] for key in keys if key in self.failures), code)
            if code is not None:
                await context.abort(code, "the value is 4711")
            if name in self.answers:
                return self.answers[name]
            return getattr(self, f"_{name.lower()}")(request)

        return handle

    def _load(self, request: origin_pb2.LoadRequest) -> origin_pb2.LoadResponse:
        return origin_pb2.LoadResponse(entry=self.entries.get(request.key))

    def _loadmany(self, request: origin_pb2.LoadManyRequest) -> origin_pb2.LoadManyResponse:
        nothing = origin_pb2.OriginEntry()
        return origin_pb2.LoadManyResponse(entries=[self.entries.get(key, nothing) for key in request.keys])

    def _store(self, request: origin_pb2.StoreRequest) -> origin_pb2.StoreResponse:
        if request.token not in self.tokens:
            self.put(request.key, request.value)
        self.tokens |= {request.token} - {""}
        return origin_pb2.StoreResponse()

    def _storemany(self, request: origin_pb2.StoreManyRequest) -> origin_pb2.StoreManyResponse:
        results = []
        for change in request.changes:
            code = self.failures.get(change.key)
            results.append(origin_pb2.OriginResult(code=0 if code is None else code.value[0]))
            if code is None and change.remove:
                self.entries.pop(change.key, None)
            elif code is None:
                self.put(change.key, change.value)
        return origin_pb2.StoreManyResponse(results=results)

    def _remove(self, request: origin_pb2.RemoveRequest) -> origin_pb2.RemoveResponse:
        self.entries.pop(request.key, None)
        return origin_pb2.RemoveResponse()


def _serialized(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())
