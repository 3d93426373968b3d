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
from sidecar.errors import Reason, StoreError
from sidecar.lasting import lasting
from sidecar.store.connection import ConnectionLostError
from sidecar.store.dial import dial
from sidecar.store.replies import (
    TRANSIENT_CODES,
    again,
    code_of,
    deadline_exceeded,
    outcome_unknown,
    to_error,
    too_late,
    unavailable,
)
from sidecar.store.retry import Backoff, RetryBudget

if TYPE_CHECKING:
    from collections.abc import Awaitable

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
# Beyond this a request is not unlucky, the store is ill.
_MOST_REPEATS = 3
# A connection that lasted this long was a good one; after its loss the back-off begins anew.
_STEADY_SECONDS = 1.0


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
    busy_wait: bool = True
    """Whether the loop may stay awake for the reply to a lone command."""


class PoolCounters:
    """What a pool has done so far."""

    def __init__(self, metrics: Metrics) -> None:
        def cell(name: str, text: str) -> Cell:
            return metrics.counter(f"sidecar_store_{name}", text).cell()

        self.requests = cell("requests", "Requests to the store, a batch being one; repeats not counted.")
        self.commands = cell("commands", "Commands and scripts in those requests.")
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
        self._requests = counters.requests
        self._commands = counters.commands

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
            asyncio.create_task(lasting(self._keep, "a connection to the store"), name=f"store-connection-{number}")
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

    def request(
        self,
        packed: bytes,
        count: int,
        deadline: Deadline,
        *,
        repeatable: bool,
        writes: bool,
        raises: bool = False,
    ) -> Awaitable[Reply]:
        """Send packed commands and return the reply, or the list of `count` > 1 replies, error replies among them.

        With `raises`, the error reply to a single command is raised as a `StoreError`; a coroutine around this one to
        do so would cost a tenth of a GET.

        `repeatable` and `writes` are those of the commands together (see `store/base.py`). A batch with a write that
        may not be repeated, whose connection is lost once it was sent, ends with a `PartialBatchError`; anything else
        that fails with a `StoreError`.
        """
        self._requests.value += 1
        self._commands.value += count
        return self._deliver(packed, count, deadline, repeatable=repeatable, writes=writes, raises=raises)

    async def _deliver(
        self,
        packed: bytes,
        count: int,
        deadline: Deadline,
        *,
        repeatable: bool,
        writes: bool,
        raises: bool = False,
    ) -> Reply:
        """Do what `request` says, for a request that has been counted."""
        attempt = 0
        while True:
            connection = self.choose() or await self._wait_for_connection(deadline)
            if deadline <= time.monotonic():
                raise too_late()
            try:
                reply = await connection.send(packed, count, deadline)
            except ConnectionLostError as lost:
                if lost.sent and writes:
                    reply = await self._after_lost_write(lost, packed, count, deadline, repeatable=repeatable)
                    return _checked(reply) if raises else reply
                if lost.hung:  # so does every other connection to that server
                    raise unavailable("it does not answer") from None
                if attempt >= _MOST_REPEATS or not self.may_repeat():
                    raise unavailable("it keeps closing connections") from None
                await self._pause(attempt, deadline)
            else:
                if count == 1 and type(reply) is not hiredis.ReplyError:
                    return reply
                if not await self._may_repeat(connection, reply, count, attempt, deadline):
                    return _checked(reply) if raises else reply
            attempt += 1

    # --- trying again ---

    async def _after_lost_write(
        self, lost: ConnectionLostError, packed: bytes, count: int, deadline: Deadline, *, repeatable: bool
    ) -> Reply:
        """Repeat a write that may have been applied, if its idempotency key makes that safe.

        From here on no end may say that nothing was changed.
        """
        if not repeatable:
            if count > 1:
                raise PartialBatchError(lost.replies, hung=lost.hung)
            raise outcome_unknown()
        if lost.hung or not self.may_repeat():
            raise outcome_unknown()
        try:
            reply = await self._deliver(packed, count, deadline, repeatable=False, writes=True)
        except PartialBatchError:
            raise outcome_unknown() from None
        except StoreError as error:
            if error.reason is Reason.DEADLINE_EXCEEDED:
                raise deadline_exceeded() from None
            raise outcome_unknown() from None
        if _all_refused(reply, count):
            raise outcome_unknown()
        return reply

    async def _may_repeat(
        self, connection: Connection, reply: Reply, count: int, attempt: int, deadline: Deadline
    ) -> bool:
        """Return whether a request was refused without effect, for a while only; then after a pause."""
        refusal = _refusal(reply, count)
        if refusal is None:
            return False
        if code_of(refusal) == "READONLY":
            self._retire(connection)  # a new connection may find the primary at the same address
        return (
            attempt < _MOST_REPEATS
            and _all_refused(reply, count)
            and self.may_repeat()
            and await self._pause(attempt + 1, deadline)
        )

    async def _pause(self, attempt: int, deadline: Deadline) -> bool:
        """Back off before a repeat, at once for the first; return False if there is no time for it."""
        if attempt == 0:
            return True
        delay = self._policy.backoff.delay_seconds(attempt + 2)
        if remaining(deadline) < delay + _ANSWER_SECONDS:
            return False
        await asyncio.sleep(delay)
        return True

    def may_repeat(self) -> bool:
        """Return whether the budget allows one more repeat, which it is then charged with."""
        if self._budget.withdraw(calls=self._requests.value, now=time.monotonic()):
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
            raise unavailable("no connection") if self._problem is None else again(self._problem)
        return connection

    # --- keeping ---

    async def _keep(self) -> None:
        """Keep one connection open, for as long as the pool is."""
        attempt = 0
        while True:
            try:
                connection = await dial(
                    self._address,
                    client_name=self._policy.client_name,
                    connect_timeout=self._policy.connect_timeout,
                    reply_timeout=self._policy.reply_timeout,
                    on_lost=self._leave,
                    busy_wait=self._policy.busy_wait,
                )
            except StoreError as problem:
                self._note(problem)
                self._counters.dials_failed.value += 1
            else:
                begun = time.monotonic()
                await self._enter(connection)
                if time.monotonic() - begun > _STEADY_SECONDS:
                    attempt = 0
                    continue
            # A server that takes connections and drops them is as good as one that takes none.
            await asyncio.sleep(self._policy.backoff.delay_seconds(attempt))
            attempt += 1

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

    def _retire(self, connection: Connection) -> None:
        """Take a connection out of use whose server was demoted; what it has been asked is still answered."""
        if connection in self._gone:
            self._leave(connection)
            connection.drain()

    def _leave(self, connection: Connection) -> None:
        """Take a lost connection out of use, before any of its callers can try again."""
        gone = self._gone.pop(connection, None)
        if gone is None:
            return  # it was retired before
        self._counters.connections_lost.value += 1
        self._ready.remove(connection)
        if not self._ready and not self._closing:
            self._down_since = time.monotonic()
            _log.warning("lost the last connection to %s", self._address)
        if not gone.done():
            gone.set_result(None)


