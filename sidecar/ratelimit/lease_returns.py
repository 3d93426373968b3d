"""Sends back what was borrowed and not spent: many keys together, behind the callers' backs, and each only once.

A return that is not answered may have been made, and a second one would give back what nobody had taken. So it is not
repeated: what it is about is then not used, and comes back as the limit lets it. So is what waits behind it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from sidecar.store.base import Store
    from sidecar.telemetry.metrics import Cell

# As for local shares: few enough that no caller waits behind them.
_KEYS_AT_ONCE = 64

# A store that is there answers sooner.
_REPLY_SECONDS = 1.0


class _Return(NamedTuple):
    script_call: ScriptCall
    returned: Cell
    """Counts what went back."""


class Returns:
    """What is to go back, until it has been sent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._script = load("return_tokens")
        self._waiting: list[_Return] = []
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, state_key: bytes, words: tuple[int, ...], returned: Cell) -> None:
        """Have tokens go back with the next `send`; `words` are the script's."""
        self._waiting.append(_Return(ScriptCall(self._script, (state_key,), words, False), returned))

    def send(self) -> None:
        """Begin to send all that waits, unless that is under way."""
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._send(), name="lease returns")

    async def drain(self) -> None:
        """Send all that waits, and wait until the store has it."""
        self.send()
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
            self.send()

    async def _send(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:_KEYS_AT_ONCE], self._waiting[_KEYS_AT_ONCE:]
            call = Call("ratelimit.return", deadline=after(_REPLY_SECONDS))
            try:
                replies = await self._store.call_many([one.script_call for one in some], call)
            except SidecarError:
                # What still waits would only have a process that stops wait for a store that is gone.
                self._waiting.clear()
                return
            for one, reply in zip(some, replies, strict=True):
                if not isinstance(reply, SidecarError):
                    one.returned.value += reply
