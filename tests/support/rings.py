"""Key rings that tests can wind forward, over a store that they can watch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar.clock import StoreClock
from sidecar.crypto.kek import KeyEncryptionKey, KeyEncryptionKeys
from sidecar.crypto.keyring import KeyRing, KeyRingPolicy
from sidecar.store.keys import KeySpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.call import Call
    from sidecar.crypto.envelope import DataKey
    from sidecar.errors import StoreError
    from sidecar.store.base import Command, Reply, ScriptCall, Store

EPOCH = 20_654
DAY = 24 * 60 * 60
MAX_LIFE_MS = 900_000


@dataclass
class WatchedStore:
    """A store, with a list of what was asked of it and a gate that can hold replies back."""

    store: Store
    asked: list[str] = field(default_factory=list)
    held_back: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def call(self, command: Command, call: Call) -> Reply:
        """Pass a command on, and its reply when the gate is open."""
        self.asked.append(str(command.words[0]))
        reply = await self.store.call(command, call)
        await self._hold_back(str(command.words[0]))
        return reply

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Pass commands on."""
        return await self.store.call_many(commands, call)

    async def get_many(self, keys: Sequence[bytes], call: Call) -> list[Reply | StoreError]:
        """Pass reads on."""
        return await self.store.get_many(keys, call)

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Pass a script on, and its reply when the gate is open."""
        self.asked.append(script_call.script.name)
        reply = await self.store.run(script_call, call)
        await self._hold_back(script_call.script.name)
        return reply

    async def _hold_back(self, name: str) -> None:
        if not self.gate.is_set():
            self.held_back.append(name)
            await self.gate.wait()


class CountingKeks(KeyEncryptionKeys):
    """KEKs that count how often they unwrap."""

    unwrapped = 0

    def unwrap(self, record: bytes, scope: bytes) -> DataKey:
        """Unwrap, and count."""
        self.unwrapped += 1
        return super().unwrap(record, scope)


@dataclass
class Sidecar:
    """One sidecar's key ring, with its own clocks."""

    ring: KeyRing
    keks: CountingKeks
    clock: StoreClock
    monotonic: list[float]

    def wind(self, seconds: float) -> None:
        """Let time pass for this ring's cached keys."""
        self.monotonic[0] += seconds

    def set_epoch(self, epoch: int) -> None:
        """Set the store's time, as this sidecar sees it, to the beginning of an epoch."""
        now = time.monotonic()
        self.clock.observe((epoch * DAY + 60) * 1_000_000, now, now)


KEK = KeyEncryptionKey(b"K" * 32)


def start(store: Store, tenant: str = "default", keks: Sequence[KeyEncryptionKey] = (KEK,), **policy: Any) -> Sidecar:
    """Make a key ring at `EPOCH`."""
    monotonic = [1000.0]
    clock = StoreClock()
    counting = CountingKeks(keks)
    ring = KeyRing(
        store=store,
        keys=KeySpace(tenant),
        tenant=tenant,
        keks=counting,
        clock=clock,
        policy=KeyRingPolicy(epoch_seconds=DAY, **policy),
        monotonic=lambda: monotonic[0],
    )
    sidecar = Sidecar(ring, counting, clock, monotonic)
    sidecar.set_epoch(EPOCH)
    return sidecar
