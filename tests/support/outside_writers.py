"""Programs beside all sidecars that change what caches hold: the store itself, an origin, and events that tell of it.

An origin is a table of numbers in a PostgreSQL, each counted up by its own changes. So a number is a version: whoever
finds one knows what changes it includes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import redis.asyncio
from redis.exceptions import ResponseError

from sidecar.store.keys import KeySpace, behind_partition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.postgres import Database

TENANT = "staleness"
GROUP = "sidecar"
STREAM = "changes"
CHANNEL = "changed"
# Caches of tables of the same name, by what tells of their changes.
BY_TRIGGER, BY_CHANNEL, BY_STREAM = ORIGINS = ("listened", "published", "streamed")
# A write-behind cache, of a table of that name, which nobody else changes.
BEHIND = "behind"
_POLL_SECONDS = 0.01
_PATIENCE_SECONDS = 60.0
_CONNECTIONS = 8


def tables(keys: list[str]) -> str:
    """Return SQL that makes the origins' tables, and that of the write-behind cache."""
    rows = ", ".join(f"('{key}', 1)" for key in keys)
    made = [
        f"CREATE TABLE {name} (key text PRIMARY KEY, number bigint NOT NULL); INSERT INTO {name} VALUES {rows};"  # noqa: S608 (names of this file)
        for name in ORIGINS
    ]
    return "\n".join([*made, f"CREATE TABLE {BEHIND} (key text PRIMARY KEY, value text NOT NULL);"])


class OutsideWriters:
    """Changes things behind the sidecars' backs; `told` is called with what is then known to be of the past.

    `told(cache, key, version)`, without a key for all of the cache. `number_of(cache, key)` returns what the store has
    for a key now, or 0: it is asked until an event has had its effect, where nothing else tells of that.
    """

    def __init__(
        self,
        store_port: int,
        database: Database,
        *,
        told: Callable[[str, str | None, int], None],
        number_of: Callable[[str, str], Awaitable[int]],
    ) -> None:
        self._store: Any = redis.asyncio.Redis(port=store_port, protocol=3)
        self._url = database.url
        self._told = told
        self._number_of = number_of
        self._keys = KeySpace(TENANT)
        self._committed: Counter[tuple[str, str]] = Counter()
        self.done: Counter[str] = Counter()
        """What was done, by its kind."""
        self.lags: dict[str, list[float]] = {name: [] for name in ORIGINS}
        """Seconds from when an event was told of until its effect was seen, by its cache."""
        self.lost: list[str] = []
        """Events that had no effect."""

    async def open(self) -> None:
        """Connect."""
        self._database = await asyncpg.create_pool(self._url, min_size=_CONNECTIONS, max_size=_CONNECTIONS)

    async def close(self) -> None:
        """Disconnect."""
        await self._database.close()
        await self._store.aclose()

    def committed(self, cache: str) -> dict[str, int]:
        """Return the numbers that an origin is known to have now."""
        return {key: number for (name, key), number in self._committed.items() if name == cache}

    # --- the origin ---

    async def change(self, cache: str, key: str) -> None:
        """Count a number up in its table, tell of it by the event that its cache has, and wait for the effect."""
        statement = f"UPDATE {cache} SET number = number + 1 WHERE key = $1 RETURNING number"  # noqa: S608 (as above)
        number = await self._database.fetchval(statement, key)
        self._committed[cache, key] = max(number, self._committed[cache, key])
        begun_at = time.monotonic()
        if cache == BY_STREAM:
            seen = await self._in_stream(kind="number", key=key)
            if seen:
                self._told(cache, key, number)
        else:
            if cache == BY_CHANNEL:
                await self._store.publish(CHANNEL, json.dumps({"key": key}))
            seen = await self._until(self._is_seen, cache, key, number)
        self.done[cache] += 1
        if seen:
            self.lags[cache].append(time.monotonic() - begun_at)

    async def _is_seen(self, cache: str, key: str, number: int) -> bool:
        return await self._number_of(cache, key) >= number

    # --- the store ---

    async def remove(self, cache: str, key: str) -> None:
        """Delete an entry with a command of the store's."""
        version = await self._now_us()
        await self._store.delete(self._entry(cache, key.encode()))
        self._told(cache, key, version)
        self.done["deleted"] += 1

    async def flush(self, dated: list[str], numbered: list[str]) -> None:
        """Delete everything in the store; `dated` caches have times for versions."""
        version = await self._now_us()
        before = {cache: self.committed(cache) for cache in numbered}
        await self._store.flushall()
        for cache in dated:
            self._told(cache, None, version)
        for cache, numbers in before.items():
            for key, number in numbers.items():
                self._told(cache, key, number)
        self.done["flushed"] += 1

    def _entry(self, cache: str, name: bytes) -> bytes:
        if cache == BEHIND:
            return self._keys.behind(cache)[behind_partition(name)].entry_head + name
        return self._keys.entry(cache, name)

    async def _now_us(self) -> int:
        seconds, micros = await self._store.time()
        return int(seconds) * 1_000_000 + int(micros)

    # --- streams, in which it is acknowledged what has been done ---

    async def invalidate(self, cache: str, kind: str, key: str | None) -> None:
        """Have a key of a cache invalidated, its tag, its prefix or all of it, by an event of the stream."""
        version = await self._now_us()
        if await self._in_stream(kind=kind, cache=cache, key=key or ""):
            self._told(cache, key, version)
        self.done[f"event: {kind}"] += 1

    async def _in_stream(self, **fields: str) -> bool:
        """Add an event and wait until it was acknowledged; return False if the stream was deleted before."""
        added: bytes = await self._store.xadd(STREAM, fields)
        return await self._until(self._is_acknowledged, added.decode())

    async def _is_acknowledged(self, added: str) -> bool | None:
        """Return None if that will never be."""
        if not await self._store.xrange(STREAM, added, added):
            return None
        try:
            groups = await self._store.xinfo_groups(STREAM)
            waiting = await self._store.xpending_range(STREAM, GROUP, added, added, 1)
        except ResponseError:
            return False  # it was deleted with its group, which is made anew
        delivered = [_moment(one["last-delivered-id"].decode()) for one in groups if one["name"] == GROUP.encode()]
        return bool(delivered and delivered[0] >= _moment(added) and not waiting)

    async def _until(self, is_so: Callable[..., Awaitable[bool | None]], *of: Any) -> bool:
        """Ask again and again; note what never becomes so."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            answer = await is_so(*of)
            if answer is not False:
                return bool(answer)
            await asyncio.sleep(_POLL_SECONDS)
        self.lost.append(" ".join(map(str, of)))
        return False


def _moment(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
