"""What one process does for all that serve a cache: whoever takes it first, until it gives it back or is silent.

It lies under a key of the store with a TTL, which its holder prolongs. If the holder is held up for longer than that,
two may be at it for a moment; so it is only used for what does no harm when it is done twice.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.store.base import Store

_TAKE, _LEAVE = load("take_upkeep"), load("leave_upkeep")

# Of some thousand processes no two have the same name.
_NAME_BYTES = 8


class Upkeep:
    """One piece of work that one process at a time does."""

    def __init__(self, store: Store, key: bytes, life_ms: int) -> None:
        self._store = store
        self._key = key
        self._life_ms = life_ms
        self._name = secrets.token_hex(_NAME_BYTES)
        self._sure_until = 0.0

    async def take(self, call: Call) -> bool:
        """Take it or prolong it; say whether this process has it. Raises what the store raises.

        May be asked as often as one likes: the store is, when a third of its time has passed.
        """
        now = time.monotonic()
        if now < self._sure_until:
            return True
        taking = ScriptCall(_TAKE, (self._key,), (self._name, self._life_ms), True)
        taken = bool(await self._store.run(taking, call))
        self._sure_until = now + self._life_ms / 3_000 if taken else 0.0
        return taken

    async def leave(self, call: Call) -> None:
        """Give it back."""
        self._sure_until = 0.0
        await self._store.run(ScriptCall(_LEAVE, (self._key,), (self._name,), True), call)
