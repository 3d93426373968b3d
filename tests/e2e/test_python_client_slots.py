"""Blocks that hold slots, on a real sidecar over a real store."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sidecar_client
from sidecar_client import LeaseLostError, NoSlotError, SidecarClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar_client import Limit

# Of the policy `reports`.
_LIMIT = 4

# Acquires a slot of a policy and a key with a lease of so many seconds, says so, and waits to be killed.
_DOOMED = """
import asyncio, sys
from sidecar_client import SidecarClient

async def main(address, policy, key, lease):
    async with SidecarClient(address) as sidecar, sidecar.limit(policy).slot(key, slots=4, lease=float(lease)):
        print("acquired", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def reports(sidecar_address: str) -> AsyncIterator[Limit]:
    """Return the four slots of a client of the hospital's sidecar."""
    async with SidecarClient(sidecar_address, timeout=30) as client:
        yield client.limit("reports")


@pytest.fixture
def key() -> str:
    """Return a key that no other test uses."""
    return f"slots:{secrets.token_hex(8)}"


async def test_no_more_blocks_run_at_once_than_there_are_slots(reports: Limit, key: str) -> None:
    """Of thirty that want to, four at a time; all get their turn."""
    running = most = done = 0

    async def work() -> None:
        nonlocal running, most, done
        async with reports.slot(key, wait=30):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.005)
            running -= 1
            done += 1

    await asyncio.gather(*(work() for _ in range(30)))
    assert (_LIMIT, 30) == (most, done)


async def test_the_fifth_gets_none(reports: Limit, key: str) -> None:
    """Unless it waits; when a block ends its slots are free at once."""
    async with reports.slot(key, slots=_LIMIT):
        with pytest.raises(NoSlotError):
            await reports.slot(key).__aenter__()
    async with reports.slot(key, slots=_LIMIT) as slot:
        assert not slot.lost
    assert _LIMIT == (await reports.peek(key)).remaining


async def test_a_block_may_take_longer_than_its_lease(reports: Limit, key: str) -> None:
    """It is renewed meanwhile, several times over."""
    async with reports.slot(key, lease=1.5) as slot:
        await asyncio.sleep(3.2)
        seen = await reports.peek(key)
    assert (False, _LIMIT - 1) == (slot.lost, seen.remaining)


async def test_a_block_hears_that_its_lease_is_gone(reports: Limit, key: str) -> None:
    """Here because somebody reset the key."""
    async with asyncio.timeout(30), reports.slot(key, lease=0.3) as slot:
        await reports.reset(key)
        await slot.wait_until_lost()
        with pytest.raises(LeaseLostError):
            slot.raise_if_lost()


async def test_slots_of_a_killed_process_come_free(reports: Limit, sidecar_address: str, key: str) -> None:
    """It can release nothing any more; its lease ends, and who waits gets the slots."""
    doomed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _DOOMED, sidecar_address, "reports", key, "2"),
        env={**os.environ, "PYTHONPATH": str(Path(sidecar_client.__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
    )
    assert doomed.stdout is not None
    assert b"acquired\n" == await doomed.stdout.readline()
    await asyncio.sleep(2.4)  # longer than the lease, which is renewed as long as its holder lives
    alive = await reports.peek(key)
    doomed.kill()
    await doomed.wait()
    async with asyncio.timeout(60), reports.slot(key, slots=_LIMIT, wait=30) as slot:
        assert (0, False) == (alive.remaining, slot.lost)
