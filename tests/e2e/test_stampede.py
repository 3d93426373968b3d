"""A cold key that many want at once: over all sidecars, its origin is asked once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from sidecar_client import SidecarClient
from sidecar_client.gen.sidecar.v1 import cache_pb2
from support.api import Api
from support.programs import SidecarProgram

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.servers import StoreServer

pytestmark = pytest.mark.alone

SIDECARS, CALLERS = 4, 1_000
LEASE_SECONDS = 2
CONFIG = f"""
listen: ["{{address}}"]
caches:
  balances: {{ttl: 5m, load_lease: {LEASE_SECONDS}s, load_wait: 30s}}
"""
# A busy machine may need this long for a thousand callers.
PATIENCE_SECONDS = 30


@contextlib.asynccontextmanager
async def fleet(store: StoreServer, folder: Path) -> AsyncIterator[list[SidecarClient]]:
    """Run the sidecars, each with a client."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for number in range(SIDECARS):
            program = SidecarProgram(folder / str(number), config=CONFIG, arguments=["--redis", store.url])
            await asyncio.to_thread(stack.enter_context, program)
            clients.append(await stack.enter_async_context(SidecarClient(program.address, timeout=PATIENCE_SECONDS)))
        yield clients


@pytest.mark.slow
async def test_one_of_a_thousand_callers_loads(lasting_store: StoreServer, tmp_path: Path) -> None:
    """And all have what it loaded."""
    loads = 0

    async def load() -> bytes:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.2)
        return b"12.50"

    async with fleet(lasting_store, tmp_path) as clients:
        found = await asyncio.gather(
            *(
                clients[caller % SIDECARS].cache("balances").get_or_load("cold", load, wait=PATIENCE_SECONDS)
                for caller in range(CALLERS)
            )
        )
    assert (1, {b"12.50"}) == (loads, {lookup.value for lookup in found})


@pytest.mark.slow
async def test_a_second_loads_if_the_first_is_gone(lasting_store: StoreServer, tmp_path: Path) -> None:
    """Once the lease of the first has ended: two loads in all."""
    loads = 0

    async def load() -> bytes:
        nonlocal loads
        loads += 1
        return b"12.50"

    async with fleet(lasting_store, tmp_path) as clients:
        with Api(clients[0].address) as dying:
            request = cache_pb2.GetOrLoadRequest(cache="balances", key="abandoned")
            assert cache_pb2.LOAD_OUTCOME_LEASE == dying.cache.GetOrLoad(request, timeout=PATIENCE_SECONDS).outcome
        found = await asyncio.gather(
            *(
                clients[caller % SIDECARS].cache("balances").get_or_load("abandoned", load, wait=PATIENCE_SECONDS)
                for caller in range(CALLERS)
            )
        )
    # The other load is that of the one who is gone.
    assert (1, {b"12.50"}) == (loads, {lookup.value for lookup in found})
