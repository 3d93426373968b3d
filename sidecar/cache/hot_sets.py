"""Which keys a cache is asked for most, as all processes of the tenant know it, those that have ended lately too.

A cache with copies in the process counts what is read (`near/hot_keys.py`), each process for itself. Where another
cache, or the same one after it was emptied, is to be warmed with that, each process writes its hottest keys down: under
a key of its own in the store that expires after an hour, every few seconds if they have changed, and once more when it
stops. Which processes those are is in a sorted set beside it. So a process that has just started, and has counted
nothing, knows what those before it were asked for.

What was written down is added up, by key. A count that a process does not name is taken for none: each names so many
that what is left out is read by hardly anybody. Caches that nobody is warmed from are not written down; of such a cache
a process knows its own counts alone, and says so by their number.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING

from sidecar.cache.policy import DataClass
from sidecar.cache.warm_list import Listed
from sidecar.call import Call
from sidecar.clock import MICROS_PER_SECOND, after
from sidecar.errors import Reason, SidecarError
from sidecar.lasting import lasting
from sidecar.store import commands
from sidecar.store.base import Command, ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sidecar.cache.catalog import Caches
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace

_COUNT = load("count_members")

# As many as a process counts (`near/hot_keys.py`): some 50 kB in the store for each.
_TOLD_KEYS = 1000
_TELL_SECONDS = 15.0
# A deployment, and a night's restart that takes its time.
_KEPT_SECONDS = 3600
# A report that takes longer has missed its time; who wants to know is in less of a hurry.
_REPLY_SECONDS = 1.0
_ASK_SECONDS = 5.0
# Bytes: of some thousand processes no two have the same id.
_ID_BYTES = 8

Counts = list[tuple[str, int]]
"""Keys, and about how often each was read lately."""


def together(told: Iterable[Counts], limit: int) -> tuple[list[str], bool]:
    """Return the keys with the largest sums, so many at most and in falling order, and whether there were more."""
    sums: dict[str, int] = {}
    for counts in told:
        for key, count in counts:
            sums[key] = sums.get(key, 0) + count
    hottest = sorted(sums, key=lambda key: (-sums[key], key))
    return hottest[:limit], len(hottest) > limit


def written(counts: Counts) -> bytes:
    """Return counts as they are stored: JSON, which people can read too."""
    return json.dumps(counts, separators=(",", ":")).encode()


def from_written(text: bytes) -> Counts:
    """Return counts as they were stored; none for what is no such thing, as of a newer sidecar."""
    try:
        told = json.loads(text)
    except ValueError:
        return []
    if not isinstance(told, list):
        return []
    return [
        (one[0], one[1])
        for one in told
        if isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and type(one[1]) is int  # noqa: PLR2004
    ]


class HotSets:
    """Tells the hot keys of caches, those in `told`, and reads what all processes have told."""

    def __init__(self, told: Sequence[str], *, caches: Caches, store: Store, keys: KeySpace) -> None:
        self._told: Mapping[str, None] = dict.fromkeys(told)
        self._caches = caches
        self._store = store
        self._keys = keys
        self._id = secrets.token_hex(_ID_BYTES).encode()
        self._last: dict[str, Counts] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell, if there is a cache to tell of."""
        if self._told:
            self._task = asyncio.create_task(lasting(self._run, "the telling of hot keys"), name="hot sets")

    async def stop(self) -> None:
        """Tell a last time, as far as the store hears it."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.tell()

    async def tell(self) -> None:
        """Write down what is hot and was not when it was written down last."""
        for cache in self._told:
            counts = self._own(cache)
            if not counts or counts == self._last.get(cache):
                continue
            members = self._keys.hot_processes(cache)
            telling: list[Command | ScriptCall] = [
                ScriptCall(_COUNT, (members,), (self._id, _KEPT_SECONDS * MICROS_PER_SECOND), True),
                commands.set_for(self._keys.hot(cache, self._id), written(counts), _KEPT_SECONDS * 1000),
            ]
            try:
                replies = await self._store.call_many(telling, Call("cache.hot_sets", deadline=after(_REPLY_SECONDS)))
            except SidecarError:
                return  # the store is away, and the next time will do
            if not any(isinstance(reply, SidecarError) for reply in replies):
                self._last[cache] = counts

    async def hottest(self, cache: str, limit: int) -> Listed:
        """Return the hot keys of a cache; raises CACHE_UNKNOWN, UNSUPPORTED_BY_CACHE, and what the store raises."""
        policy = self._caches.inspection(cache).policy
        if policy.near is None or policy.data_class is DataClass.PHI:
            why = "has no l1, which counts how often keys are asked for" if policy.near is None else "is phi"
            what = f"which keys of cache {cache!r} are hot is not known: it {why}"
            raise SidecarError(Reason.UNSUPPORTED_BY_CACHE, what, field="from_cache")
        told = [self._own(cache)]
        call = Call("cache.hot_sets", deadline=after(_ASK_SECONDS))
        members = await self._store.call(commands.sorted_set(self._keys.hot_processes(cache)), call)
        others = [self._keys.hot(cache, member) for member in members if member != self._id]
        for reply in await self._store.get_many(others, call) if others else []:
            if isinstance(reply, SidecarError):
                raise reply
            told.append([] if reply is None else from_written(reply))
        told = [counts for counts in told if counts]
        hottest, cut = together(told, limit)
        return Listed(hottest, cut, len(told))

    def _own(self, cache: str) -> Counts:
        return self._caches.values(cache).hot_keys(_TOLD_KEYS)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            await self.tell()
