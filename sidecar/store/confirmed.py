"""Writes that are acknowledged only once the store says that they are safe: on its disk, or with its replicas.

`WAITAOF` and `WAIT` answer for the writes of the connection that they are sent on, and block it meanwhile. So these
writes have a connection of their own, which nobody else waits behind, and the question travels right behind the writes
that it is about, in one piece: a connection that was lost in between cannot answer for what came before. What comes
while one question is open waits, and then goes together (group commit): with `appendfsync everysec` an answer takes up
to a second, whatever the number of writes it is about.

A write that is not confirmed in time has been made all the same, and ends with WRITE_NOT_CONFIRMED. In time is also
before its caller's deadline, so that the caller is told; of several that wait together the longest deadline counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import hiredis

from sidecar.clock import after, remaining
from sidecar.errors import Reason, StoreError
from sidecar.store.base import ScriptCall
from sidecar.store.connection import pack
from sidecar.store.pool import PartialBatchError
from sidecar.store.replies import again, deadline_exceeded, outcome_unknown, to_error
from sidecar.store.standalone import by_digest, by_text, in_order, wants_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from sidecar.call import Call
    from sidecar.clock import Deadline
    from sidecar.store.base import Arg, Command, Reply, Store
    from sidecar.store.pool import Pool

_log = logging.getLogger("sidecar.store")

# Of one question. A thousand writes of a kilobyte are a megabyte, which a connection takes at once.
_TOGETHER = 1_000
# What is left for the writes themselves, beside the time that the question may take.
_WRITING_SECONDS = 1.0
# Of a caller's time, what is left for its answer to travel.
_FOR_THE_WAY = 0.1


class Question(NamedTuple):
    """What the store is asked after writes, and what it must answer."""

    name: str
    """The command that asks."""
    numbers: tuple[int, ...]
    least: int
    """Of the first number of the answer."""
    timeout_ms: int

    def words(self, timeout_ms: int) -> tuple[Arg, ...]:
        """Return the command's words, to wait no longer than so long."""
        return (self.name, *self.numbers, timeout_ms)

    def is_confirmed_by(self, reply: Reply) -> bool:
        """Say whether an answer is enough."""
        number = reply[0] if isinstance(reply, list) and reply else reply
        return isinstance(number, int) and number >= self.least


def on_disk(timeout_ms: int) -> Question:
    """Return the question whether writes are on the store's disk."""
    return Question("WAITAOF", (1, 0), 1, timeout_ms)


def on_replicas(number: int, timeout_ms: int) -> Question:
    """Return the question whether so many replicas have the writes."""
    return Question("WAIT", (number,), number, timeout_ms)


class _Wanted(NamedTuple):
    script: ScriptCall
    deadline: Deadline
    answer: asyncio.Future[Reply]


