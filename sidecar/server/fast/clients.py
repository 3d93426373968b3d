"""All connections of an engine: their shared memory, the one timer for all deadlines, and their end."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from sidecar.server.fast.link import Link
from sidecar.server.h2.connection import Connection
from sidecar.server.h2.header_block import HeaderMemory
from sidecar.vigil import Vigil

if TYPE_CHECKING:
    from sidecar.server.engine import EnginePolicy
    from sidecar.server.fast.routes import Routes

_log = logging.getLogger("sidecar.server")

# A deadline is noticed at most this late; calls must end within 50 ms of theirs. A timer for each would cost more than
# the call.
_SWEEP_SECONDS: Final = 0.01
# Together, connections may keep as much as so many of them alone.
_CONNECTIONS_HELD: Final = 8
# What the last answers get to leave, once their calls have been ended.
_FAREWELL_SECONDS: Final = 0.25
# How long the loop may stay awake for the next call of a lone caller. One in Go calls again within half of it.
_PATIENCE_SECONDS: Final = 500e-6


class Clients:
    """The connections, open and watched."""

    def __init__(self, routes: Routes, policy: EnginePolicy, loop: asyncio.AbstractEventLoop) -> None:
        self.routes = routes
        self.loop = loop
        self._policy = policy
        self._memory = HeaderMemory()
        self._open: set[Link] = set()
        self._watched: set[Link] = set()
        self._sweeping = False
        self._is_draining = False
        self._max_held_bytes = _CONNECTIONS_HELD * routes.max_held_bytes
        self.vigil = Vigil(loop, _PATIENCE_SECONDS if policy.busy_wait else 0.0)
        """For the next call of the only caller."""
        self.held_bytes = 0
        """What is kept of requests that are not whole, or not read yet, on all connections."""
        self._all_gone: asyncio.Future[None] | None = None

    def __call__(self) -> Link:
        """Make the link of a new connection: the protocol factory of the listening sockets."""
        return Link(self)

    def new_protocol(self) -> Connection:
        """Return the protocol's state for a new connection."""
        policy = self._policy
        return Connection(
            self._memory, policy.max_concurrent_streams, self.routes.max_held_bytes, policy.min_ping_interval
        )

    def add(self, link: Link) -> None:
        """Take in a new connection."""
        self._open.add(link)
        if self._is_draining:
            link.begin_drain()

    def remove(self, link: Link) -> None:
        """Forget a connection that has closed."""
        self._open.discard(link)
        if not self._open and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    def watch(self, link: Link) -> None:
        """Look after the deadlines of a connection's calls, as long as it has any."""
        self._watched.add(link)
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    async def drain(self, grace: float) -> None:
        """Let the calls under way end within `grace` seconds, end the others, and close all connections."""
        self._is_draining = True
        for link in list(self._open):
            link.begin_drain()
        await self._gone(grace)
        for link in list(self._open):
            link.end_calls()
            link.close()
        await self._gone(_FAREWELL_SECONDS)
        for link in list(self._open):
            link.abort()
        await self._gone(_FAREWELL_SECONDS)

    async def _gone(self, seconds: float) -> None:
        """Wait until no connection is left, for so long at most."""
        if not self._open:
            return
        self._all_gone = self.loop.create_future()
        await asyncio.wait([self._all_gone], timeout=seconds)

    @property
    def hold_too_much(self) -> bool:
        """Whether all connections together keep more than they may."""
        return self.held_bytes > self._max_held_bytes

    def _sweep(self) -> None:
        now = time.monotonic()
        self._watched = {link for link in self._watched if self._expire(link, now)}
        if self._watched:
            self.loop.call_later(_SWEEP_SECONDS, self._sweep)
        else:
            self._sweeping = False

    def _expire(self, link: Link, now: float) -> bool:
        """Look after one connection's deadlines; whatever happens there, those of the others go on."""
        try:
            return link.expire(now)
        except Exception as error:  # noqa: BLE001 (a defect; its text may quote a value)
            _log.error("the deadlines of a connection could not be kept: %s", type(error).__qualname__)
            link.abort()
            return False
