"""Rate limits in the frameworks and the server that they are made for, called over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import fastapi
import httpx
import pytest
import uvicorn
from decisions import allowed, refused
from sidecar_client import Rule, SidecarClient
from sidecar_client.asgi import HttpRequest, RateLimitMiddleware, address_key
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from played_sidecar import Play
    from starlette.requests import Request

RULES: list[Rule[HttpRequest]] = [Rule(policy="api", key=address_key, on_failure="closed")]


def starlette_app(sidecar: SidecarClient) -> Starlette:
    """Return an application that streams, limited as a whole."""

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"two ", b"parts"):
            yield part

    async def streams(_: Request) -> StreamingResponse:
        return StreamingResponse(parts())

    app = Starlette(routes=[Route("/", streams)], lifespan=opening(sidecar))
    app.add_middleware(RateLimitMiddleware, sidecar=sidecar, rules=RULES)
    return app


def fastapi_app(sidecar: SidecarClient) -> fastapi.FastAPI:
    """Return the same in FastAPI, in one part."""
    app = fastapi.FastAPI(lifespan=opening(sidecar))
    app.add_middleware(RateLimitMiddleware, sidecar=sidecar, rules=RULES)

    @app.get("/")
    async def answers() -> PlainTextResponse:
        return PlainTextResponse("two parts")

    return app


def opening(sidecar: SidecarClient) -> Any:
    """Return a lifespan in which the sidecar's client is open."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with sidecar:
            yield

    return lifespan


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application with uvicorn; return a client of it."""
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="on")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not serving.done()
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    await serving


@pytest.mark.parametrize("make_app", [starlette_app, fastapi_app])
async def test_an_application_is_limited_as_a_whole(play: Play, make_app: Any) -> None:
    """Its answers say what is left, its lifespan opens the client, and a refusal does not reach it."""
    play.answer(allowed(1), refused(1500))
    async with served(make_app(SidecarClient(play.address, timeout=30))) as client:
        passed, stopped = await client.get("/"), await client.get("/")
    assert (200, "two parts", '"api";r=1;t=66') == (passed.status_code, passed.text, passed.headers["RateLimit"])
    assert (429, "2", ["api"]) == (
        stopped.status_code,
        stopped.headers["Retry-After"],
        stopped.json()["violated-policies"],
    )
    assert "127.0.0.1" == play.received[0].request.key


async def test_a_head_request_has_fields_and_no_body(play: Play) -> None:
    """As HTTP has it, also when it is refused."""
    play.answer(refused(1500))
    async with served(starlette_app(SidecarClient(play.address, timeout=30))) as client:
        stopped = await client.head("/")
    assert (429, "2", b"") == (stopped.status_code, stopped.headers["Retry-After"], stopped.content)
