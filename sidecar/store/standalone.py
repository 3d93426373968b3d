"""The store of one server: commands and scripts over a pool of multiplexed connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hiredis

from sidecar.errors import Reason, StoreError
from sidecar.store.base import Command, ScriptCall
from sidecar.store.connection import pack
from sidecar.store.pool import PartialBatchError, Pool
from sidecar.store.replies import again, code_of, outcome_unknown, to_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.call import Call
    from sidecar.store.base import Arg, Reply


class StandaloneStore:
    """A `Store` over one server."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def call(self, command: Command, call: Call) -> Reply:
        """Send one command; see `Store.call`."""
        reply = await self._pool.request(
            pack(command.words), 1, call.deadline, repeatable=command.repeatable, writes=command.writes
        )
        if isinstance(reply, hiredis.ReplyError):
            raise to_error(reply)
        return reply

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Run a script; see `Store.run`."""
        repeatable, writes = script_call.repeatable, script_call.writes
        reply = await self._pool.request(
            pack(_by_digest(script_call)), 1, call.deadline, repeatable=repeatable, writes=writes
        )
        if isinstance(reply, hiredis.ReplyError):
            if code_of(reply) != "NOSCRIPT":
                raise to_error(reply)
            reply = await self._pool.request(
                pack(_by_text(script_call)), 1, call.deadline, repeatable=repeatable, writes=writes
            )
            if isinstance(reply, hiredis.ReplyError):
                raise to_error(reply)
        return reply

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Send commands together; see `Store.call_many`."""
        if not commands:
            return []
        replies = await self._batch([_words(command) for command in commands], commands, call)
        unknown = [number for number, reply in enumerate(replies) if _wants_text(reply)]
        if unknown:
            scripts = [script for number in unknown if isinstance(script := commands[number], ScriptCall)]
            texts = [_by_text(script) for script in scripts]
            for number, reply in zip(unknown, await self._batch(texts, scripts, call), strict=True):
                replies[number] = reply
        return [to_error(reply) if isinstance(reply, hiredis.ReplyError) else reply for reply in replies]

    async def _batch(
        self,
        batch: Sequence[tuple[Arg, ...]],
        commands: Sequence[Command | ScriptCall],
        call: Call,
    ) -> list[Reply]:
        packed = b"".join([pack(words) for words in batch])
        repeatable = all(command.repeatable for command in commands)
        writes = any(command.writes for command in commands)
        try:
            replies = await self._pool.request(packed, len(batch), call.deadline, repeatable=repeatable, writes=writes)
        except PartialBatchError as partial:
            lost = len(batch) - len(partial.replies)
            return [*partial.replies, *(outcome_unknown() for _ in range(lost))]
        except StoreError as error:
            if error.reason is Reason.OVERLOADED:
                raise
            return [again(error) for _ in batch]
        return list(replies) if len(batch) > 1 else [replies]


def _words(command: Command | ScriptCall) -> tuple[Arg, ...]:
    return command.words if isinstance(command, Command) else _by_digest(command)


def _by_digest(script_call: ScriptCall) -> tuple[Arg, ...]:
    script, keys, args, _, _ = script_call
    return ("EVALSHA", script.sha, script.key_count, *keys, *args)


def _by_text(script_call: ScriptCall) -> tuple[Arg, ...]:
    script, keys, args, _, _ = script_call
    return ("EVAL", script.source, script.key_count, *keys, *args)


def _wants_text(reply: Reply) -> bool:
    return isinstance(reply, hiredis.ReplyError) and code_of(reply) == "NOSCRIPT"
