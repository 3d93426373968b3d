"""A few multiplexed connections to one server, kept open, and the rules for trying again.

Choice. A command goes to the first connection that is not busy, so a quiet sidecar uses one and batches well; a
second one comes into play when `_SPILL` requests wait on the first, lest one large reply holds up everybody.

Keeping. Each connection has a keeper: a task that dials, waits until the connection is lost, backs off with jitter, and
dials again. While none is open, a request waits for `unavailable_grace` at most, counted from when the last one was
lost; after that requests fail at once, so an outage costs callers nothing but the error.

Trying again. A request whose connection was lost is repeated on another if that can do no harm: it had not been
handed to the transport, or it is repeatable (see `store/base.py`). A write that was sent and may not be repeated ends
as OUTCOME_UNKNOWN. A server that is loading or was demoted has refused without effect; that too is tried again. All
of this stays within the retry budget and the call's deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import hiredis

from sidecar.clock import remaining
from sidecar.errors import StoreError
from sidecar.store.connection import ConnectionLostError
from sidecar.store.dial import dial
from sidecar.store.replies import (
    TRANSIENT_CODES,
    code_of,
    deadline_exceeded,
    outcome_unknown,
    unavailable,
)
from sidecar.store.retry import Backoff, RetryBudget

if TYPE_CHECKING:
    from sidecar.clock import Deadline
    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Reply
    from sidecar.store.connection import Connection
    from sidecar.telemetry.metrics import Cell, Metrics

_log = logging.getLogger("sidecar.store")

# Requests waiting on one connection before the next is used as well: above a typical tick's batch of 50.
_SPILL = 64
# What is left of a call's deadline for the answer to travel when the wait for a connection was in vain.
_ANSWER_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """How a pool behaves; times in seconds."""

    connections: int = 4
    connect_timeout: float = 1.0
    reply_timeout: float = 1.0
    unavailable_grace: float = 0.25
    backoff: Backoff = field(default_factory=Backoff)
    retry_ratio: float = 0.2
    retries_per_second: float = 10.0
    client_name: str = "sidecar"


class PoolCounters:
    """What a pool has done so far."""

    def __init__(self, metrics: Metrics) -> None:
        def cell(name: str, text: str) -> Cell:
            return metrics.counter(f"sidecar_store_{name}", text).cell()

        self.commands = cell("commands", "Commands and scripts sent to the store, repeats not counted.")
        self.retries = cell("retries", "Requests to the store that were sent again.")
        self.retries_denied = cell("retries_denied", "Requests not sent again because the retry budget was spent.")
        self.connections_opened = cell("connections_opened", "Connections to the store that became ready.")
        self.connections_lost = cell("connections_lost", "Connections to the store that were lost.")
        self.dials_failed = cell("dials_failed", "Attempts to connect to the store that failed.")


class Pool:
    """The connections to one server. Start it in the loop that will use it."""

    def __init__(self, address: StoreAddress, policy: PoolPolicy, counters: PoolCounters) -> None:
        self._address = address
        self._policy = policy
        self._ready: list[Connection] = []
        self._gone: dict[Connection, asyncio.Future[None]] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._budget = RetryBudget(ratio=policy.retry_ratio, per_second=policy.retries_per_second, now=time.monotonic())
        self._down_since = time.monotonic()
        self._problem: StoreError | None = None
        self._closing = False
        self._counters = counters

    @property
    def ready_connections(self) -> int:
        """The number of connections that take commands now."""
        return len(self._ready)

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for the server."""
        return sum(connection.in_flight for connection in self._ready)

    def start(self) -> None:
        """Begin to connect; returns at once, also when the server is down."""
        self._down_since = time.monotonic()
        self._keepers = [
            asyncio.create_task(self._keep(), name=f"store-connection-{number}")
            for number in range(self._policy.connections)
        ]

    async def close(self) -> None:
        """Close all connections; requests that still wait fail."""
        self._closing = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for connection in list(self._ready):
            connection.abort()
        for waiter in self._waiters:
            waiter.cancel()

    async def request(self, packed: bytes, count: int, deadline: Deadline, *, repeatable: bool) -> Reply:
        """Send packed commands and return the reply, or the list of `count` > 1 replies, error replies among them.

        A batch whose connection is lost half-way ends with a `PartialBatchError`, single requests with a `StoreError`.
        """
        self._counters.commands.value += count
        attempt = 0
        while True:
            connection = self.choose() or await self._wait_for_connection(deadline)
            try:
                reply = await connection.send(packed, count, deadline)
            except ConnectionLostError as lost:
                self._allow_repeat(lost, repeatable=repeatable)
            else:
                if count > 1 or not isinstance(reply, hiredis.ReplyError):
                    return reply
                if code_of(reply) not in TRANSIENT_CODES or not await self._pause_before_repeat(
                    connection, reply, attempt, deadline
                ):
                    return reply
            attempt += 1

    # --- trying again ---

    def _allow_repeat(self, lost: ConnectionLostError, *, repeatable: bool) -> None:
        """Return if the request may be sent again; raise what it ends with otherwise."""
        if lost.sent and not repeatable:
            if lost.replies:
                raise PartialBatchError(lost.replies)
            raise outcome_unknown()
        if not self._withdraw():
            raise unavailable("the retry budget is spent")

    async def _pause_before_repeat(
        self, connection: Connection, reply: hiredis.ReplyError, attempt: int, deadline: Deadline
    ) -> bool:
        """Wait a moment after a refusal that will pass; return False if there is no point in it."""
        if code_of(reply) == "READONLY":
            connection.abort()  # demoted: a new connection may find the primary at the same address
        delay = self._policy.backoff.delay_seconds(attempt + 2)
        waited = time.monotonic() - self._down_since if not self._ready else 0.0
        if (
            waited > self._policy.unavailable_grace
            or attempt * delay > self._policy.unavailable_grace
            or remaining(deadline) < delay + _ANSWER_SECONDS
            or not self._withdraw()
        ):
            return False
        await asyncio.sleep(delay)
        return True

    def _withdraw(self) -> bool:
        if self._budget.withdraw(calls=self._counters.commands.value, now=time.monotonic()):
            self._counters.retries.value += 1
            return True
        self._counters.retries_denied.value += 1
        return False

    # --- choosing ---

    def choose(self) -> Connection | None:
        """Return the connection that the next request should take, or None if there is none."""
        for connection in self._ready:
            if connection.in_flight < _SPILL:
                return connection
        return min(self._ready, key=_in_flight, default=None)

    async def _wait_for_connection(self, deadline: Deadline) -> Connection:
        left = remaining(deadline)
        grace_left = self._down_since + self._policy.unavailable_grace - time.monotonic()
        wait = min(grace_left, left - min(_ANSWER_SECONDS, left / 2))
        if left <= 0:
            raise deadline_exceeded()
        if wait > 0:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await waiter
            finally:
                self._waiters.discard(waiter)
        connection = self.choose()
        if connection is None:
            raise self._problem or unavailable("no connection")
        return connection

    # --- keeping ---

    async def _keep(self) -> None:
        attempt = 0
        while True:
            try:
                connection = await dial(
                    self._address,
                    client_name=self._policy.client_name,
                    connect_timeout=self._policy.connect_timeout,
                    reply_timeout=self._policy.reply_timeout,
                    on_lost=self._leave,
                )
            except StoreError as problem:
                self._note(problem)
                self._counters.dials_failed.value += 1
                await asyncio.sleep(self._policy.backoff.delay_seconds(attempt))
                attempt += 1
                continue
            attempt = 0
            await self._enter(connection)

    def _note(self, problem: StoreError) -> None:
        """Remember why there is no connection; say it once, not with every attempt."""
        if self._problem is None or self._problem.message != problem.message:
            _log.warning("cannot connect to %s: %s", self._address, problem.message)
        self._problem = problem

    def _enter(self, connection: Connection) -> asyncio.Future[None]:
        """Put a new connection to use; return the future that ends when it is gone."""
        if not self._ready:
            _log.info("connected to %s", self._address)
        self._problem = None
        self._counters.connections_opened.value += 1
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone[connection] = gone
        self._ready.append(connection)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        return gone

    def _leave(self, connection: Connection) -> None:
        """Take a lost connection out of use, before any of its callers can try again."""
        self._counters.connections_lost.value += 1
        self._ready.remove(connection)
        if not self._ready and not self._closing:
            self._down_since = time.monotonic()
            _log.warning("lost the last connection to %s", self._address)
        gone = self._gone.pop(connection)
        if not gone.done():
            gone.set_result(None)


class PartialBatchError(Exception):
    """A batch of which some commands were answered and the others may or may not have been carried out."""

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__("the connection was lost within a batch")
        self.replies = replies


def _in_flight(connection: Connection) -> int:
    return connection.in_flight
