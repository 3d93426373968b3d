"""The overrides of a tenant: changed in the store, and known here. `overrides.py` says how they spread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError
from sidecar.lasting import lasting
from sidecar.ratelimit.overrides import MOST_OVERRIDES, Override, from_stored
from sidecar.store import commands
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace

_SET, _DELETE = load("set_override"), load("delete_override")

# Twice this, and two ways to the store, is less than the second that a change may take.
_ASK_SECONDS = 0.4

# As the probe's.
_REPLY_SECONDS = 0.5

_VERSION = b"version"


class OverrideBook:
    """Knows the overrides, and tells `apply` of all of them whenever they change."""

    def __init__(self, store: Store, keys: KeySpace, apply: Callable[[Sequence[Override]], None]) -> None:
        self._store = store
        self._key = keys.overrides
        self._apply = apply
        self._version: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read once, if the store can be reached, then go on in the background."""
        await self._look()
        self._task = asyncio.create_task(lasting(self._keep, "the reading of overrides"), name="overrides")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def put(self, override: Override, lasts_ms: int, call: Call) -> None:
        """Set an override, in force here when this returns; raises OVERRIDES_FULL, and what the store raises."""
        words = (override.field, override.text, lasts_ms * 1_000, MOST_OVERRIDES)
        done, _ = await self._store.run(ScriptCall(_SET, (self._key,), words, False), call)
        if not done:
            raise SidecarError(
                Reason.OVERRIDES_FULL,
                f"there are {MOST_OVERRIDES} overrides, and no more can be set; delete some, or configure a tier",
                metadata={"max": str(MOST_OVERRIDES)},
            )
        await self._read(call)

    async def remove(self, policy: str, key: str, call: Call) -> bool:
        """Remove an override, no longer in force here when this returns; return whether there was one."""
        field = f"{policy}:{key}".encode()
        removed = await self._store.run(ScriptCall(_DELETE, (self._key,), (field,), False), call)
        await self._read(call)
        return bool(removed)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        call = Call("overrides.look", deadline=after(_REPLY_SECONDS))
        try:
            (version,) = await self._store.call(commands.hash_fields(self._key, (_VERSION,)), call)
            if version != self._version:
                await self._read(call)
        except SidecarError:
            return  # those that are known stay until they end

    async def _read(self, call: Call) -> None:
        stored: dict[bytes, bytes] = dict(await self._store.call(commands.whole_hash(self._key), call))
        self._version = stored.pop(_VERSION, None)
        found = [from_stored(field, value) for field, value in stored.items()]
        self._apply([override for override in found if override is not None])
