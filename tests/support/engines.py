"""An engine with endpoints of a test's own behind it, and a client in front: no services, no store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from sidecar.call import Call, Code, Endpoint, MethodTable, StatusError
from sidecar.clock import remaining
from sidecar.server.engine import Engine, EnginePolicy, Listener
from sidecar.server.fast_engine import FastEngine
from sidecar.server.grpcio_engine import GrpcioEngine
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from sidecar.call import Metadata

MAKERS: Mapping[str, Callable[[MethodTable, Sequence[Listener], EnginePolicy], Engine]] = {
    "grpcio": GrpcioEngine,
    "fast": FastEngine,
}
POLICY = EnginePolicy(max_message_bytes=100_000, default_deadline=5.0, max_deadline=60.0)
METHOD = "/test.Service/Method"
PATIENCE_SECONDS = 30.0


class Endpoints:
    """Endpoints that answer as a test wants, and remember the last call."""

    def __init__(self) -> None:
        self.call = Call("")
        self.remaining = 0.0
        self.error: Exception | None = None
        self.headers: Metadata = ()
        self.trailers: Metadata = ()
        self.compress = False
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = asyncio.Event()

    async def unary(self, message: bytes, call: Call) -> bytes:
        """Answer with the message."""
        await self._enter(call)
        return message

    async def each(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        """Answer each message with itself."""
        try:
            async for message in messages:
                await self._enter(call)
                yield message
        finally:
            self.closed.set()

    async def all(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        """Answer all messages with one."""
        joined = b"".join([message async for message in messages])
        await self._enter(call)
        yield joined

    async def thrice(self, messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
        """Answer one message three times."""
        async for message in messages:
            await self._enter(call)
            for _ in range(3):
                yield message

    def table(self) -> MethodTable:
        """Return what is served."""
        streams = {
            "/test.Service/Each": Endpoint(
                path="/test.Service/Each", stream=self.each, client_streams=True, server_streams=True
            ),
            "/test.Service/All": Endpoint(path="/test.Service/All", stream=self.all, client_streams=True),
            "/test.Service/Thrice": Endpoint(path="/test.Service/Thrice", stream=self.thrice, server_streams=True),
        }
        return MethodTable(
            endpoints={METHOD: Endpoint(path=METHOD, unary=self.unary), **streams},
            unknown=StatusError(Code.UNIMPLEMENTED, "no such method"),
        )

    async def _enter(self, call: Call) -> None:
        self.call = call
        self.remaining = remaining(call.deadline)
        call.response_headers = self.headers
        call.trailers = self.trailers
        call.compress = self.compress
        self.entered.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error


class Served:
    """An engine that serves, and a blocking client that is kept out of the event loop."""

    def __init__(self, engine: Engine, address: str, **options: int) -> None:
        self.engine = engine
        self.address = address
        self.channel: Any = grpc.insecure_channel(
            address,
            [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{key}", value) for key, value in options.items())],
        )

    async def unary(self, message: bytes = b"m", path: str = METHOD, **options: Any) -> bytes:
        """Call a unary method."""
        call = self.channel.unary_unary(path, request_serializer=None, response_deserializer=None)
        options.setdefault("timeout", PATIENCE_SECONDS)
        answer: bytes = await asyncio.to_thread(call, message, **options)
        return answer

    async def error(self, message: bytes = b"m", path: str = METHOD, **options: Any) -> Any:
        """Call a unary method that must fail."""
        with pytest.raises(grpc.RpcError) as caught:
            await self.unary(message, path, **options)
        return caught.value


@asynccontextmanager
async def serving(
    name: str, endpoints: Endpoints, policy: EnginePolicy = POLICY, address: str | None = None, **options: int
) -> AsyncIterator[Served]:
    """Serve endpoints."""
    where = address or f"127.0.0.1:{free_port()}"
    engine = MAKERS[name](endpoints.table(), [Listener(address=where)], policy)
    await engine.start()
    served = Served(engine, where, **options)
    try:
        yield served
    finally:
        served.channel.close()
        await engine.stop(0)
