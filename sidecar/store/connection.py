"""One multiplexed, auto-pipelining connection to Redis.

Problem. A connection per call, or one lent out to a caller at a time, costs a system call each way per command and a
pool check-out; measured, that is thirty times the work of the command itself. And a connection lent to a caller who
is cancelled half-way comes back with somebody's reply still in it: the next borrower reads it (redis-py issue 2624).

Algorithm. All callers share the connection. A command is packed into a queue; the queue leaves in one write per tick
of the event loop, and its slots move to `_pending`, in the order in which the server will answer. Each reply belongs
to the slot at the head. A caller who stops waiting leaves the slot where it is; its reply is thrown away when it
comes. So nobody can get another caller's answer: a slot is only ever removed by its own reply, or with the whole
connection. What the server pushes of its own accord is nobody's reply: it goes to `on_push`, in its place among the
replies, which raises ValueError for what cannot have been pushed.

Gathering costs a turn of the event loop, a tenth of a lone GET's way through the sidecar. So while nobody else waits,
and the last queues that were flushed were short, a command is written at once. Where callers come in step,
queues are longer, and everything is gathered again. For a lone command's reply the loop may stay awake (`vigil.py`).

Deadlines. A timer for each call would cost more than a GET. Instead one sweep, every `_SWEEP_SECONDS` while anything is
waiting, fails the slots whose deadline has passed. An unsent command is then dropped and never sent; a sent one keeps
its slot. If no byte has come for `reply_timeout` while replies are owed, the server hangs: the connection is aborted,
since answers that late have no use and the slots would pile up.

Failing. When the connection goes, every slot fails with `ConnectionLostError`, which says whether the command had been
handed to the transport. Only the pool decides what may be sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, cast

import hiredis

from sidecar.errors import Reason, StoreError
from sidecar.store.replies import deadline_exceeded
from sidecar.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sidecar.clock import Deadline
    from sidecar.store.base import Arg, Reply

# A deadline is noticed at most this late; calls must end within 50 ms of theirs.
_SWEEP_SECONDS = 0.01
# The sweep goes on for this many idle rounds before it stops, lest sparse calls start a timer each.
_IDLE_SWEEPS = 100
# Commands waiting for a reply or for the socket. At 20 µs each this is a fifth of a second of the server's whole work.
MAX_IN_FLIGHT = 10_000
# Bytes packed and not yet handed to the transport, when the peer reads too slowly.
_MAX_UNSENT_BYTES = 64 * 1024 * 1024

# A queue of this length says that callers come in step, so that waiting for the others pays; so many shorter ones in a
# row say that they do not.
_IN_STEP = 8
_OUT_OF_STEP = 16

# How long the loop may stay awake for the reply to a lone command: a store on the same host answers in a third of it.
_PATIENCE_SECONDS = 200e-6

_MORE = object()

# hiredis types its argument as a tuple of one.
pack = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)
"""Encode a command's words as RESP."""


def pack_gets(keys: Iterable[bytes]) -> bytes:
    """Encode a GET of each key, as `pack` would: written out, it takes half of the time, and needs no command."""
    return b"".join([b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys])


class ConnectionLostError(Exception):
    """The connection went before all replies came.

    `sent` says whether the commands had been handed to the transport, `hung` that the server stopped answering;
    `replies` are those of a batch that did come.
    """

    def __init__(self, *, sent: bool, hung: bool = False, replies: list[Reply] | None = None) -> None:
        super().__init__("the connection to the store was lost")
        self.sent = sent
        self.hung = hung
        self.replies = replies or []


class _Batch:
    """The replies of a batch, gathered until all have come."""

    __slots__ = ("left", "replies")

    def __init__(self, count: int) -> None:
        self.left = count
        self.replies: list[Reply] = []


# A caller's place in the order of replies. A tuple: one is made for each command.
_Slot = tuple["asyncio.Future[Reply]", float, _Batch | None]


