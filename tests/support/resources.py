"""A web server with a resource for each key, for tests; and ways to answer badly."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from support.servers import free_port

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


@dataclass
class Resources:
    """The server; `async with` serves it, at a port of 127.0.0.1 or at a Unix socket."""

    values: dict[str, bytes] = field(default_factory=dict)
    """By the path as it was sent."""
    answer: web.Response | None = None
    """What it answers whatever it is asked; made anew from this for each request."""
    headers: dict[str, str] = field(default_factory=dict)
    """What each answer has besides."""
    delay: float = 0.0
    socket: Path | None = None
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path as it was sent and headers of each request."""
    bodies: list[bytes] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _runner: Any = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        """Serve."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        await self.stop()

    async def start(self) -> None:
        """Serve; again, after `stop`, at the same address."""
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await self._runner.setup()
        if self.socket is not None:
            await web.UnixSite(self._runner, str(self.socket)).start()
        else:
            await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls).start()

    async def stop(self) -> None:
        """End at once."""
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path, dict(request.headers)))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            body = await request.read()
            self.bodies.append(body)
            await asyncio.sleep(self.delay)
        finally:
            self.at_once -= 1
        if self.answer is not None:
            given = self.answer
            return web.Response(status=given.status, headers=given.headers, body=given.body)
        return self._answer(request.method, request.raw_path, body)

    def _answer(self, method: str, path: str, body: bytes) -> web.Response:
        if method == "PUT":
            self.values[path] = body
            return web.Response(status=204)
        value = self.values.get(path)
        if value is None:
            return web.Response(status=404)
        if method == "DELETE":
            del self.values[path]
            return web.Response(status=204)
        return web.Response(body=value, headers={"Content-Type": "application/json", **self.headers})
