"""Is the store serving? One `TIME` several times a second answers that, and sets the store's clock.

A TCP connection to a stopped server stays open and a health check that looks at connections stays green; only a reply
proves anything. The probe's commands travel like anybody's, so it sees what callers see.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import SidecarError
from sidecar.lasting import lasting
from sidecar.store import commands

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.store.base import Store

_log = logging.getLogger("sidecar.store")

# A reply to TIME that takes longer than this is no service: it is a hundred times a slow one.
_REPLY_SECONDS = 0.5


class StoreProbe:
    """Asks the store for its time at intervals and tells listeners when its state changes."""

    def __init__(self, store: Store, clock: StoreClock, *, interval: float) -> None:
        self._store = store
        self._clock = clock
        self._interval = interval
        self._listeners: list[Callable[[bool], None]] = []
        self._task: asyncio.Task[None] | None = None
        self.serving = False

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Have `listener` called with the new state at each change."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Probe once, then go on in the background."""
        self._set(serving=await self._ask())
        self._task = asyncio.create_task(lasting(self._run, "the probe of the store"), name="store-probe")

    async def stop(self) -> None:
        """Stop probing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self._set(serving=await self._ask())

    async def _ask(self) -> bool:
        sent_at = time.monotonic()
        try:
            reply = await self._store.call(commands.time(), Call("store.probe", deadline=after(_REPLY_SECONDS)))
            store_us = commands.time_us(reply)
        except (SidecarError, TypeError, ValueError):  # no answer, or none that TIME can have
            return False
        except Exception:  # noqa: BLE001 (it is logged, and the work goes on)
            _log.exception("the store could not be probed")
            return False
        self._clock.observe(store_us, sent_at, time.monotonic())
        return True

    def _set(self, *, serving: bool) -> None:
        if serving == self.serving:
            return
        self.serving = serving
        _log.log(
            logging.INFO if serving else logging.ERROR,
            "the store is %s",
            "serving" if serving else "not serving",
        )
        for listener in self._listeners:
            listener(serving)