class PartialBatchError(Exception):
    """A batch of which some commands were answered and the others may or may not have been carried out.

    `hung` says that the server stopped answering, so that to ask it again is in vain.
    """

    def __init__(self, replies: list[Reply], *, hung: bool) -> None:
        super().__init__("the connection was lost within a batch")
        self.replies = replies
        self.hung = hung


def _checked(reply: Reply) -> Reply:
    """Return a reply, or raise what it says is wrong."""
    if isinstance(reply, hiredis.ReplyError):
        raise to_error(reply)
    return reply


def _in_flight(connection: Connection) -> int:
    return connection.in_flight


def _refusal(reply: Reply, count: int) -> hiredis.ReplyError | None:
    """Return an error reply that says the command was not carried out and may be in a moment, or None."""
    if count > 1 and hiredis.ReplyError not in set(map(type, reply)):
        return None  # as nearly always; to look at each reply takes half as long as to parse it
    for candidate in (reply,) if count == 1 else reply:
        if type(candidate) is hiredis.ReplyError and code_of(candidate) in TRANSIENT_CODES:
            return candidate
    return None


def _all_refused(reply: Reply, count: int) -> bool:
    """Return whether nothing at all was carried out."""
    return all(_refusal(candidate, 1) is not None for candidate in ((reply,) if count == 1 else reply))
