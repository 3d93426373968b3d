"""Keeps caches within the memory that their policies give them, by evicting what of them is used least.

The store evicts by itself when all of its memory is used, and does not ask whose keys they are. So that one cache
cannot push out the others, or so that something is always left for counters and leases, a cache may be given less than
that. Nobody refuses a write for it: a cache that is full makes room.

Now and then one process asks the store how much memory is used. As long as that is below the least of the bounds, no
cache can be above its own, and nothing else is done: this is what it costs most of the time. Above, keys are drawn at
random, a hundred at a time: whose are they, how large, and when or how often were they used? Of a cache above its bound
the coldest of these go, until there is enough room. It is Redis's own way, a sample and its worst, only that the sample
is larger and of one cache. How much a cache takes is an estimate (see `footprint`), so a bound holds to some percent
where several share a store; and what is written faster than one process evicts, some ten thousand entries a second,
passes it.

Rejected: to walk through the keys with SCAN, since what lies before the cursor has had longer to fill than what lies
behind it, and the share that is seen there is too large; a sorted set of each cache's names by last use, which costs
each read a write; to refuse or skip writes above the bound, which keeps what was there first and not what is used;
shorter TTLs under pressure, which take what is used along with what is not. A server for each cache remains the way to
have a bound that holds to the byte.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.cache.footprint import (
    BEGIN_AT,
    FAR_SECONDS,
    Met,
    Sampled,
    Share,
    memory_of,
    seconds_to_next_look,
    to_evict,
)
from sidecar.cache.upkeep import Upkeep
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError
from sidecar.lasting import lasting
from sidecar.store import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.footprint import MemoryBound, StoreMemory
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

_log = logging.getLogger("sidecar.cache")

_DRAWS = [commands.random_key()] * 100
# Of each such key it is asked how large it is: that tells enough, and is half the work of a sample.
_SIZED = 5
# Then it is time to see who has the work.
_SAMPLES_AT_ONCE = 200

_REPLY_SECONDS = 1.0
_HELD_MS = 3_000

_PASSING = frozenset({Reason.STORE_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.OVERLOADED, Reason.OUTCOME_UNKNOWN})


class _Bounded(NamedTuple):
    """A cache that is to be kept within its bound."""

    name: str
    head: bytes
    """What the keys of its entries begin with."""
    bound: MemoryBound
    upkeep: Upkeep
    share: Share


class Bounding:
    """Keeps some caches within their bounds."""

    def __init__(self, bounds: dict[str, MemoryBound], *, store: Store, keys: KeySpace, metrics: Metrics) -> None:
        self._store = store
        self._caches = [
            _Bounded(name, keys.entry_head(name), bound, Upkeep(store, keys.upkeep(name, b"memory"), _HELD_MS), Share())
            for name, bound in bounds.items()
        ]
        evicted = metrics.counter(
            "sidecar_cache_evicted",
            "Entries that were evicted to keep a cache within its max_memory, by cache.",
            "cache",
        )
        self._evicted = {name: evicted.cell(name) for name in bounds}
        self._taken: dict[str, int] = {}
        metrics.gauge(
            "sidecar_cache_memory_bytes",
            "What caches with a max_memory take of the store, at most, by the process that looks after them.",
            lambda: {(name,): taken for name, taken in self._taken.items()},
            "cache",
        )
        # When the memory was last looked at, and what was used: nothing, as if it had filled since.
        self._last = (time.monotonic(), 0)
        self._problems: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._caches:
            self._task = asyncio.create_task(lasting(self._run, "the bounding of caches"), name="bounding")

    async def stop(self) -> None:
        """Stop, and let another process take over."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for cache in self._caches:
            try:
                await cache.upkeep.leave(_a_call())
            except SidecarError:
                return  # it ends by itself

    async def _run(self) -> None:
        while True:
            try:
                pause = await self._look()
            except SidecarError as error:
                pause = FAR_SECONDS
                if error.reason not in _PASSING:
                    self._say(f"caches cannot be kept within max_memory: {error.message}")
            await asyncio.sleep(pause)

    async def _look(self) -> float:
        """Make room where there is too little; return when to look again."""
        held = [cache for cache in self._caches if await cache.upkeep.take(_a_call())]
        self._taken = {cache.name: self._taken.get(cache.name, 0) for cache in held}
        if not held:
            return FAR_SECONDS
        memory = await self._memory()
        bounds = {cache.name: bound for cache in held if (bound := cache.bound.within(memory)) is not None}
        for cache in held:
            self._taken[cache.name] = cache.share.of(memory.used_bytes)
            if cache.name not in bounds:
                self._say(f"caches.{cache.name}.max_memory bounds nothing: the store has no maxmemory to be a share of")
        least = min(bounds.values(), default=0)
        if not bounds:
            return FAR_SECONDS
        before_at, before = self._last
        pause = seconds_to_next_look(memory.used_bytes, before, time.monotonic() - before_at, least)
        if memory.used_bytes > least * BEGIN_AT:
            memory = await self._make_room(held, bounds, least)
        self._last = (time.monotonic(), memory.used_bytes)
        return pause

    async def _make_room(self, held: Sequence[_Bounded], bounds: dict[str, int], least: int) -> StoreMemory:
        """Evict entries of one sample of keys after the other; return what memory is used in the end."""
        going: list[bytes] = []
        for _ in range(_SAMPLES_AT_ONCE):
            memory, keys = await self._evict(going)
            if memory.used_bytes <= least * BEGIN_AT:
                break
            samples = await self._weighed(keys, held, counts_uses=memory.counts_uses)
            going = self._chosen(held, bounds, samples, memory)
            if not going and not any(self._taken[name] > bound * BEGIN_AT for name, bound in bounds.items()):
                break
        return memory

    def _chosen(
        self, held: Sequence[_Bounded], bounds: dict[str, int], samples: dict[str, list[Sampled]], memory: StoreMemory
    ) -> list[bytes]:
        """Return which keys of the samples are to go."""
        going: list[bytes] = []
        for name, _, _, _, share in held:
            taken = self._taken[name] = share.of(memory.used_bytes)
            if name in bounds:
                gone = to_evict(samples[name], share.mean_bytes, taken, bounds[name])
                share.forget(len(gone), taken)
                self._evicted[name].value += len(gone)
                going += gone
        return going

    async def _memory(self) -> StoreMemory:
        return memory_of(await self._store.call(commands.memory_info(), _a_call()))

    async def _evict(self, going: Sequence[bytes]) -> tuple[StoreMemory, list[bytes]]:
        """Remove keys; return what memory is used then, and some keys at random."""
        words = [*map(commands.unlink, going), commands.memory_info(), *_DRAWS]
        replies: list[Any] = await self._store.call_many(words, _a_call())
        info, *drawn = replies[len(going) :]
        for reply in (info, *drawn):
            if isinstance(reply, SidecarError):
                raise reply
        return memory_of(info), [key for key in dict.fromkeys(drawn) if key is not None]

    async def _weighed(
        self, keys: Sequence[bytes], held: Sequence[_Bounded], *, counts_uses: bool
    ) -> dict[str, list[Sampled]]:
        """Return the keys of each cache with their use, and take in what their number and size says of its share."""
        owners = [next((cache.name for cache in held if key.startswith(cache.head)), "") for key in keys]
        own = [(key, owner) for key, owner in zip(keys, owners, strict=True) if owner]
        used = commands.frequency if counts_uses else commands.idle_time
        words = [*(used(key) for key, _ in own), *map(commands.memory_usage, keys[::_SIZED])]
        replies = await self._store.call_many(words, _a_call())
        samples: dict[str, list[Sampled]] = {cache.name: [] for cache in held}
        # What has just gone has no use.
        for (key, owner), use in zip(own, replies, strict=False):
            if isinstance(use, int):
                samples[owner].append(Sampled(key, use if counts_uses else -use))
        sizes = list(zip(owners[::_SIZED], replies[len(own) :], strict=True))
        for cache in held:
            sized = [size for owner, size in sizes if owner == cache.name and isinstance(size, int)]
            others = [size for owner, size in sizes if owner != cache.name and isinstance(size, int)]
            met = owners.count(cache.name)
            cache.share.observe(Met(met, len(sized), sum(sized)), Met(len(owners) - met, len(others), sum(others)))
        return samples

    def _say(self, problem: str) -> None:
        """Say it once."""
        if problem not in self._problems:
            self._problems.add(problem)
            _log.warning("%s", problem)


def _a_call() -> Call:
    return Call("cache.bounding", deadline=after(_REPLY_SECONDS))
