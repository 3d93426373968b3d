"""Refresh-ahead and early refresh: what is read is loaded anew before its time is over, once, in the background."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.counting_origin import CountingOrigin, gone
from support.through_caches import Process, a_call

from sidecar.cache.policy import Outcome, Strategy

if TYPE_CHECKING:
    from sidecar.store.standalone import StandaloneStore

PATIENCE_SECONDS = 10.0
AHEAD = Strategy.REFRESH_AHEAD


async def test_at_a_steady_load_nobody_waits(store: StandaloneStore) -> None:
    """For ten lives of an entry, after the first load, beside two processes; each life is loaded about once."""
    origin = CountingOrigin(k=b"v")
    processes = [Process(store, origin, AHEAD, ttl_ms=200, refresh_at=0.5) for _ in range(2)]
    await processes[0].cache.get("k", a_call())
    warm = [process.count("sidecar_cache_origin_waits") for process in processes]
    missed = 0
    for number in range(400):
        found = await processes[number % 2].cache.get("k", a_call())
        missed += found.outcome is not Outcome.HIT
        await asyncio.sleep(0.005)
    waited = [process.count("sidecar_cache_origin_waits") for process in processes]
    # It is due after 100 ms, and lives no longer than that at a steady load: at most one load for each half of a life.
    assert (0, warm, True) == (missed, waited, 10 <= len(origin.loads) <= 25)


async def test_one_refresh_for_all(store: StandaloneStore) -> None:
    """Who reads meanwhile has what is there; who has read the old one just before does not load it again."""
    origin = CountingOrigin(k=b"old")
    processes = [Process(store, origin, AHEAD, ttl_ms=60_000, refresh_at=0.000_01) for _ in range(2)]
    await processes[0].cache.get("k", a_call())
    await asyncio.sleep(0.01)
    origin.hold()
    origin.values["k"] = b"new"
    found = await asyncio.gather(*(process.cache.get("k", a_call()) for process in processes for _ in range(50)))
    await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
    origin.let_go()
    await asyncio.gather(*(process.caches.drain(PATIENCE_SECONDS) for process in processes))
    assert ({b"old"}, [["k"]] * 2) == ({one.value for one in found}, origin.loads)
    assert b"new" == (await processes[1].cache.get("k", a_call())).value


async def test_a_refresh_that_fails_leaves_the_entry_and_is_not_repeated_at_once(store: StandaloneStore) -> None:
    """It is as fresh as it was."""
    origin = CountingOrigin(k=b"v")
    process = Process(store, origin, AHEAD, ttl_ms=60_000, refresh_at=0.000_01)
    await process.cache.get("k", a_call())
    await asyncio.sleep(0.01)
    origin.failure = gone()
    for _ in range(5):
        found = await process.cache.get("k", a_call())
        await process.caches.drain(PATIENCE_SECONDS)
        assert (Outcome.HIT, b"v") == (found.outcome, found.value)
    assert [["k"]] * 2 == origin.loads


async def test_eager_readers_load_by_chance(store: StandaloneStore) -> None:
    """With much eagerness the first of them does; without any, none."""
    for eagerness, loads in ((0.0, 1), (1e9, 2)):
        origin = CountingOrigin(k=b"v")
        process = Process(store, origin, ttl_ms=60_000, early_refresh=eagerness)
        await process.invalidate("k")
        await process.cache.get("k", a_call())
        await process.cache.get("k", a_call())
        await process.caches.drain(PATIENCE_SECONDS)
        assert (eagerness, loads) == (eagerness, len(origin.loads))
