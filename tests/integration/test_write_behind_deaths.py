"""A sender dies at each of its steps: nothing that was acknowledged is lost, nothing is made twice or out of order.

A step is a call of the store or of the origin. At one of them the sender stands still for good, before or after it took
effect, or is stopped in an orderly way while it waits; then another begins.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from support.write_behind import CACHE, PLAIN, TENANT, Ledger, make_rig, running, some_call

from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.store.keys import KeySpace
from sidecar.store.replies import outcome_unknown, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.servers import StoreServer

    from sidecar.cache.origin import Change
    from sidecar.call import Call
    from sidecar.errors import SidecarError, StoreError
    from sidecar.store.base import Command, Reply, ScriptCall, Store
    from sidecar.store.standalone import StandaloneStore

# Being there, holding twice, looking, taking, the origin, settling, and all that once more: beyond it the steps repeat.
STEPS = 18
WAYS = ("before", "after", "stopped")


@pytest.fixture
def store_kind() -> str:
    """Return one kind of store: what differs between kinds is tested elsewhere."""
    return "valkey"


@dataclass
class Fate:
    """At which step a sender stands still."""

    step: int
    way: str
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    count: int = 0

    async def stands_still_before(self) -> int:
        """Count a step and return its number; do not return if it is the one."""
        self.count += 1
        number = self.count
        if number == self.step and self.way != "after":
            await self._stand()
        return number

    async def stands_still_after(self, number: int) -> None:
        """Do not return if the step that was made is the one."""
        if number == self.step and self.way == "after":
            await self._stand()

    async def _stand(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


@dataclass
class DyingStore:
    """A store that its user stands still at; what is asked after that is refused, unless the user was only stopped."""

    inner: Store
    fate: Fate

    async def call(self, command: Command, call: Call) -> Reply:
        """Pass a command on."""
        return await self.inner.call(command, call)

    async def get_many(self, keys: Sequence[bytes], call: Call) -> list[Reply | StoreError]:
        """Pass reads on."""
        return await self.inner.get_many(keys, call)

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Pass a script on, within the fate."""
        number = await self._before()
        reply = await self.inner.run(script_call, call)
        await self.fate.stands_still_after(number)
        return reply

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Pass commands on, within the fate."""
        number = await self._before()
        replies = await self.inner.call_many(commands, call)
        await self.fate.stands_still_after(number)
        return replies

    async def _before(self) -> int:
        if self.fate.reached.is_set() and self.fate.way != "stopped":
            raise unavailable("it is dead")
        return await self.fate.stands_still_before()


@dataclass
class DyingOrigin(Ledger):
    """An origin that its caller stands still at."""

    fate: Fate = field(default_factory=lambda: Fate(0, ""))

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes, within the fate."""
        number = await self.fate.stands_still_before()
        answers = await super().store(changes, call)
        await self.fate.stands_still_after(number)
        return answers


@pytest.mark.parametrize("coalesce", [True, False], ids=["coalescing", "each"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_successor_goes_on_where_a_sender_died(
    server: StoreServer, store: StandaloneStore, way: str, *, coalesce: bool
) -> None:
    """At whichever step."""
    policy = BehindPolicy(flush_after_ms=1, batch=3, coalesce=coalesce, lease_ms=60_000, retry_base_ms=1)
    for step in range(1, STEPS + 1):
        server.oracle().flushall()
        async with asyncio.timeout(10):
            await die_and_be_succeeded(store, server, policy, Fate(step, way))


async def die_and_be_succeeded(store: StandaloneStore, server: StoreServer, policy: BehindPolicy, fate: Fate) -> None:
    """Write, have the sender die, and have another send the rest; look at what was made."""
    ledger = DyingOrigin(fate=fate)
    acknowledged: dict[str, list[bytes]] = {}
    dying = make_rig(DyingStore(store, fate), ledger, policy)
    writer = make_rig(store, ledger, policy)

    async def write(number: int) -> None:
        key, value = f"k{number % 3}", b"%03d" % number
        await writer.values.set(key, value, PLAIN, some_call())
        acknowledged.setdefault(key, []).append(value)

    for number in range(6):
        await write(number)
    dying.behind.start()
    number = 6
    while not fate.reached.is_set():
        await write(number)
        number += 1
        await asyncio.sleep(0.001)
    await write(number)
    await dying.behind.stop()
    if fate.way != "stopped":
        for partition in KeySpace(TENANT).behind(CACHE):
            server.oracle().hdel(partition.owner, "h", "u")  # as if its lease had ended
        server.oracle().delete(KeySpace(TENANT).behind_senders(CACHE))
    successor = Ledger(made=ledger.made, values=ledger.values)
    async with running(store, successor, policy) as rig:
        await rig.settled()
    for key, values in acknowledged.items():
        made = [change.value for change in ledger.made.values() if change.key == key]
        assert values[-1] == ledger.values[key]
        assert sorted(set(filter(None, made))) == made
        if not policy.coalesce:
            assert values == made


@dataclass
class ForgetfulStore(DyingStore):
    """A store that does what it is asked, and of every third request loses the answer."""

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Pass a script on."""
        reply = await self.inner.run(script_call, call)
        self._lose()
        return reply

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Pass commands on; the answers are lost together."""
        replies = await self.inner.call_many(commands, call)
        self._lose()
        return replies

    def _lose(self) -> None:
        self.fate.count += 1
        if self.fate.count % 3 == 0:
            raise outcome_unknown()


async def test_lost_answers_of_the_store_cost_nothing(store: StandaloneStore) -> None:
    """What was taken is asked for again, what was settled is told again; all is made once, in its order."""
    policy = BehindPolicy(flush_after_ms=1, batch=3, coalesce=False, lease_ms=600, store_timeout_ms=200)
    ledger = Ledger()
    rig = make_rig(ForgetfulStore(store, Fate(0, "")), ledger, policy)
    writer = make_rig(store, ledger, policy)
    rig.behind.start()
    for number in range(60):
        await writer.values.set(f"k{number % 4}", b"%03d" % number, PLAIN, some_call())
    await writer.settled()
    await rig.behind.stop()
    made = {key: [change.value for change in ledger.made.values() if change.key == key] for key in ledger.values}
    assert {f"k{n}": [b"%03d" % number for number in range(n, 60, 4)] for n in range(4)} == made