class ConfirmedWrites:
    """Scripts whose effects are confirmed. It belongs to one event loop."""

    def __init__(self, pool: Pool, question: Question) -> None:
        self._pool = pool
        self._question = question
        self._queue: deque[_Wanted] = deque()
        self._task: asyncio.Task[None] | None = None
        self._known: set[str] = set()
        """The scripts that the server has run for us: it knows them by their names, unless it was restarted since."""

    async def run(self, script_calls: Sequence[ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Run scripts; return their replies in order, a `StoreError` in place of each that failed or is not confirmed.

        Those of the same key take effect in their order.
        """
        loop = asyncio.get_running_loop()
        wanted = [_Wanted(script, call.deadline, loop.create_future()) for script in script_calls]
        self._queue.extend(wanted)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="confirmed-writes")
        try:
            async with asyncio.timeout(max(0.0, remaining(call.deadline))):
                return await asyncio.gather(*(one.answer for one in wanted))
        except TimeoutError:
            return [deadline_exceeded() for _ in wanted]

    async def close(self) -> None:
        """Stop; what waits ends without an answer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def problem(self) -> str | None:
        """Return why the store can confirm nothing, as far as it says; None also if it is not there."""
        words = self._question.words(1)  # there is nothing to wait for
        try:
            reply = await self._pool.request(pack(words), 1, after(_WRITING_SECONDS), repeatable=True, writes=False)
        except StoreError:
            return None
        if not isinstance(reply, hiredis.ReplyError):
            return None
        if "appendonly" in str(reply):
            return "the store keeps no append-only file (appendonly yes)"
        return f"the store does not know {self._question.name}; it takes Valkey or Redis 7.2 or newer"

    async def _work(self) -> None:
        try:
            while self._queue:
                part = [self._queue.popleft() for _ in range(min(_TOGETHER, len(self._queue)))]
                # Who has given up before anything was sent best has no write made.
                part = [one for one in part if not one.answer.done()]
                try:
                    await self._make(part, self._words_of([one.script for one in part]))
                except Exception:  # noqa: BLE001 (it is logged; those who wait behind have no part in it)
                    _log.exception("writes that are to be confirmed have failed")
                    for one in part:
                        _answer(one, outcome_unknown())
                except BaseException:
                    for one in part:
                        _answer(one, outcome_unknown())
                    raise
        finally:
            self._task = None

    async def _make(self, part: Sequence[_Wanted], words: Sequence[tuple[Arg, ...]]) -> None:
        if not part:
            return
        timeout_ms = self._timeout_ms(part)
        packed = b"".join(map(pack, [*words, self._question.words(timeout_ms)]))
        deadline = after(timeout_ms / 1_000 + _WRITING_SECONDS)
        replies: list[Reply]
        try:
            replies = await self._pool.request(packed, len(part) + 1, deadline, repeatable=False, writes=True)
        except PartialBatchError as partial:
            replies = [*partial.replies, *[outcome_unknown()] * (len(part) + 1 - len(partial.replies))]
        except StoreError as error:
            replies = [again(error) for _ in range(len(part) + 1)]
        confirmed = self._question.is_confirmed_by(replies[-1])
        unknown = []
        for one, reply in zip(part, replies[:-1], strict=True):
            if wants_text(reply):
                unknown.append(one)
            elif isinstance(reply, StoreError):
                _answer(one, again(reply))
            elif isinstance(reply, hiredis.ReplyError):
                _answer(one, to_error(reply))
            else:
                self._known.add(one.script.script.sha)
                _answer(one, reply if confirmed else _not_confirmed())
        await self._make(unknown, [by_text(one.script) for one in unknown])

    def _words_of(self, scripts: Sequence[ScriptCall]) -> list[tuple[Arg, ...]]:
        """Return the words of scripts such that those of the same key take effect in their order.

        A server that does not know the one script of all makes none of them, and then all in their order. One that is
        asked for the first time is sent whole, since the question behind it would wait for nothing.
        """
        names = {one.script.sha for one in scripts}
        if not names <= self._known:
            return [by_text(one) for one in scripts]
        return in_order(scripts) if len(names) > 1 else [by_digest(one) for one in scripts]

    def _timeout_ms(self, part: Sequence[_Wanted]) -> int:
        """Return for how long to wait for a confirmation: the question's time, or what the callers have left."""
        left = max(remaining(one.deadline) for one in part) * (1 - _FOR_THE_WAY)
        return max(1, min(self._question.timeout_ms, int(left * 1_000)))  # 0 would be for ever


class ConfirmingStore:
    """A `Store` whose writing scripts are confirmed; all else goes the usual way."""

    def __init__(self, inner: Store, writes: ConfirmedWrites) -> None:
        self._inner = inner
        self._writes = writes

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Send one command; see `Store.call`."""
        return self._inner.call(command, call)

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Read strings; see `Store.get_many`."""
        return self._inner.get_many(keys, call)

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Run a script; see `Store.run`."""
        if not script_call.writes:
            return await self._inner.run(script_call, call)
        (reply,) = await self._writes.run([script_call], call)
        if isinstance(reply, StoreError):
            raise reply
        return reply

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Send commands together; see `Store.call_many`."""
        scripts = [command for command in commands if isinstance(command, ScriptCall) and command.writes]
        if len(scripts) < len(commands):
            return await self._inner.call_many(commands, call)
        return await self._writes.run(scripts, call)


def _answer(wanted: _Wanted, reply: Reply | StoreError) -> None:
    if not wanted.answer.done():
        wanted.answer.set_result(reply)


def _not_confirmed() -> StoreError:
    return StoreError(
        Reason.WRITE_NOT_CONFIRMED,
        "the write was made, but the store has not confirmed in time that it is as safe as its durability asks",
    )
