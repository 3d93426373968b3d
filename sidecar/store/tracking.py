"""A connection on which the server tells what has changed of all that was read on it: `CLIENT TRACKING ON` (RESP3).

Problem. A copy that a process keeps of what it has read is out of date as soon as anybody writes, beside whatever
sidecar or with whatever other program. The server can tell, but a message takes its time, and a connection that hangs
tells nothing and looks no different from one on which nothing happens.

Algorithm. Whatever is to be kept is read on this one connection, and the server remembers exactly those keys. When one
changes, is deleted, expires or is evicted, it pushes its name, once. Pushes and replies come on one socket, in the
order in which the server has done things. So *a reply is a receipt*: once it is here, everything is here that the
server had to tell before it answered, and whatever is kept was right when that request was sent at the earliest.
`confirmed` is that moment: kept copies are no older than the time since then, whatever the network does. A TIME at
intervals keeps it near while nothing is read, and says by the store's own clock which writes a reader has heard of
(`confirmed_us`).

What may fail:
- the push overtakes the reply of the read that it concerns, or comes in one piece with it: a listener is told before
  the reader goes on, and it is the listener's to remember what is being read;
- the connection is lost: the server forgets what was read on it, so the listener is told that everything is out of
  date; `confirmed` is long ago until there is another;
- the connection hangs: `confirmed` stays where it is, copies grow too old to be used, and after the reply's time-out
  the connection is given up;
- the server forgets a key to save memory (`tracking-table-max-keys`): it pushes its name first;
- FLUSHALL and FLUSHDB push a null in place of names: everything.

Rejected. BCAST: the server pushes every write of every key to every process, which a cache with many writers pays for
what it never reads. OPTIN: a command more for each read. REDIRECT to a connection that only listens, as RESP2 needs it:
two sockets have no common order, and a push could come later than a newer reply. An ordinary connection of the pool:
it would be tracked for all that it reads, cold keys too.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

import hiredis

from sidecar.clock import after
from sidecar.errors import StoreError
from sidecar.lasting import lasting
from sidecar.store.commands import time_us
from sidecar.store.connection import ConnectionLostError, pack
from sidecar.store.dial import dial
from sidecar.store.replies import outcome_unknown, to_error, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.clock import Deadline
    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Reply
    from sidecar.store.connection import Connection
    from sidecar.store.pool import PoolPolicy

_log = logging.getLogger("sidecar.store")

_TRACK = pack(("CLIENT", "TRACKING", "ON"))
_TIME = pack(("TIME",))

# Reads that wait for this connection: above it the pool, which has several, is the quicker way.
MAX_WAITING = 64
# A connection that lasted this long was a good one; after its loss the back-off begins anew.
_STEADY_SECONDS = 1.0

_NEVER = -math.inf


class Tracking:
    """The tracked connection of a process, kept open. Start it in the loop that will use it; not thread-safe.

    `listener` is told the keys that have changed, or None for all of them. `interval` is how often the server is asked,
    in seconds. As a sender of packed commands (`standalone.Requests`) it never tries again: whoever reads something
    here can read it elsewhere.
    """

    def __init__(self, address: StoreAddress, policy: PoolPolicy, *, interval: float) -> None:
        self._address = address
        self._policy = policy
        self._interval = interval
        self._listener: Callable[[Sequence[bytes] | None], None] = lambda _keys: None
        self._connection: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._problem = ""
        self.confirmed: float = _NEVER
        """Up to this monotonic moment, in seconds, everything that was pushed is here."""
        self.confirmed_us = 0
        """The same by the store's clock; earlier, since only the answers to TIME say so."""
        self.losses = 0
        """How often the connection was lost."""

    @property
    def connected(self) -> bool:
        """Whether reads can be made here."""
        return self._connection is not None

    @property
    def ready(self) -> bool:
        """Whether a read made here now is not held up by too many others."""
        return self._connection is not None and self._connection.in_flight < MAX_WAITING

    def listen(self, listener: Callable[[Sequence[bytes] | None], None]) -> None:
        """Have `listener` told what has changed, from now on."""
        self._listener = listener

    def start(self) -> None:
        """Begin to connect; returns at once, also when the server is down."""
        self._keeper = asyncio.create_task(lasting(self._keep, "the near cache's connection"), name="store-tracking")

    async def close(self) -> None:
        """Close the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort()

    # --- as a sender of commands ---

    async def request(
        self, packed: bytes, count: int, deadline: Deadline, *, repeatable: bool, writes: bool, raises: bool = False
    ) -> Reply:
        """Send packed commands that only read; see `Pool.request`. STORE_UNAVAILABLE: read it elsewhere."""
        connection = self._connection
        if connection is None:
            raise unavailable("there is no tracked connection")
        sent_at = time.monotonic()
        try:
            reply = await connection.send(packed, count, deadline)
        except ConnectionLostError:
            raise (outcome_unknown() if writes and not repeatable else unavailable("it was lost")) from None
        if connection is self._connection and sent_at > self.confirmed:
            self.confirmed = sent_at
        if raises and isinstance(reply, hiredis.ReplyError):
            raise to_error(reply)
        return reply

    def may_repeat(self) -> bool:
        """Return False: whoever reads something here can read it elsewhere."""
        return False

    async def confirm(self) -> None:
        """Ask the server for its time, so that `confirmed` and `confirmed_us` are of now; raises `StoreError`."""
        reply = await self.request(_TIME, 1, after(self._policy.reply_timeout), repeatable=True, writes=False)
        try:
            # Not the greater of the two: where the store's clock went back, what it says now is right.
            self.confirmed_us = time_us(reply)
        except (TypeError, ValueError):
            raise unavailable("it does not tell the time") from None

    # --- keeping ---

    async def _keep(self) -> None:
        attempt = 0
        while True:
            try:
                connection = await self._open()
            except StoreError as problem:
                self._note(problem)
            else:
                begun = time.monotonic()
                await self._watch(connection)
                if time.monotonic() - begun > _STEADY_SECONDS:
                    attempt = 0
            await asyncio.sleep(self._policy.backoff.delay_seconds(attempt))
            attempt += 1

    async def _open(self) -> Connection:
        """Return a connection that is tracked from now on; raises `StoreError`."""
        policy = self._policy
        connection = await dial(
            self._address,
            client_name=f"{policy.client_name}:l1",
            connect_timeout=policy.connect_timeout,
            reply_timeout=policy.reply_timeout,
            on_lost=self._leave,
            on_push=self._take,
            busy_wait=policy.busy_wait,
        )
        try:
            reply = await connection.send(_TRACK, 1, after(policy.connect_timeout))
        except ConnectionLostError:
            raise unavailable("it closed the connection") from None
        except BaseException:
            connection.abort()
            raise
        if isinstance(reply, hiredis.ReplyError):
            connection.abort()
            raise to_error(reply)
        return connection

    async def _watch(self, connection: Connection) -> None:
        """Put a connection to use, and ask the server for its time until it is lost."""
        if connection.closed:
            return
        self._connection, self._problem = connection, ""
        while not connection.closed:
            try:
                await self.confirm()
            except StoreError:
                # Late, lost, or no time at all. A connection that is neither lost nor of use is no connection.
                connection.abort()
                return
            except BaseException:
                connection.abort()
                raise
            await asyncio.sleep(self._interval)

    def _note(self, problem: StoreError) -> None:
        """Say why there is no connection, once and not with every attempt."""
        if problem.message != self._problem:
            _log.warning("the near cache does not hear of changes, and is not used: %s", problem.message)
        self._problem = problem.message

    def _leave(self, connection: Connection) -> None:
        """Have everything out of date that was read on a connection that is lost."""
        if connection is not self._connection:
            return
        self._connection = None
        self.confirmed, self.confirmed_us = _NEVER, 0
        self.losses += 1
        self._listener(None)

    def _take(self, push: Sequence[Reply]) -> None:
        """Tell what has changed; raises ValueError for a push that says something else."""
        if not push or push[0] != b"invalidate":
            return
        _, keys = push
        if keys is not None and not (isinstance(keys, list) and all(type(key) is bytes for key in keys)):
            raise ValueError("an invalidation of what are no keys")
        self._listener(keys)
