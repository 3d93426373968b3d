"""How late the event loop is: the first sign of a sidecar that has too much to do, or of something that blocks it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.telemetry.metrics import Metrics

# Ten times a second finds a stall of 100 ms for certain, and costs a few microseconds.
_INTERVAL_SECONDS = 0.1


class LoopLag:
    """Sleeps again and again, and records by how much it overslept."""

    def __init__(self, metrics: Metrics) -> None:
        self._lag = metrics.histogram(
            "sidecar_event_loop_lag_seconds", "By how much the event loop was late, ten times a second."
        ).cell()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        self._task = asyncio.create_task(self._run(), name="loop-lag")

    async def stop(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _INTERVAL_SECONDS
            await asyncio.sleep(_INTERVAL_SECONDS)
            self._lag.observe(max(0.0, loop.time() - due))
