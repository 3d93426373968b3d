"""A pool and a store over a real server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sidecar.store.address import StoreAddress
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.servers import StoreServer


@pytest.fixture
def policy() -> PoolPolicy:
    """Return the pool's policy; a test that needs another overrides this."""
    return PoolPolicy(connections=2)


@pytest.fixture
async def pool(server: StoreServer, policy: PoolPolicy) -> AsyncIterator[Pool]:
    """Return a pool whose connections are all ready."""
    made = Pool(StoreAddress(host="127.0.0.1", port=server.port), policy, PoolCounters(Metrics()))
    made.start()
    async with asyncio.timeout(5):
        while made.ready_connections < policy.connections:
            await asyncio.sleep(0.001)
    yield made
    await made.close()


@pytest.fixture
def store(pool: Pool) -> StandaloneStore:
    """Return a store over that pool."""
    return StandaloneStore(pool)
