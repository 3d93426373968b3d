"""Cached functions on a real sidecar: asyncio and threads share entries, loads and invalidations."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar_client import BlockingSidecar, SidecarClient, cached
from support.programs import SidecarProgram

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import StoreServer

CALLERS, THREADS = 50, 10
CONFIG = """
listen: ["{address}"]
caches:
  balances: {ttl: 5m, load_wait: 30s, negative_ttl: 1m}
"""
# A busy machine may need this long.
PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Balance:
    """What is cached."""

    account: int
    cents: int


async def test_tasks_and_threads_share_one_load(lasting_store: StoreServer, tmp_path: Path) -> None:
    """Of a value, of the news that there is none, and again after an invalidation; of another layout, too."""
    loads: list[int] = []

    with (
        SidecarProgram(tmp_path, config=CONFIG, arguments=["--redis", lasting_store.url]) as program,
        BlockingSidecar(program.address, timeout=PATIENCE_SECONDS) as threads,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        async with SidecarClient(program.address, timeout=PATIENCE_SECONDS) as tasks:

            @cached(tasks.cache("balances"), name="balance", wait=PATIENCE_SECONDS)
            async def balance(account: int) -> Balance | None:
                loads.append(account)
                await asyncio.sleep(0.1)
                return Balance(account, 1250) if account else None

            @cached(threads.cache("balances"), name="balance", wait=PATIENCE_SECONDS)
            def balance_in_thread(account: int) -> Balance | None:
                loads.append(account)
                time.sleep(0.1)
                return Balance(account, 1250) if account else None

            @cached(tasks.cache("balances"), name="balance", wait=PATIENCE_SECONDS)
            async def other_layout(account: int) -> list[int]:
                loads.append(account)
                return [account]

            async def ask_all(account: int) -> list[Balance | None]:
                loop = asyncio.get_running_loop()
                return await asyncio.gather(
                    *(loop.run_in_executor(pool, balance_in_thread, account) for _ in range(THREADS)),
                    *(balance(account) for _ in range(CALLERS)),
                )

            assert [Balance(7, 1250)] * (CALLERS + THREADS) == await ask_all(7)
            assert [None] * (CALLERS + THREADS) == await ask_all(0)
            assert [7, 0] == loads
            await asyncio.to_thread(balance_in_thread.invalidate, 7)
            assert Balance(7, 1250) == await balance(7)
            assert [7, 0, 7] == loads
            assert [[7]] * CALLERS == await asyncio.gather(*(other_layout(7) for _ in range(CALLERS)))
            assert [7, 0, 7, 7] == loads
