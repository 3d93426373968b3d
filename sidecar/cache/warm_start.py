"""What the configuration says is to be loaded into caches, and the loading of it when a sidecar starts.

Sidecars start together more often than not. Whoever takes the upkeep of a cache's start warms it, and does not give it
back: who starts within a minute finds it taken, and has what the first has loaded, since they share the store.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sidecar.cache.upkeep import Upkeep
from sidecar.cache.warm_list import Asked
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from sidecar.cache.catalog import Caches
    from sidecar.cache.warm_list import Listed, WarmList
    from sidecar.cache.warming import Progress
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

_log = logging.getLogger("sidecar.cache")

_HELD_MS = 60_000
_REPLY_SECONDS = 1.0
_AGAIN_SECONDS = 1.0
_PASSING = frozenset({Reason.STORE_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.OVERLOADED})


class WarmStart:
    """Warms caches once a sidecar has started."""

    def __init__(self, warm_list: WarmList, *, caches: Caches, store: Store, keys: KeySpace, metrics: Metrics) -> None:
        self._list = warm_list
        self._caches = caches
        self._upkeeps = {
            name: Upkeep(store, keys.upkeep(name, b"warm"), _HELD_MS)
            for name, policy in warm_list.policies.items()
            if policy.at_start
        }
        self._left: dict[str, int] = {}
        metrics.gauge(
            "sidecar_cache_warming_left",
            "Keys that caches which are being warmed since a start have still to load, by cache.",
            lambda: {(name,): left for name, left in self._left.items()},
            "cache",
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to warm."""
        self._tasks = [asyncio.create_task(self._warm(name), name=f"warm {name}") for name in self._upkeeps]

    async def stop(self) -> None:
        """Stop; what is loaded stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _warm(self, name: str) -> None:
        upkeep, policy = self._upkeeps[name], self._list.policy(name)
        try:
            if not await _taken(upkeep):
                _log.info("cache %s is being warmed by another process, or was a moment ago", name)
                return
            listed = await self._listed(name, upkeep)
            if listed.cut:
                _log.info("cache %s is warmed with the first %d keys, of more that there are", name, len(listed.keys))
            progress: Progress | None = None
            async for progress in self._caches.warming(name).warm(listed.keys, policy.per_second):
                self._left[name] = progress.total - progress.done
                await upkeep.take(_a_call())
            if progress is None:
                _log.info("cache %s is not warmed: no key is known to be wanted", name)
                await _left(upkeep)
            else:
                _log.info(
                    "cache %s is warm: %d keys loaded, %d were there, the origin has %d not, %d failed",
                    name, progress.loaded, progress.present, progress.absent, progress.failed,
                )  # fmt: skip
        except SidecarError as error:
            _log.warning("cache %s is not warmed to the end: %s", name, error.message)
            await _left(upkeep)
        except Exception:  # noqa: BLE001 (it is logged, and the work goes on)
            _log.exception("cache %s is not warmed to the end", name)
            await _left(upkeep)
        finally:
            self._left.pop(name, None)

    async def _listed(self, name: str, upkeep: Upkeep) -> Listed:
        """Return the keys to load, and keep the upkeep while they are asked for."""
        listing = asyncio.create_task(self._list.listed(name, Asked(configured=True)), name="warm list")
        try:
            while not listing.done():
                await asyncio.wait((listing,), timeout=_HELD_MS / 3_000)
                await upkeep.take(_a_call())
            return await listing
        finally:
            listing.cancel()


async def _taken(upkeep: Upkeep) -> bool:
    """Take it as soon as there is a store to ask."""
    while True:
        try:
            return await upkeep.take(_a_call())
        except SidecarError as error:
            if error.reason not in _PASSING:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


async def _left(upkeep: Upkeep) -> None:
    """Let another try, if the store still hears it."""
    try:
        await upkeep.leave(_a_call())
    except SidecarError:
        return  # it ends by itself


def _a_call() -> Call:
    return Call("cache.warm", deadline=after(_REPLY_SECONDS))
