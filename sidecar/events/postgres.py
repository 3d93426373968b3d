"""Events by PostgreSQL's NOTIFY: sent when a transaction commits, and to whoever listens then.

Each sidecar listens, on a connection of its own. PostgreSQL keeps nothing for those who are away, so each time that a
connection is there anew, the first included, events may have been missed. A connection that is silent is asked at
intervals: without an answer in time it is given up, since a server that was unplugged never says goodbye.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from sidecar.connecting import why_not
from sidecar.lasting import lasting
from sidecar.store.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.events.handling import Handling
    from sidecar.events.payload import Fields

_log = logging.getLogger("sidecar.events")

# All that the driver raises for a server, a network or a URL that is not as it should be.
_FAILURES = (
    OSError,
    TimeoutError,
    ValueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPolicy:
    """Where to listen; times in seconds."""

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    channels: Sequence[str]
    connect_timeout: float = 5.0
    reply_timeout: float = 2.0
    ask_interval: float = 1.0
    steady: float = 1.0
    """A connection that lasted this long was a good one; after its loss the back-off begins anew."""
    backoff: Backoff = field(default_factory=lambda: Backoff(base_ms=50, cap_ms=2_000))


class PostgresSource:
    """Listens to the channels of a database."""

    def __init__(self, handling: Handling, policy: PostgresPolicy, *, read: Callable[[bytes, str], Fields]) -> None:
        self.up = asyncio.Event()
        self._handling = handling
        self._policy = policy
        self._read = read
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(
            lasting(self._keep, f"the listening of event {self._handling.name!r}"),
            name=f"postgres-{self._handling.name}",
        )

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._listen()
            except _FAILURES as error:
                if attempt == 0 or self.up.is_set():
                    # Of what the server says the type alone: the rest may quote what it was given.
                    why = why_not(error) if isinstance(error, OSError) else type(error).__name__
                    _log.warning(
                        "the database of event %r cannot be listened to (%s); tried again until it can",
                        self._handling.name,
                        why,
                    )
            except Exception:  # noqa: BLE001 (it is logged, and the work goes on)
                _log.exception("the listening to the database of event %r has failed", self._handling.name)
            if self.up.is_set():
                # A new connection is a gap: those that do not last must not empty the caches all the time.
                if loop.time() - begun > self._policy.steady:
                    attempt = 0
                self.up.clear()
                self._handling.counters.set_up(is_up=False)
            await asyncio.sleep(self._policy.backoff.delay_seconds(attempt))
            attempt += 1

    async def _listen(self) -> None:
        """Listen until the connection is gone."""
        policy = self._policy
        more: dict[str, Any] = {} if policy.password is None else {"password": policy.password}
        connection = await asyncpg.connect(
            policy.url, timeout=policy.connect_timeout, server_settings={"application_name": "sidecar events"}, **more
        )
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _connection: gone.set())
        try:
            for channel in policy.channels:
                await asyncio.wait_for(connection.add_listener(channel, self._on_notify), policy.reply_timeout)
            self._handling.counters.set_up(is_up=True)
            self._handling.gap()
            self.up.set()
            while not gone.is_set():
                await connection.fetchval("SELECT 1", timeout=policy.reply_timeout)
                with suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), policy.ask_interval)
        finally:
            connection.terminate()

    def _on_notify(self, _connection: object, _process_id: int, channel: str, payload: object) -> None:
        self._handling.take(partial(self._read, str(payload).encode(), channel))
