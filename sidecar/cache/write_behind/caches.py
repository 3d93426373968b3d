"""The write-behind caches of a sidecar: what each has beside the cache itself, begun and ended together."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.write_behind.changes import Reader, order_of
from sidecar.cache.write_behind.dead_letters import DeadLetters
from sidecar.cache.write_behind.flusher import Flusher
from sidecar.cache.write_behind.gauges import Gauges, lag_ms, register_gauges
from sidecar.cache.write_behind.partitions import Partitions
from sidecar.clock import remaining
from sidecar.errors import Reason, SidecarError, StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sidecar.cache.origin import Origin
    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.cache.write_behind.partitions import Standing
    from sidecar.call import Call
    from sidecar.clock import Deadline, StoreClock
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

# Bytes: of some thousand processes no two have the same name.
_OWNER_BYTES = 8
# Between two looks at whether what was pending is stored.
_POLL_SECONDS = 0.02
# What is left of a call's deadline for its answer to travel.
_FOR_THE_WAY_SECONDS = 0.05


class BehindStatus(NamedTuple):
    """How a write-behind cache stands."""

    pending: int
    lag_ms: int
    dead: int
    owners: dict[str, int]
    """How many partitions each process sends the changes of."""


class BehindCache:
    """What one write-behind cache has beside its entries."""

    def __init__(self, partitions: Partitions, dead_letters: DeadLetters, flusher: Flusher, clock: StoreClock) -> None:
        self.partitions = partitions
        self._clock = clock
        self.flusher = flusher
        self.dead_letters = dead_letters

    async def status(self, call: Call) -> BehindStatus:
        """Return how the cache stands."""
        standings = await self.partitions.look(call)
        owners: dict[str, int] = {}
        for standing in standings:
            if standing.owner:
                owners[standing.owner] = owners.get(standing.owner, 0) + 1
        return BehindStatus(_pending(standings), lag_ms(standings, self._clock), sum(s.dead for s in standings), owners)

    async def flush(self, call: Call) -> int:
        """Wait until the origin has what is pending now, or the call's time is over; return how much it lacks."""
        left = await self.partitions.look(call)
        until = [standing.last for standing in left]
        self.flusher.hurry()
        await self.partitions.hurry(call)
        while True:
            try:
                standings = await self.partitions.look(call)
            except SidecarError as error:
                if error.reason is Reason.DEADLINE_EXCEEDED:
                    return _pending(left)  # as it was when there was time to look
                raise
            left = [
                standing
                for standing, last in zip(standings, until, strict=True)
                if standing.first and last and order_of(standing.first) <= order_of(last)
            ]
            if not left or remaining(call.deadline) < _POLL_SECONDS + _FOR_THE_WAY_SECONDS:
                return _pending(left)
            await asyncio.sleep(_POLL_SECONDS)


class WriteBehind:
    """The write-behind caches of a sidecar, by name."""

    def __init__(
        self,
        policies: Sequence[CachePolicy],
        *,
        origins: Mapping[str, Origin],
        limits: Limits,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        sealer_for: Callable[[CachePolicy], FieldSealer | None],
        metrics: Metrics,
    ) -> None:
        self.caches: dict[str, BehindCache] = {}
        self.owner = secrets.token_hex(_OWNER_BYTES)
        """By what name this process owns partitions."""
        changes = metrics.counter(
            "sidecar_write_behind_changes",
            "What became of changes on their way to the origin, by cache and outcome.",
            "cache",
            "outcome",
        )
        seconds = metrics.histogram(
            "sidecar_write_behind_store_seconds", "How long the origin took to make changes, by cache.", "cache"
        )
        gauges: dict[str, Gauges] = {}
        for policy in policies:
            if policy.behind is None:
                continue
            cache, own = policy.name, policy.behind
            partitions, reader = (
                Partitions(cache, store, keys),
                Reader(cache, sealer_for(policy), limits.max_unpacked_bytes),
            )
            gauges[cache] = Gauges(cache, own, clock, changes, seconds)
            flusher = Flusher(
                cache=cache,
                policy=own,
                partitions=partitions,
                origin=_storing(origins.get(cache), cache),
                reader=reader,
                owner=self.owner,
                gauges=gauges[cache],
            )
            self.caches[cache] = BehindCache(partitions, DeadLetters(cache, store, keys, reader), flusher, clock)
        register_gauges(metrics, gauges)

    def start(self) -> None:
        """Begin to send what is pending."""
        for cache in self.caches.values():
            cache.flusher.start()

    async def drain(self, deadline: Deadline) -> bool:
        """Send what is pending here; return whether all of it was by `deadline`."""
        done = await asyncio.gather(*(cache.flusher.drain(deadline) for cache in self.caches.values()))
        return all(done)

    async def stop(self) -> None:
        """Leave the rest to others."""
        await asyncio.gather(*(cache.flusher.stop() for cache in self.caches.values()))


def _storing(origin: Origin | None, cache: str) -> Origin:
    if origin is None or not origin.stores:
        raise StartupError(f"caches.{cache}: is write-behind, and needs an origin that stores")
    return origin


def _pending(standings: Sequence[Standing]) -> int:
    return sum(standing.waiting + standing.taken for standing in standings)
