"""Transactions posted at a steady rate, in the database alone, by Zipf's law too: busy accounts are asked for most.

Whoever posts knows nothing of a cache; the triggers tell the sidecars. What was posted is removed after each run, so
that a balance is the sum of as many postings in the last run as in the first.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, Self

import asyncpg

from balances.bank import post
from bench.processes import Failure

if TYPE_CHECKING:
    from balances.postgres import Postgres

_WHAT = "benchmark"
_CENTS = 100
# How many transactions may be under way at once; a commit waits for the disk.
_CONNECTIONS = 4
_END_SECONDS = 30.0


def zipf_accounts(accounts: int, number: int, seed: int) -> list[str]:
    """Return so many accounts, drawn by Zipf's law (s = 1): the second half as often as the first, and so on."""
    weights = list(itertools.accumulate(1 / rank for rank in range(1, accounts + 1)))
    drawn = random.Random(seed).choices(range(accounts), cum_weights=weights, k=number)
    return [f"account-{rank}" for rank in drawn]


class Poster:
    """Posts on a thread of its own for the length of a `with` block; raises `Failure` at its end if that failed.

    It ends within a pause between two postings.
    """

    def __init__(self, postgres: Postgres, accounts: list[str], *, per_second: int) -> None:
        self._postgres = postgres
        self._accounts = itertools.cycle(accounts)
        self._pause = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poster")
        self._failure: Exception | None = None
        self.postings = 0
        """How many are committed."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join(_END_SECONDS)
        if self._failure is not None:
            raise Failure(f"nothing more could be posted: {self._failure}")

    def _run(self) -> None:
        try:
            asyncio.run(self._post())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ExceptionGroup) as error:
            self._failure = error

    async def _post(self) -> None:
        free = asyncio.Semaphore(_CONNECTIONS)
        pool = asyncpg.create_pool(self._postgres.url, min_size=_CONNECTIONS, max_size=_CONNECTIONS)
        async with pool as database, asyncio.TaskGroup() as group:
            due = time.monotonic()
            while not self._stop.is_set():
                await free.acquire()
                group.create_task(self._post_one(database, free))
                due += self._pause
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _post_one(self, database: asyncpg.Pool, free: asyncio.Semaphore) -> None:
        try:
            await post(database, next(self._accounts), _CENTS, _WHAT)
            self.postings += 1
        finally:
            free.release()


def remove_postings(postgres: Postgres) -> None:
    """Remove what was posted, and what it left in the table and its index."""
    postgres.run(f"DELETE FROM posting WHERE what = '{_WHAT}'; VACUUM (ANALYZE) posting;")  # noqa: S608 (a constant)
