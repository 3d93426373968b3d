"""A cold key that many want at once: over all sidecars, its origin is asked once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from sidecar_client import SidecarClient, SidecarError
from sidecar_client.gen.sidecar.v1 import cache_pb2
from support.api import Api
from support.origin_service import OriginApplication
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
# The same, and the sidecars load.
THROUGH = """
listen: ["{{address}}"]
origins:
  ledger: {{kind: service, address: "{ledger}"}}
caches:
  balances:
    {{strategy: read_through, origin: {{name: ledger}}, ttl: 5m, load_lease: {lease}s, load_wait: 30s}}
"""
# A busy machine may need this long for a thousand callers.
PATIENCE_SECONDS = 30


@contextlib.asynccontextmanager
async def fleet(
    store: StoreServer, folder: Path, config: str = CONFIG, programs: list[SidecarProgram] | None = None
) -> AsyncIterator[list[SidecarClient]]:
    """Run the sidecars, each with a client."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for number in range(SIDECARS):
            program = SidecarProgram(folder / str(number), config=config, arguments=["--redis", store.url])
            await asyncio.to_thread(stack.enter_context, program)
            if programs is not None:
                programs.append(program)
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


@pytest.mark.slow
async def test_of_the_sidecars_one_loads_for_a_thousand_callers(lasting_store: StoreServer, tmp_path: Path) -> None:
    """Who only Get, and have it from the origin."""
    async with OriginApplication(delay=0.2) as ledger:
        ledger.put("cold through", b"12.50")
        config = THROUGH.format(ledger=ledger.address, lease=LEASE_SECONDS)
        async with fleet(lasting_store, tmp_path, config) as clients:
            caches = [client.cache("balances") for client in clients]
            found = await asyncio.gather(*(caches[caller % SIDECARS].get("cold through") for caller in range(CALLERS)))
    assert (["Load"], {b"12.50"}) == (ledger.methods(), {lookup.value for lookup in found})


@pytest.mark.slow
async def test_a_second_sidecar_loads_if_the_first_is_killed(lasting_store: StoreServer, tmp_path: Path) -> None:
    """Once its lease has ended, for all who wait: two loads in all."""
    programs: list[SidecarProgram] = []
    async with OriginApplication(delay=1.0) as ledger:
        ledger.put("abandoned through", b"12.50")
        config = THROUGH.format(ledger=ledger.address, lease=LEASE_SECONDS)
        async with fleet(lasting_store, tmp_path, config, programs) as clients:
            dying = asyncio.create_task(clients[0].cache("balances").get("abandoned through"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not ledger.asked:
                    await asyncio.sleep(0.01)
            began = time.monotonic()
            await asyncio.to_thread(programs[0].kill)
            others = [client.cache("balances") for client in clients[1:]]
            found = await asyncio.gather(*(others[caller % 3].get("abandoned through") for caller in range(CALLERS)))
            seconds = time.monotonic() - began
            with contextlib.suppress(SidecarError):
                await dying
    assert (["Load"] * 2, {b"12.50"}) == (ledger.methods(), {lookup.value for lookup in found})
    # The lease, the second load, and what a thousand callers take on a busy machine.
    assert LEASE_SECONDS * 0.9 < seconds < LEASE_SECONDS + 1.0 + PATIENCE_SECONDS / 2
