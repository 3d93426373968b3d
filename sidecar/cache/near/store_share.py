"""What one process's near cache may ask of the store that all share. It asks the store itself, now and then.

Copies are not free to the store. It remembers who holds which key, in its own memory: some 130 bytes for each key, and
half as many more for each further process that holds it. In a store that is full, that room is taken from entries. And
it is told which keys copies answer (`near/uses.py`). Both are bounded for all processes together, and each takes its
part: the store counts the tracked connections, and says how much memory it may use.

To have fewer copies is not enough, for the store forgets a key only when that changes or goes: not when a copy makes
room for another. It says how many it remembers. As long as these are too many, no process keeps what may be cold.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import SidecarError
from sidecar.store import commands

if TYPE_CHECKING:
    from sidecar.store.base import Reply, Store

# Of the store's maxmemory, the part that may go into remembering who holds copies.
_MEMORY_PART = 0.02
# What the store takes to remember a key, and each process that holds it. One process: 115 bytes in Redis 7.0, 145 in
# Valkey 9.1; each further one 40 to 80.
_KEY_BYTES = 70
_HOLDER_BYTES = 60
# What all processes together name to one store in a second. A key takes it 0.2 µs: 0.3 % of one core.
_TOUCHES = 16384

# However many processes there are, the hottest keys of each are kept and named.
_LEAST_COPIES = 1024
_LEAST_TOUCHES = 64
# How many there are taken to be, until the store has told, or if it does not.
_PROCESSES = 16

_REPLY_SECONDS = 1.0
_RENEW_SECONDS = 10.0

_ASKED = [commands.info("clients"), commands.memory_info(), commands.info("stats")]


class Part(NamedTuple):
    """One process's part."""

    copies: int = sys.maxsize
    """How many copies it may have."""
    cold: bool = True
    """Whether it may keep what may be cold."""
    touches: int = _TOUCHES // _PROCESSES
    """How many keys it may name in a second."""


class StoreShare:
    """The part of this process, as far as it is known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._renew_at = 0.0
        self._asking: asyncio.Task[None] | None = None
        self.part = Part()

    def renew(self) -> None:
        """Ask the store again, if that was long ago; returns at once."""
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + _RENEW_SECONDS
            self._asking = asyncio.create_task(self._ask(), name="ask for the near cache's part")

    async def _ask(self) -> None:
        call = Call("cache.near_part", deadline=after(_REPLY_SECONDS))
        try:
            self.part = part_of(*await self._store.call_many(_ASKED, call))
        except SidecarError:
            return  # it is asked again


def part_of(clients: Reply, memory: Reply, stats: Reply) -> Part:
    """Return a process's part, by the answers to INFO clients, memory and stats, or what came in place of them."""
    processes = _number(clients, b"tracking_clients") or _PROCESSES
    touches = max(_LEAST_TOUCHES, _TOUCHES // processes)
    room = int(_number(memory, b"maxmemory") * _MEMORY_PART)
    if not room:
        return Part(touches=touches)
    remembered, held = _number(stats, b"tracking_total_keys"), _number(stats, b"tracking_total_items")
    return Part(
        copies=max(_LEAST_COPIES, room // (_KEY_BYTES + _HOLDER_BYTES) // processes),
        cold=remembered * _KEY_BYTES + held * _HOLDER_BYTES < room,
        touches=touches,
    )


def _number(info: Reply, name: bytes) -> int:
    """Return a number that the answer to INFO says; 0 if it does not."""
    text = info if isinstance(info, bytes) else str(info).encode()
    for line in text.splitlines():
        said, _, value = line.partition(b":")
        if said == name and value.isdigit():
            return int(value)
    return 0
