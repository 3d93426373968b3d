"""A process whose every request to the store and to its origin waits for its turn, so that orders can be tried."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sidecar.cache.origin import OriginValue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sidecar.cache.origin import Change
    from sidecar.call import Call
    from sidecar.errors import SidecarError
    from sidecar.store.base import Command, Reply, ScriptCall, Store

# Turns of the event loop after which whoever has had an answer has come to his next request, if he needs none but it.
_SETTLED = 12


class Gate:
    """Lets one request of a process through at a time."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Future[None], asyncio.Future[None]]] = []

    async def through(self, do: Callable[[], Awaitable[Any]]) -> Any:
        """Do something in its turn."""
        loop = asyncio.get_running_loop()
        turn, done = loop.create_future(), loop.create_future()
        self._waiting.append((turn, done))
        try:
            await turn
            return await do()
        finally:
            if not done.done():
                done.set_result(None)

    async def step(self) -> bool:
        """Let the first who waits have its turn, and say whether somebody did."""
        for _ in range(_SETTLED):
            await asyncio.sleep(0)
        while self._waiting:
            turn, done = self._waiting.pop(0)
            if not turn.cancelled():
                turn.set_result(None)
                await done
                for _ in range(_SETTLED):
                    await asyncio.sleep(0)
                return True
        return False


class GatedStore:
    """A store behind a gate."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self._store = store
        self._gate = gate

    async def call(self, command: Command, call: Call) -> Reply:
        """Send one command, in its turn."""
        return await self._gate.through(lambda: self._store.call(command, call))

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Any]:
        """Send commands, in their turn."""
        many: list[Any] = await self._gate.through(lambda: self._store.call_many(commands, call))
        return many

    async def get_many(self, keys: Sequence[bytes], call: Call) -> list[Any]:
        """Read, in its turn."""
        many: list[Any] = await self._gate.through(lambda: self._store.get_many(keys, call))
        return many

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Run a script, in its turn."""
        return await self._gate.through(lambda: self._store.run(script_call, call))


class Home:
    """What one key has been at its origin, in order; the first is what it was to begin with."""

    def __init__(self, first: bytes) -> None:
        self.history: list[bytes | None] = [first]


class GatedOrigin:
    """One process's way to the origin of one key: a turn to get there, and another for the answer."""

    name = "gated"
    stores = True

    def __init__(self, home: Home, gate: Gate) -> None:
        self._home = home
        self._gate = gate

    async def load(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:  # noqa: ARG002
        """Return what there is."""

        async def read() -> bytes | None:
            return self._home.history[-1]

        value = await self._gate.through(read)
        await self._gate.through(_nothing)
        return [None if value is None else OriginValue(value) for _ in keys]

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:  # noqa: ARG002
        """Make changes."""

        async def write() -> None:
            self._home.history += [change.value for change in changes]

        await self._gate.through(write)
        await self._gate.through(_nothing)
        return [None for _ in changes]


async def _nothing() -> None:
    """Be done."""
