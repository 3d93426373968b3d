"""Waiting for an entry that somebody else loads, perhaps beside another sidecar.

All who wait here for the same entry share one look at the store, which is repeated: soon at first, since most origins
answer within milliseconds, then more rarely; the more entries are waited for, the more rarely. Who fills an entry by
way of this process wakes them without that. Being woken means that something has changed, not what: the waiter asks
again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import SidecarError
from sidecar.store import commands

if TYPE_CHECKING:
    from sidecar.store.base import Store

# Between the first two looks, and the last. Nobody waits for longer than that after an entry was filled elsewhere, and
# an entry that is waited for costs the store forty reads a second.
_FIRST_SECONDS = 0.002
_LAST_SECONDS = 0.025
_GROWTH = 1.5

# Of all entries together: when an origin hangs, thousands may be waited for beside each of many sidecars, and the store
# is not to be kept busy by that. A thousand are then looked at twice a second.
_LOOKS_A_SECOND = 2_000

_REPLY_SECONDS = 1.0

# What lies in a loader's place once the origin is known to have none (lua/includes/loads.lua): nobody loads then.
_NOTHING_THERE = b"-"


class _Wait:
    """Those who wait for one entry."""

    __slots__ = ("changed", "task", "waiters")

    def __init__(self, changed: asyncio.Future[None]) -> None:
        self.changed = changed
        self.waiters = 0
        self.task: asyncio.Task[None] | None = None


class Waits:
    """All who wait in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waits: dict[bytes, _Wait] = {}

    def __len__(self) -> int:
        """Return the number of entries that are waited for."""
        return len(self._waits)

    async def wait(self, load_key: bytes, seconds: float) -> None:
        """Wait until who loads an entry has ended, in whatever way, or the time has passed."""
        wait = self._waits.get(load_key)
        if wait is None:
            wait = self._waits[load_key] = _Wait(asyncio.get_running_loop().create_future())
            wait.task = asyncio.create_task(self._look(load_key, wait), name="wait for a load")
        wait.waiters += 1
        try:
            await asyncio.wait((wait.changed,), timeout=seconds)
        finally:
            wait.waiters -= 1
            if not wait.waiters:
                self._end(load_key, wait)

    def wake(self, load_key: bytes) -> None:
        """Have all who wait for an entry ask again."""
        wait = self._waits.get(load_key)
        if wait is not None:
            self._end(load_key, wait)

    def _end(self, load_key: bytes, wait: _Wait) -> None:
        if self._waits.get(load_key) is wait:
            del self._waits[load_key]
        if wait.task is not None and wait.task is not asyncio.current_task():
            wait.task.cancel()
        if not wait.changed.done():
            wait.changed.set_result(None)

    async def _look(self, load_key: bytes, wait: _Wait) -> None:
        try:
            await self._until_changed(load_key)
        finally:
            self._end(load_key, wait)

    async def _until_changed(self, load_key: bytes) -> None:
        pause = _FIRST_SECONDS
        first: bytes | None = None
        while True:
            try:
                held = await self._store.call(
                    commands.get(load_key), Call("cache.wait", deadline=after(_REPLY_SECONDS))
                )
            except SidecarError:
                break  # who waits asks the store and hears what is wrong with it
            first = first or held
            if held is None or held != first or held.startswith(_NOTHING_THERE):
                break
            await asyncio.sleep(max(pause, len(self._waits) / _LOOKS_A_SECOND))
            pause = min(pause * _GROWTH, _LAST_SECONDS)