class Connection(asyncio.Protocol):
    """A socket that speaks RESP3, shared by all callers. Not thread-safe: it belongs to one event loop."""

    __slots__ = (
        "_create_future", "_draining", "_hung", "_idle_sweeps", "_loop", "_on_lost", "_on_push", "_packed", "_paused",
        "_pending", "_progress_at", "_reader", "_reply_timeout", "_short_queues", "_sweeping", "_transport", "_unsent",
        "_unsent_bytes", "_vigil", "closed", "in_flight",
    )  # fmt: skip

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        reply_timeout: float,
        on_lost: Callable[[Connection], None],
        on_push: Callable[[list[Reply]], None] | None = None,
        busy_wait: bool = True,
    ) -> None:
        self._loop = loop
        self._create_future = loop.create_future
        self._reply_timeout = reply_timeout
        self._on_lost = on_lost
        self._on_push = on_push
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._pending: deque[_Slot] = deque()
        self._unsent: list[_Slot] = []
        self._packed: list[bytes] = []
        self._unsent_bytes = 0
        self._paused = False
        self._draining = False
        self._hung = False
        self._short_queues = 0
        self._vigil = Vigil(loop, _PATIENCE_SECONDS if busy_wait else 0.0)
        self._progress_at = 0.0
        self._sweeping = False
        self._idle_sweeps = 0
        self.closed = False
        self.in_flight = 0
        """The number of requests that wait for their reply, or to be written."""

    def send(self, packed: bytes, count: int, deadline: Deadline) -> asyncio.Future[Reply]:
        """Queue packed commands; return the future of their reply, or of the list of `count` > 1 replies.

        Error replies are delivered as `hiredis.ReplyError` values. The future fails with `ConnectionLostError`, or
        `StoreError(DEADLINE_EXCEEDED)`.
        """
        future: asyncio.Future[Reply] = self._create_future()
        unsent = self._unsent
        if self.in_flight >= MAX_IN_FLIGHT or self._unsent_bytes >= _MAX_UNSENT_BYTES:
            future.set_exception(_too_much_in_flight())
            return future
        if not unsent:
            if self.closed:
                future.set_exception(ConnectionLostError(sent=False))
                return future
            if not self._sweeping:
                self._start_sweeping()
            if (
                self._short_queues >= _OUT_OF_STEP
                and not self._pending
                and not self._paused
                and self._transport is not None
            ):
                self._progress_at = time.monotonic()
                self._vigil.begin(self._progress_at)
                self._pending.append((future, deadline, None if count == 1 else _Batch(count)))
                self.in_flight += 1
                self._transport.write(packed)
                return future
            if not self._paused:
                self._loop.call_soon(self._flush)
        unsent.append((future, deadline, None if count == 1 else _Batch(count)))
        self._packed.append(packed)
        self._unsent_bytes += len(packed)
        self.in_flight += 1
        return future

    def drain(self) -> None:
        """Close as soon as all that was asked has been answered; the caller sends nothing more."""
        self._draining = True
        self._close_if_drained()

    def abort(self) -> None:
        """Drop the connection at once; every waiting caller is told."""
        if self._transport is not None:
            self._transport.abort()
        self._fail_all()

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Deliver the replies in `data`; part of `asyncio.Protocol`."""
        self._progress_at = time.monotonic()
        self._vigil.end(self._progress_at)
        reader = self._reader
        pending = self._pending
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _MORE:
                if type(reply) is hiredis.PushNotification:
                    if self._on_push is not None:
                        self._on_push(reply)
                    continue  # nothing is subscribed on most connections; the server may still announce
                future, _, batch = pending[0]
                if batch is not None:
                    batch.replies.append(reply)
                    batch.left -= 1
                    if batch.left:
                        continue
                    reply = batch.replies
                pending.popleft()
                self.in_flight -= 1
                if not future.done():
                    future.set_result(reply)
            if self._draining:
                self._close_if_drained()
        except (hiredis.ProtocolError, IndexError, TypeError, ValueError):
            # Not RESP, or an answer to no question: whatever follows could go to the wrong caller. hiredis raises
            # Python's own errors for what Python cannot hold, such as a map whose key is an array.
            self.abort()

    def pause_writing(self) -> None:
        """Stop writing: the peer does not read; part of `asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write on; part of `asyncio.Protocol`."""
        self._paused = False
        if self._unsent:
            self._loop.call_soon(self._flush)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's signature)
        """Tell every waiting caller; part of `asyncio.Protocol`."""
        self._fail_all()

    # --- inside ---

    def _flush(self) -> None:
        if self._paused or self._transport is None or self.closed:
            return
        self._drop_given_up()
        if not self._unsent:
            return
        if not self._pending:
            self._progress_at = time.monotonic()
        packed = self._packed
        self._short_queues = self._short_queues + 1 if len(packed) < _IN_STEP else 0
        self._pending.extend(self._unsent)
        self._unsent = []
        self._packed = []
        self._unsent_bytes = 0
        self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))

    def _drop_given_up(self) -> None:
        """Forget the unsent commands whose callers no longer wait: a write of theirs is best not made."""
        if len(self._unsent) == 1 and not self._unsent[0][0].done():
            return
        given_up = [number for number, slot in enumerate(self._unsent) if slot[0].done()]
        for number in reversed(given_up):
            self._unsent_bytes -= len(self._packed[number])
            del self._unsent[number], self._packed[number]
        self.in_flight -= len(given_up)

    def _close_if_drained(self) -> None:
        if not self.in_flight and self._transport is not None:
            self._transport.close()

    def _start_sweeping(self) -> None:
        self._sweeping = True
        self._idle_sweeps = 0
        self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        if self.closed:
            self._sweeping = False
            return
        now = time.monotonic()
        if self._pending or self._unsent:
            self._idle_sweeps = 0
            self._expire(now)
            if self._pending and now - self._progress_at > self._reply_timeout:
                self._sweeping = False
                self._hung = True
                self.abort()
                return
        else:
            self._idle_sweeps += 1
            if self._idle_sweeps > _IDLE_SWEEPS:
                self._sweeping = False
                return
        self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _expire(self, now: float) -> None:
        """Fail what is past its deadline; what was not sent yet is never sent."""
        for slots in (self._pending, self._unsent):
            for future, deadline, _ in slots:
                if deadline <= now and not future.done():
                    future.set_exception(deadline_exceeded())
        self._drop_given_up()

    def _fail_all(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._on_lost(self)
        for slots, sent in ((self._pending, True), (self._unsent, False)):
            for future, _, batch in slots:
                if not future.done():
                    future.set_exception(
                        ConnectionLostError(sent=sent, hung=self._hung, replies=batch.replies if batch else None)
                    )
        self._pending.clear()
        self._unsent.clear()
        self._packed.clear()
        self.in_flight = 0


def _too_much_in_flight() -> StoreError:
    return StoreError(
        Reason.OVERLOADED,
        "too many commands wait for the store; slow down and try again",
        retry_after_ms=100,
    )
