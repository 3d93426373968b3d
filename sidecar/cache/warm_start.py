"""What the configuration says is to be loaded into caches, and the loading of it when a sidecar starts.

Sidecars start together more often than not. Whoever takes the upkeep of a cache's start warms it, and does not give it
back: who starts within a minute finds it taken, and has what the first has loaded, since they share the store.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.cache.upkeep import Upkeep
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.cache.catalog import Caches
    from sidecar.cache.warming import Progress
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

_log = logging.getLogger("sidecar.cache")

# Some hundred megabytes of text: a longer list is no list of what is hot.
_MOST_KEYS = 1_000_000

_HELD_MS = 60_000
_REPLY_SECONDS = 1.0
_AGAIN_SECONDS = 1.0
_PASSING = frozenset({Reason.STORE_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.OVERLOADED})


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmPolicy:
    """What is to be loaded into a cache."""

    keys: tuple[str, ...] = ()
    file: str | None = None
    """More of them, a key a line."""
    per_second: float = 500.0
    at_start: bool = False

    async def listed(self) -> list[str]:
        """Return the keys; raises WARM_LIST_UNSUITABLE if the file cannot be read, or is too long."""
        if self.file is None:
            return list(self.keys)
        return [*self.keys, *await asyncio.to_thread(_read, Path(self.file))]


def _read(path: Path) -> list[str]:
    keys: list[str] = []
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                if key := line.rstrip("\r\n"):
                    keys.append(key)
                if len(keys) > _MOST_KEYS:
                    raise _unsuitable(f"it has more than {_MOST_KEYS} keys")
    except OSError as error:
        raise _unsuitable(error.strerror or "it cannot be read") from None
    except UnicodeDecodeError:
        raise _unsuitable("it is no UTF-8") from None
    return keys


def _unsuitable(why: str) -> SidecarError:
    return SidecarError(Reason.WARM_LIST_UNSUITABLE, f"the file of keys to warm with (caches.<name>.warm.file): {why}")


class WarmStart:
    """Warms caches once a sidecar has started."""

    def __init__(
        self, policies: Mapping[str, WarmPolicy], *, caches: Caches, store: Store, keys: KeySpace, metrics: Metrics
    ) -> None:
        self.policies = policies
        self._caches = caches
        self._upkeeps = {
            name: Upkeep(store, keys.upkeep(name, b"warm"), _HELD_MS)
            for name, policy in policies.items()
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
        upkeep, policy = self._upkeeps[name], self.policies[name]
        try:
            if not await _taken(upkeep):
                _log.info("cache %s is being warmed by another process, or was a moment ago", name)
                return
            progress: Progress | None = None
            async for progress in self._caches.warming(name).warm(await policy.listed(), policy.per_second):
                self._left[name] = progress.total - progress.done
                await upkeep.take(_a_call())
            if progress is not None:
                _log.info(
                    "cache %s is warm: %d keys loaded, %d were there, the origin has %d not, %d failed",
                    name, progress.loaded, progress.present, progress.absent, progress.failed,
                )  # fmt: skip
        except SidecarError as error:
            _log.warning("cache %s is not warmed to the end: %s", name, error.message)
            await _left(upkeep)
        finally:
            self._left.pop(name, None)


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
