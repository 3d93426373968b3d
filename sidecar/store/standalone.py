"""The store of one server: commands and scripts over a pool of multiplexed connections."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, cast

import hiredis

from sidecar.errors import Reason, StoreError
from sidecar.store.base import Command, ScriptCall
from sidecar.store.connection import pack, pack_gets
from sidecar.store.pool import PartialBatchError
from sidecar.store.replies import TRANSIENT_CODES, again, code_of, outcome_unknown, to_error, unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from sidecar.call import Call
    from sidecar.clock import Deadline
    from sidecar.store.base import Arg, Reply


class Requests(Protocol):
    """What sends packed commands to one server: a `Pool`, or a connection of its own."""

    def request(
        self, packed: bytes, count: int, deadline: Deadline, *, repeatable: bool, writes: bool, raises: bool = False
    ) -> Awaitable[Reply]:
        """Send packed commands; see `Pool.request`."""
        ...

    def may_repeat(self) -> bool:
        """Return whether what was lost may be sent once more; see `Pool.may_repeat`."""
        ...


class StandaloneStore:
    """A `Store` over one server."""

    def __init__(self, pool: Requests) -> None:
        self._pool = pool

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Send one command; see `Store.call`."""
        words, repeatable = command
        return self._pool.request(
            pack(words), 1, call.deadline, repeatable=repeatable, writes=not repeatable, raises=True
        )

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Run a script; see `Store.run`."""
        repeatable, writes = script_call.repeatable, script_call.writes
        reply = await self._pool.request(
            pack(by_digest(script_call)), 1, call.deadline, repeatable=repeatable, writes=writes
        )
        if isinstance(reply, hiredis.ReplyError):
            if code_of(reply) != "NOSCRIPT":
                raise to_error(reply)
            reply = await self._pool.request(
                pack(by_text(script_call)), 1, call.deadline, repeatable=repeatable, writes=writes
            )
            if isinstance(reply, hiredis.ReplyError):
                raise to_error(reply)
        return reply

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Send commands together; see `Store.call_many`."""
        if not commands:
            return []
        scripts = ScriptCall in map(type, commands)
        # Commands alone, and most often it is only reads, take the short way.
        words = in_order(commands) if scripts else [command.words for command in cast("Sequence[Command]", commands)]
        replies = await self._batch(words, commands, call)
        if scripts and _ERROR in set(map(type, replies)):
            unknown = [number for number, reply in enumerate(replies) if wants_text(reply)]
            if unknown:
                texts = [script for number in unknown if isinstance(script := commands[number], ScriptCall)]
                again_ = await self._batch([by_text(script) for script in texts], texts, call)
                for number, reply in zip(unknown, again_, strict=True):
                    replies[number] = reply
        return _errors_read(replies)

    async def get_many(self, keys: Sequence[bytes], call: Call) -> list[Reply | StoreError]:
        """Read strings together; see `Store.get_many`."""
        if not keys:
            return []
        return _errors_read(await self._request(pack_gets(keys), len(keys), call, repeatable=True, writes=False))

    async def _request(self, packed: bytes, count: int, call: Call, *, repeatable: bool, writes: bool) -> list[Reply]:
        """Send a batch; a failure of the whole is one of each of its commands, unless it says OVERLOADED."""
        try:
            replies = await self._pool.request(packed, count, call.deadline, repeatable=repeatable, writes=writes)
        except StoreError as error:
            if error.reason is Reason.OVERLOADED:
                raise
            return [again(error) for _ in range(count)]
        return replies if count > 1 else [replies]

    async def _batch(
        self,
        batch: Sequence[tuple[Arg, ...]],
        commands: Sequence[Command | ScriptCall],
        call: Call,
    ) -> list[Reply]:
        packed = b"".join(map(pack, batch))
        repeatable = all(map(_REPEATABLE, commands))
        writes = any(map(_WRITES, commands))
        try:
            return await self._request(packed, len(batch), call, repeatable=repeatable, writes=writes)
        except PartialBatchError as partial:
            done = len(partial.replies)
            lost = await self._after_loss(batch[done:], commands[done:], call, hung=partial.hung)
            return [*partial.replies, *lost]

    async def _after_loss(
        self,
        batch: Sequence[tuple[Arg, ...]],
        commands: Sequence[Command | ScriptCall],
        call: Call,
        *,
        hung: bool,
    ) -> list[Reply]:
        """Return how commands end that were sent and not answered: each as it would have alone.

        The rest of a batch is repeated where it may be, without the plain writes that stood among it.
        """
        replies: list[Reply] = [
            outcome_unknown() if command.writes else unavailable("it lost or closed the connection")
            for command in commands
        ]
        repeated = [number for number, command in enumerate(commands) if command.repeatable]
        if hung or not repeated or not self._pool.may_repeat():
            return replies
        second = await self._batch([batch[number] for number in repeated], [commands[n] for n in repeated], call)
        for number, reply in zip(repeated, second, strict=True):
            # The first copy of a write may have been applied, whatever became of the second.
            if not (commands[number].writes and _says_unchanged(reply)):
                replies[number] = reply
        return replies


_ERROR = hiredis.ReplyError
# In place of generator expressions: these are asked of every command of every batch.
_REPEATABLE, _WRITES = attrgetter("repeatable"), attrgetter("writes")


def _errors_read(replies: list[Reply]) -> list[Reply | StoreError]:
    """Return the replies with what it means in place of each that is an error."""
    # The types of all, so that a batch without a failure costs no look at each.
    if _ERROR not in set(map(type, replies)):
        return replies
    return [to_error(reply) if type(reply) is _ERROR else reply for reply in replies]


def in_order(commands: Sequence[Command | ScriptCall]) -> list[tuple[Arg, ...]]:
    """Return the commands' words such that those of the same key take effect in their order.

    A script goes by its digest, and a node that does not know it gets its text later. One with something of the same
    key behind it would be overtaken, so its text goes at once. (Rounds, each sent once the last was answered, keep the
    order too; fifty Checks of one key would wait for the store fifty times.)
    """
    words: list[tuple[Arg, ...]] = []
    behind: set[Arg] = set()
    for command in reversed(commands):
        if isinstance(command, Command):
            words.append(command.words)
            behind.update(command.words[1:2])
        else:
            words.append(by_digest(command) if behind.isdisjoint(command.keys) else by_text(command))
            behind.update(command.keys)
    words.reverse()
    return words


def by_digest(script_call: ScriptCall) -> tuple[Arg, ...]:
    """Return the words that run a script by its name."""
    script, keys, args, _, _ = script_call
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def by_text(script_call: ScriptCall) -> tuple[Arg, ...]:
    """Return the words that run a script on a node that does not know it."""
    script, keys, args, _, _ = script_call
    return ("EVAL", script.source, len(keys), *keys, *args)


def wants_text(reply: Reply) -> bool:
    """Say whether a node does not know a script by its name."""
    return isinstance(reply, hiredis.ReplyError) and code_of(reply) == "NOSCRIPT"


def _says_unchanged(reply: Reply) -> bool:
    if isinstance(reply, StoreError):
        return reply.reason is not Reason.DEADLINE_EXCEEDED
    return isinstance(reply, hiredis.ReplyError) and code_of(reply) in TRANSIENT_CODES
