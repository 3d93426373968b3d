"""A played sidecar, and a client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from played_sidecar import Play, serve_play
from sidecar_client import SidecarClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Serve a play on a free port."""
    play = Play()
    server = grpc.aio.server()
    serve_play(play, server)
    play.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield play
    await server.stop(None)


@pytest.fixture
async def sidecar(play: Play) -> AsyncIterator[SidecarClient]:
    """Open a client whose calls may take as long as a busy machine needs."""
    async with SidecarClient(play.address, timeout=30) as sidecar:
        yield sidecar
