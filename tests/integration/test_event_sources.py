"""Sources of events whose connection comes and goes: each coming is a gap, and a gap may empty caches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.events.counters import EventCounters, EventMetrics
from sidecar.events.handling import EventPolicy, Handling
from sidecar.events.payload import text_fields
from sidecar.events.postgres import PostgresPolicy, PostgresSource
from sidecar.store.retry import Backoff
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from support.postgres import Database

    from sidecar.events.rules import Effect

LOSSES = 5
PATIENCE_SECONDS = 20.0
KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'sidecar events' AND datname = current_database()
"""


@dataclass(frozen=True, kw_only=True)
class Noted(Backoff):
    """Waits for hardly anything, and notes for what."""

    attempts: list[int] = field(default_factory=list)

    def delay_seconds(self, attempt: int, draw: float | None = None) -> float:
        """Note an attempt."""
        del draw
        self.attempts.append(attempt)
        return 0.001


async def test_a_database_that_drops_each_connection_is_asked_more_and_more_rarely(database: Database) -> None:
    """Otherwise it would empty the caches it is the origin of many times a second, while it is ill."""

    async def invalidate(_effect: Effect) -> None:
        await asyncio.sleep(0)

    backoff = Noted()
    policy = EventPolicy(name="e", rules=(), gap_caches=("c",))
    handling = Handling(policy, invalidate, EventCounters(EventMetrics(Metrics()), "e"))
    asked = PostgresPolicy(url=database.url, channels=["told"], backoff=backoff, steady=3_600.0)
    source = PostgresSource(handling, asked, read=text_fields)
    source.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for lost in range(LOSSES):
                await source.up.wait()
                await asyncio.to_thread(database.query, KILL)
                while len(backoff.attempts) <= lost:
                    await asyncio.sleep(0.005)
    finally:
        await source.close()
    assert list(range(LOSSES)) == backoff.attempts[:LOSSES]
