"""One consumer of a stream's group, on a connection of its own.

Reading blocks, which the connections that calls share must not. All that may happen to an entry is in the replies: it
is there, or its place is but what it held was trimmed away; and the group may be gone with the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import hiredis

from sidecar.store.replies import code_of, to_error
from sidecar.store.subscription import PushLine, open_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Arg, Reply
    from sidecar.store.subscription import SubscriptionPolicy

# A page is acknowledged as one.
_PAGE = 100
# Who lives asks at least once in `block_ms`.
_DEAD_AFTER_MS = 3_600_000
# Redis 7.0 says UNBLOCKED to who waits for a stream that is deleted.
_GONE = frozenset({"NOGROUP", "UNBLOCKED"})


class GroupLostError(Exception):
    """The stream was deleted, and the group with it."""


class StreamEntry(NamedTuple):
    """An entry of a stream."""

    id: bytes
    pairs: list[bytes] | None
    """Field, value, field, value; None if it was trimmed away."""

    @property
    def added_ms(self) -> int:
        """When it was added, by the store's clock, unless whoever added it chose the id."""
        first, _, _ = self.id.partition(b"-")
        return int(first) if first.isdigit() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPolicy:
    """Whose events these are; times in milliseconds."""

    stream: str
    group: str
    consumer: str
    claim_after_ms: int = 5_000
    """How long an entry that was given to a consumer and not acknowledged is left to it."""
    block_ms: int = 1_000


class GroupReader:
    """Reads as one consumer."""

    def __init__(self, line: PushLine, policy: GroupPolicy, patience: float) -> None:
        self._line = line
        self._policy = policy
        self._patience = patience

    def close(self) -> None:
        """Drop the connection."""
        self._line.abort()

    async def join(self, start: str) -> None:
        """Make the group if there is none, to read what is added from `start` on: `$` for now, `0` for all."""
        policy = self._policy
        (made,) = await self._line.ask(
            ("XGROUP", "CREATE", policy.stream, policy.group, start, "MKSTREAM"), patience=self._patience
        )
        if isinstance(made, hiredis.ReplyError) and code_of(made) != "BUSYGROUP":
            raise to_error(made)

    async def unfinished(self) -> list[StreamEntry]:
        """Return entries that this consumer was given and has not acknowledged."""
        return await self._read("0")

    async def read(self) -> list[StreamEntry]:
        """Wait for new entries, and return them; none if none comes in a while."""
        return await self._read(">", "BLOCK", self._policy.block_ms)

    async def claim(self) -> tuple[list[StreamEntry], bool]:
        """Take over what others have left; and say whether some of it was trimmed away."""
        policy = self._policy
        reply = await self._ask(
            "XAUTOCLAIM", policy.stream, policy.group, policy.consumer, policy.claim_after_ms, "0-0", "COUNT", _PAGE
        )
        # The third, the ids of what was trimmed, is there since Redis 7; before, such entries are nil.
        entries = [StreamEntry(one[0], one[1]) for one in reply[1] if one is not None]
        return entries, len(entries) < len(reply[1]) or (len(reply) > 2 and bool(reply[2]))  # noqa: PLR2004 (as above)

    async def acknowledge(self, ids: Iterable[bytes]) -> None:
        """Say that entries are done with."""
        await self._ask("XACK", self._policy.stream, self._policy.group, *ids)

    async def leave(self) -> None:
        """Remove the consumer, if it has nothing left to acknowledge."""
        policy = self._policy
        if not await self._ask("XPENDING", policy.stream, policy.group, "-", "+", 1, policy.consumer):
            await self._ask("XGROUP", "DELCONSUMER", policy.stream, policy.group, policy.consumer)

    async def tidy(self) -> None:
        """Remove consumers that have been dead for an hour and left nothing; those that left something are claimed."""
        for told in await self._ask("XINFO", "CONSUMERS", self._policy.stream, self._policy.group):
            consumer = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
            if consumer[b"idle"] > _DEAD_AFTER_MS and not consumer[b"pending"]:
                await self._ask("XGROUP", "DELCONSUMER", self._policy.stream, self._policy.group, consumer[b"name"])

    async def _read(self, start: str, *more: Arg) -> list[StreamEntry]:
        policy = self._policy
        reply = await self._ask(
            "XREADGROUP", "GROUP", policy.group, policy.consumer, "COUNT", _PAGE, *more, "STREAMS", policy.stream, start
        )
        if not reply:
            return []
        (entries,) = reply.values()
        return [StreamEntry(one[0], one[1]) for one in entries]

    async def _ask(self, *words: Arg) -> Reply:
        (reply,) = await self._line.ask(words, patience=self._patience + self._policy.block_ms / 1000)
        if isinstance(reply, hiredis.ReplyError):
            if code_of(reply) in _GONE:
                raise GroupLostError
            raise to_error(reply)
        return reply


async def open_group(address: StoreAddress, policy: SubscriptionPolicy, group: GroupPolicy) -> GroupReader:
    """Connect; raises `StoreError`."""
    line = await open_line(address, policy, lambda _push: None)
    return GroupReader(line, group, policy.reply_timeout)
