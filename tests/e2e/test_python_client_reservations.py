"""Blocks that reserve what they may cost, on a real sidecar over a real store, by the hospital's policy of exports."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from sidecar_client import NotReservedError, ReservationLostError, SidecarClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar_client import Limit

# Rows an hour, and a day.
_HOURLY, _DAILY = 10_000, 50_000


@pytest.fixture
async def exports(sidecar_address: str) -> AsyncIterator[Limit]:
    """Return the limit of exports of a client of the hospital's sidecar."""
    async with SidecarClient(sidecar_address, timeout=10) as client:
        yield client.limit("exports")


@pytest.fixture
def clinic() -> str:
    """Return a clinic that no other test uses."""
    return f"clinic:{secrets.token_hex(8)}"


async def left(exports: Limit, clinic: str) -> list[int]:
    """Return how many rows each limit leaves."""
    return [status.remaining for status in (await exports.peek(clinic)).limits]


async def test_an_export_is_charged_by_its_rows(exports: Limit, clinic: str) -> None:
    """Once they are known; until then others get what is left beside what it reserved."""
    async with exports.reserve(clinic, cost=5_000, ttl=120) as reservation:
        meanwhile = await left(exports, clinic)
        done = await reservation.commit(1_200)
    assert ([_HOURLY - 5_000, _DAILY - 5_000], 1_200, 0) == (meanwhile, done.charged, done.shortfall)
    assert [_HOURLY - 1_200, _DAILY - 1_200] == await left(exports, clinic)


async def test_one_that_fails_is_charged_with_nothing(exports: Limit, clinic: str) -> None:
    """And what it reserved is free at once."""
    with pytest.raises(ZeroDivisionError):
        async with exports.reserve(clinic, cost=5_000):
            raise ZeroDivisionError
    assert [_HOURLY, _DAILY] == await left(exports, clinic)


async def test_one_that_has_more_rows_hears_so(exports: Limit, clinic: str) -> None:
    """It is charged as far as there is room beside others."""
    async with exports.reserve(clinic, cost=4_000) as other, exports.reserve(clinic, cost=1_000) as reservation:
        done = await reservation.commit(7_000)
        await other.commit()
    assert (6_000, 1_000, [0, _DAILY - _HOURLY]) == (done.charged, done.shortfall, await left(exports, clinic))


async def test_no_two_exports_get_the_same_rows(exports: Limit, clinic: str) -> None:
    """Of nine at once, three at a time have room; who waits gets its turn, and who does not is told for how long."""
    running = most = 0

    async def export() -> int:
        nonlocal running, most
        async with exports.reserve(clinic, cost=3_000, wait=30) as reservation:
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return (await reservation.commit(100)).charged

    assert ([100] * 9, 3) == (await asyncio.gather(*(export() for _ in range(9))), most)
    async with exports.reserve(clinic, cost=9_000, ttl=60):
        with pytest.raises(NotReservedError) as caught:
            await exports.reserve(clinic, cost=3_000).__aenter__()
    assert 0 < caught.value.answer.retry_after.total_seconds() <= 60


async def test_one_that_takes_too_long_has_nothing_to_commit(exports: Limit, clinic: str) -> None:
    """Others may have had its rows by then."""
    async with exports.reserve(clinic, cost=5_000, ttl=0.05) as reservation:
        await asyncio.sleep(0.06)
        with pytest.raises(ReservationLostError):
            await reservation.commit(1_200)
    assert [_HOURLY, _DAILY] == await left(exports, clinic)
