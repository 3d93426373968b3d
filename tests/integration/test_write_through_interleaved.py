"""Write-through in whatever order the steps of writers, readers and invalidations meet: the cache follows the origin.

A step is one request to the store, which is a real one, or half of one to the origin. Orders are drawn; so is, in a
second test, after which of its steps one process dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.gated import Gate, GatedOrigin, GatedStore, Home
from support.through_caches import Process, a_call

from sidecar.cache.policy import Outcome, Strategy
from sidecar.cache.request import WriteOptions
from sidecar.errors import SidecarError
from sidecar.store import commands
from sidecar.store.address import StoreAddress
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.servers import StoreServer

    from sidecar.store.base import Store

MORE = 20 if "SIDECAR_LONG" in os.environ else 1

KEY = "k"
FIRST = b"first"
ENTRY = b"sc:test:e:{c:k}"
PATIENCE_SECONDS = 30.0
# Of the test in which processes die: those who are left wait for it.
BRIEF_MS = 150

# Of two deletions it could not be told which of them a value came after.
KINDS = st.lists(st.sampled_from(["set", "delete", "get", "outside"]), min_size=2, max_size=4).filter(
    lambda kinds: kinds.count("delete") <= 1
)
KINDS_BESIDE_THE_DYING = st.lists(st.sampled_from(["set", "delete", "get", "get"]), max_size=2)
# Who takes how many steps: one who takes many at once meets another in the middle of his.
ORDERS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=10).map(
    lambda bursts: [number for number, steps in bursts for _ in range(steps)]
)


class Actor:
    """One who does one thing, beside a process of its own."""

    def __init__(self, number: int, kind: str, store: Store, home: Home, lease_ms: int) -> None:
        self.kind = kind
        self.gate = Gate()
        self.steps = 0
        self.value = b"%d" % number
        self._home = home
        self._process = Process(
            GatedStore(store, self.gate),
            GatedOrigin(home, self.gate),
            Strategy.WRITE_THROUGH,
            load_lease_ms=lease_ms,
            hard_timeout_ms=lease_ms // 2,
            negative_ttl_ms=60_000 if number % 2 else 0,
        )
        self.task = asyncio.create_task(self._do())

    async def step(self) -> None:
        """Take the next step, if there is one."""
        self.steps += await self.gate.step()

    async def end(self) -> None:
        """Take all steps that are left, also those that nobody waits for."""
        draining = asyncio.create_task(self._drained())
        while not draining.done():
            if not await self.gate.step():
                await asyncio.sleep(0.001)
        await draining

    async def _drained(self) -> None:
        await asyncio.wait((self.task,))
        await self._process.caches.drain(PATIENCE_SECONDS)

    async def die(self) -> None:
        """Be gone."""
        self.task.cancel()
        await self._process.caches.drain(0.0)
        await asyncio.wait((self.task,))

    def ended(self) -> None:
        """Take notice of how it has ended; on a busy machine the brief lease may be too brief for it."""
        with contextlib.suppress(SidecarError, asyncio.CancelledError):
            self.task.result()

    async def _do(self) -> Any:
        cache, call = self._process.cache, a_call()
        if self.kind == "set":
            return await cache.set(KEY, self.value, WriteOptions(), call)
        if self.kind == "delete":
            return await cache.delete(KEY, WriteOptions(), call)
        if self.kind == "get":
            return await cache.get(KEY, call)

        async def change() -> None:
            self._home.history.append(self.value)

        await self.gate.through(change)
        return await self._process.invalidate(KEY)


@contextlib.asynccontextmanager
async def store_of(server: StoreServer) -> AsyncIterator[StandaloneStore]:
    """Return a store of this event loop."""
    pool = Pool(StoreAddress(host="127.0.0.1", port=server.port), PoolPolicy(connections=1), PoolCounters(Metrics()))
    pool.start()
    yield StandaloneStore(pool)
    await pool.close()


async def cached(store: Store) -> bytes | None:
    """Return what the cache holds, without its origin."""
    entries = Process(store, GatedOrigin(Home(b""), Gate()), Strategy.CACHE_ASIDE).cache
    lookup = await entries.get(KEY, a_call())
    return None if lookup.outcome is Outcome.MISS else lookup.value


async def begin(store: Store, kinds: list[str], *, warm: bool, lease_ms: int) -> tuple[Home, list[Actor]]:
    """Have everybody ready to go, over a cache that has what its origin has, or nothing."""
    for tail in (b"e", b"f"):
        await store.call(commands.delete(b"sc:test:%s:{c:k}" % tail), a_call())
    if warm:
        entries = Process(store, GatedOrigin(Home(b""), Gate()), Strategy.CACHE_ASIDE).cache
        await entries.set(KEY, FIRST, WriteOptions(), a_call())
    home = Home(FIRST)
    return home, [Actor(number, kind, store, home, lease_ms) for number, kind in enumerate(kinds)]


def test_the_cache_never_holds_anything_else_than_its_origin(server: StoreServer) -> None:
    """Once all have ended; and no read has what was replaced before it began, by a write that had been acknowledged."""

    async def run(kinds: list[str], order: list[int], *, warm: bool) -> None:
        async with store_of(server) as store:
            home, actors = await begin(store, kinds, warm=warm, lease_ms=10_000)

            done: set[bytes | None] = set()
            begun: dict[int, set[bytes | None]] = {}
            for number in order:
                actor = actors[number % len(actors)]
                begun.setdefault(number % len(actors), set(done))
                await actor.step()
                done |= {
                    None if one.kind == "delete" else one.value
                    for one in actors
                    if one.kind != "get" and one.task.done()
                }

            await asyncio.gather(*(actor.end() for actor in actors))
            held = await cached(store)
            assert held in {None, home.history[-1]}
            results = [actor.task.result() for actor in actors]
            for number, actor in enumerate(actors):
                if actor.kind == "get" and number in begun:
                    found = results[number]
                    value = None if found.outcome is Outcome.MISS else found.value
                    replaced = home.history[_last(home.history, value) + 1 :]
                    assert set() == begun[number] & set(replaced), (value, home.history)

    @settings(max_examples=150 * MORE, deadline=None, suppress_health_check=list(HealthCheck))
    @given(KINDS, ORDERS, st.booleans())
    def holds(kinds: list[str], order: list[int], warm: bool) -> None:  # noqa: FBT001 (drawn)
        asyncio.run(run(kinds, order, warm=warm))

    holds()


def _last(history: list[bytes | None], value: bytes | None) -> int:
    return len(history) - 1 - history[::-1].index(value)


def test_what_a_dead_writer_leaves_goes_by_itself(server: StoreServer) -> None:
    """It is what the origin has, or gone within a lease; nobody waits for longer."""

    async def run(kinds: list[str], order: list[int], dies_after: int) -> None:
        async with store_of(server) as store:
            home, actors = await begin(store, ["set", *kinds], warm=True, lease_ms=BRIEF_MS)
            dying = actors[0]
            for number in order:
                actor = actors[number % len(actors)]
                if actor is not dying or dying.steps < dies_after:
                    await actor.step()
            await dying.die()
            await asyncio.gather(*(actor.end() for actor in actors[1:]))
            for actor in actors:
                actor.ended()
            held = await cached(store)
            if held not in {None, home.history[-1]}:
                left_ms = await store.call(commands.pttl(ENTRY), a_call())
                assert left_ms <= BRIEF_MS

    @settings(max_examples=60 * MORE, deadline=None, suppress_health_check=list(HealthCheck))
    @given(KINDS_BESIDE_THE_DYING, ORDERS, st.integers(0, 5))
    def holds(kinds: list[str], order: list[int], dies_after: int) -> None:
        asyncio.run(run(kinds, order, dies_after))

    holds()
