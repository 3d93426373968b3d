"""Says every few seconds that this process is alive, and hears how many are; only where a policy shares its limit.

What is said and counted is in `sidecar.ratelimit.members`. A beat that fails is not repeated: the next is soon enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError
from sidecar.lasting import lasting
from sidecar.ratelimit.members import EXPIRY_US, INTERVAL_SECONDS, Census
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace

_log = logging.getLogger("sidecar.ratelimit")

# A beat that takes longer has missed its time.
_REPLY_SECONDS = 1.0

# Bytes: of some thousand members no two have the same id.
_ID_BYTES = 8

# What a store that is gone or slow answers; everything else an operator has to know of.
PASSING = frozenset({Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN, Reason.DEADLINE_EXCEEDED, Reason.OVERLOADED})


class Heartbeats:
    """This process's beats, and the number of live sidecars that comes of them."""

    def __init__(self, *, store: Store, keys: KeySpace, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._store = store
        self._interval_seconds = interval_seconds
        self._script_call = ScriptCall(
            load("count_members"), (keys.members,), (secrets.token_hex(_ID_BYTES), EXPIRY_US), True
        )
        self._census = Census()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem: Reason | None = None

    def live(self) -> int | None:
        """Return the last known number of live sidecars; None before the first count."""
        return self._census.live

    def want(self, *, wanted: bool) -> None:
        """Say whether anybody needs the number."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def start(self) -> None:
        """Beat once, if anybody needs it, then go on in the background."""
        if self._wanted.is_set():
            await self.beat()
        self._task = asyncio.create_task(lasting(self._run, "the heartbeats of limits"), name="heartbeats")

    async def stop(self) -> None:
        """Stop beating; the store forgets this process by itself."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def beat(self) -> None:
        """Say that this process is alive, and take in how many are."""
        call = Call("ratelimit.heartbeat", deadline=after(_REPLY_SECONDS))
        try:
            self._census.observe(await self._store.run(self._script_call, call))
        except SidecarError as error:
            if error.reason not in PASSING and error.reason is not self._problem:
                self._problem = error.reason
                _log.warning("the live sidecars cannot be counted, so a local share is none: %s", error.message)
        else:
            self._problem = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self._wanted.wait()
            await self.beat()
