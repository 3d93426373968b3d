"""Events by a stream of the store: each is handled by one sidecar, once at least.

All sidecars are consumers of one group. An entry is acknowledged when what it concerns has been invalidated; that of a
sidecar that died, or lost its connection for good, is claimed by another after `claim_after`. So there is no gap, with
two exceptions that are taken for one: an entry that was trimmed from the stream after it was given out and before it
was acknowledged, and a stream that was deleted with its group.

Entries whose handling fails for want of the store wait with the sidecar that read them; nothing else can be read
meanwhile either, since it is the same store.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sidecar.errors import SidecarError
from sidecar.lasting import lasting
from sidecar.store.stream_group import GroupLostError, open_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.clock import StoreClock
    from sidecar.events.handling import Handling
    from sidecar.events.payload import Fields
    from sidecar.store.address import StoreAddress
    from sidecar.store.stream_group import GroupPolicy, GroupReader, StreamEntry
    from sidecar.store.subscription import SubscriptionPolicy

_log = logging.getLogger("sidecar.events")

_FROM_NOW, _FROM_THE_BEGINNING = "$", "0"
# A sidecar that ends has a moment to say that nobody need wait for it.
_LEAVE_SECONDS = 0.5


class StreamSource:
    """Reads a stream as one of a group."""

    def __init__(
        self,
        handling: Handling,
        address: StoreAddress,
        policy: SubscriptionPolicy,
        group: GroupPolicy,
        *,
        clock: StoreClock,
        read: Callable[[Sequence[bytes]], Fields],
    ) -> None:
        self.up = asyncio.Event()
        self._handling = handling
        self._address = address
        self._policy = policy
        self._group = group
        self._clock = clock
        self._read = read
        self._start = _FROM_NOW
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(
            lasting(self._keep, f"the reading of event {self._handling.name!r}"), name=f"stream-{self._handling.name}"
        )

    async def close(self) -> None:
        """Read no more; what was read and not done is another's from `claim_after` on."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with suppress(SidecarError, GroupLostError, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                reader = await open_group(self._address, self._policy, self._group)
                try:
                    await reader.leave()
                finally:
                    reader.close()

    async def _keep(self) -> None:
        attempt = 0
        while True:
            try:
                await self._consume()
            except GroupLostError:
                # What has been added to it since is new, and what was in the old one is lost.
                self._start = _FROM_THE_BEGINNING
                self._handling.gap()
                _log.warning("the stream of event %r was deleted; its events may have been missed", self._handling.name)
            except SidecarError as error:
                if attempt == 0 or self.up.is_set():
                    _log.warning("the stream of event %r cannot be read: %s", self._handling.name, error.message)
            except Exception:  # noqa: BLE001 (it is logged, and the work goes on)
                _log.exception("the reading of the stream of event %r has failed", self._handling.name)
            if self.up.is_set():
                attempt = 0
                self.up.clear()
                self._handling.counters.set_up(is_up=False)
            await asyncio.sleep(self._policy.backoff.delay_seconds(attempt))
            attempt += 1

    async def _consume(self) -> None:
        reader = await open_group(self._address, self._policy, self._group)
        try:
            await reader.join(self._start)
            await reader.tidy()
            self._handling.counters.set_up(is_up=True)
            self.up.set()
            while entries := await reader.unfinished():
                await self._handle(reader, entries)
            loop = asyncio.get_running_loop()
            claim_at = loop.time()
            while True:
                if loop.time() >= claim_at:
                    claim_at = loop.time() + self._group.claim_after_ms / 2000
                    entries, trimmed = await reader.claim()
                    await self._handle(reader, entries, trimmed=trimmed)
                await self._handle(reader, await reader.read())
        finally:
            reader.close()

    async def _handle(self, reader: GroupReader, entries: Sequence[StreamEntry], *, trimmed: bool = False) -> None:
        effects = self._handling.gap_effects() if trimmed or any(one.pairs is None for one in entries) else []
        for entry in entries:
            if entry.pairs is not None:
                effects += self._handling.effects_of(partial(self._read, entry.pairs))
        await self._handling.carry_out(effects)
        now_ms = self._clock.micros() // 1000
        for entry in entries:
            self._handling.counters.lag.observe(max(0, now_ms - (entry.added_ms or now_ms)) / 1000)
        if entries:
            await reader.acknowledge([entry.id for entry in entries])
