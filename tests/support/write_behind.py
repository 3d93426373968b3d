"""Write-behind caches over a real store, with origins in the test's own process."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.cache.origin import OriginValue
from sidecar.cache.policy import CachePolicy, Limits
from sidecar.cache.request import WriteOptions
from sidecar.cache.values import ValueCache
from sidecar.cache.write_behind.caches import WriteBehind
from sidecar.cache.write_behind.changes import Reader
from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import Reason, SidecarError
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sidecar.cache.origin import Change
    from sidecar.cache.write_behind.caches import BehindCache
    from sidecar.cache.write_behind.partitions import Standing
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Store

TENANT = "behind"
CACHE = "later"
PATIENCE_SECONDS = 20.0
PLAIN = WriteOptions()

# Quick, so that a test waits for nothing but what it is about.
QUICK = BehindPolicy(flush_after_ms=5, retry_base_ms=2, retry_cap_ms=20, lease_ms=2_000, store_timeout_ms=800)


def some_call(seconds: float = PATIENCE_SECONDS) -> Call:
    """Return a call with time enough."""
    return Call("test", deadline=after(seconds))


@dataclass
class Ledger:
    """An origin that writes down all that it is given, and makes each change once by its token."""

    name: str = "ledger"
    stores: bool = True
    told: list[Change] = field(default_factory=list)
    """Every change as it came, repeats among them."""
    made: dict[str, Change] = field(default_factory=dict)
    """The changes that were made, by their tokens, in their order."""
    values: dict[str, bytes] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    refuse: Callable[[Change], Reason | None] = field(default=lambda _: None)
    """Says why a change is not made."""
    before: Callable[[Sequence[Change]], Awaitable[None]] | None = None
    """What is waited for before a batch is made."""

    async def load(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:
        """Return what there is."""
        del call
        return [OriginValue(self.values[key]) if key in self.values else None for key in keys]

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes."""
        del call
        self.batches.append(len(changes))
        self.told += changes
        if self.before is not None:
            await self.before(changes)
        return [self._make(change) for change in changes]

    def _make(self, change: Change) -> SidecarError | None:
        reason = self.refuse(change)
        if reason is not None:
            return SidecarError(reason, "the ledger says no")
        if change.token not in self.made:
            self.made[change.token] = change
            if change.value is None:
                self.values.pop(change.key, None)
            else:
                self.values[change.key] = change.value
        return None


@dataclass
class Rig:
    """One process's half of a write-behind cache, or more."""

    store: Store
    behind: WriteBehind
    values: ValueCache
    metrics: Metrics
    clock: StoreClock

    @property
    def cache(self) -> BehindCache:
        """What the cache has beside its entries."""
        return self.behind.caches[CACHE]

    @property
    def reader(self) -> Reader:
        """What reads the cache's changes, which are not sealed."""
        return Reader(CACHE, None, Limits().max_unpacked_bytes)

    async def standings(self) -> list[Standing]:
        """Return how the partitions stand."""
        return await self.cache.partitions.look(some_call())

    async def settled(self) -> None:
        """Wait until nothing is pending."""
        await until(self._is_settled)

    async def _is_settled(self) -> bool:
        return not any(standing.waiting or standing.taken for standing in await self.standings())


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for what tells of itself only when asked."""
    end = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > end:
            raise TimeoutError
        await asyncio.sleep(0.005)


def make_rig(
    store: Store,
    origin: Ledger,
    behind: BehindPolicy = QUICK,
    *,
    sealer: FieldSealer | None = None,
    ttl_ms: int = 300_000,
    stale_for_ms: int = 0,
    compress_above_bytes: int | None = None,
) -> Rig:
    """Return a write-behind cache that is not sent yet."""
    policy = CachePolicy(
        name=CACHE,
        ttl_ms=ttl_ms,
        stale_for_ms=stale_for_ms,
        behind=behind,
        compress_above_bytes=compress_above_bytes,
    )
    metrics, clock, keys = Metrics(), StoreClock(), KeySpace(TENANT)
    sending = WriteBehind(
        [policy],
        origins={CACHE: origin},
        limits=Limits(),
        store=store,
        keys=keys,
        clock=clock,
        sealer_for=lambda _: sealer,
        metrics=metrics,
    )
    reads = metrics.counter("reads", "Reads.", "cache", "outcome")
    values = ValueCache(policy=policy, limits=Limits(), store=store, keys=keys, clock=clock, sealer=sealer, reads=reads)
    return Rig(store, sending, values, metrics, clock)


@asynccontextmanager
async def running(store: Store, origin: Ledger, behind: BehindPolicy = QUICK) -> AsyncIterator[Rig]:
    """Send a cache's changes within `async with`."""
    rig = make_rig(store, origin, behind)
    rig.behind.start()
    try:
        yield rig
    finally:
        await rig.behind.stop()
