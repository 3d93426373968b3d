"""A lease that was taken back stays so, whatever was lost or comes late on the way to the store.

A request to a store may be made and its answer lost, or be made much later than whoever sent it has given up on it.
What was read before an invalidation must not be filled in after it, also then.
"""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from sidecar.cache.catalog import build_caches
from sidecar.cache.leases import Leases, LeaseState, Wanted
from sidecar.cache.loads import LoadOutcome
from sidecar.cache.policy import CachePolicy, Limits
from sidecar.cache.write_behind.format import BehindFormat
from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import Reason, SidecarError
from sidecar.store import commands
from sidecar.store.base import Command
from sidecar.store.keys import KeySpace
from sidecar.store.replies import outcome_unknown
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from sidecar.cache.catalog import Caches
    from sidecar.cache.values import ValueCache
    from sidecar.store.base import Reply, ScriptCall, Store
    from sidecar.store.standalone import StandaloneStore

ANSWERED, ANSWER_LOST, LATE = "answered", "answer lost", "late"
FATES = (ANSWERED, ANSWER_LOST, LATE)


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(60.0))


class LossyStore:
    """A store over connections that break: leases end by the fates that it is given, and repeats are sent."""

    def __init__(self, inner: StandaloneStore) -> None:
        self._inner = inner
        self.fates: list[str] = []
        self.late: list[ScriptCall] = []
        """What was sent and not made yet."""
        self.sent = 0

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Send one command, which nothing befalls."""
        return self._inner.call(command, call)

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Any]]:
        """Read, which nothing befalls."""
        return self._inner.get_many(keys, call)

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Run a script; a lease by its fate, and again if it may be repeated."""
        if not script_call.script.name.startswith("lease_"):
            return await self._inner.run(script_call, call)
        while True:
            self.sent += 1
            fate = self.fates.pop(0) if self.fates else ANSWERED
            if fate is LATE:
                self.late.append(script_call)
            else:
                reply = await self._inner.run(script_call, call)
                if fate is ANSWERED:
                    return reply
            if not script_call.repeatable:
                raise outcome_unknown()

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Any]:
        """Send commands; the leases among them one by one."""
        replies = []
        for command in commands:
            try:
                if hasattr(command, "script"):
                    replies.append(await self.run(cast("ScriptCall", command), call))
                else:
                    replies += await self._inner.call_many([command], call)
            except SidecarError as error:
                replies.append(error)
        return replies

    async def catch_up(self) -> None:
        """Make what comes late."""
        late, self.late = self.late, []
        for script_call in late:
            await self._inner.run(script_call, a_call())


def caches_over(store: Store, *, generations: bool) -> Caches:
    """Return a cache `c` over a store."""
    return build_caches(
        [CachePolicy(name="c", ttl_ms=60_000, generations=generations)],
        limits=Limits(),
        store=store,
        keys=KeySpace("lost"),
        clock=StoreClock(),
        sealer_for=lambda _policy: None,
        metrics=Metrics(),
    )


@pytest.mark.parametrize("generations", [False, True])
@pytest.mark.parametrize("many", [False, True])
async def test_no_late_copy_gives_back_a_lease_that_was_voided(
    store: StandaloneStore, *, generations: bool, many: bool
) -> None:
    """Whatever became of two attempts to ask, and whenever what is late is made."""
    lossy = LossyStore(store)
    caches = caches_over(lossy, generations=generations)
    loads, invalidation = caches.loads("c"), caches.invalidation("c")
    granted = 0
    for number, (fates, comes) in enumerate(itertools.product(itertools.product(FATES, FATES), ("before", "after"))):
        key = f"k{number}"
        lossy.fates, lossy.sent = list(fates), 0
        try:
            if many:
                loaded = (await loads.get_or_load_many([key], 0, a_call(), waiting=nullcontext))[0]
            else:
                loaded = await loads.get_or_load(key, 0, a_call(), waiting=nullcontext)
        except SidecarError as error:
            loaded = error
        if isinstance(loaded, SidecarError):
            assert (fates, Reason.OUTCOME_UNKNOWN) == (fates, loaded.reason)
            lossy.fates = []
            await lossy.catch_up()
            continue
        assert (fates, LoadOutcome.LEASE) == (fates, loaded.outcome)
        granted += 1
        if comes == "before":
            await lossy.catch_up()
        await invalidation.by_keys([key], a_call())
        await lossy.catch_up()
        with pytest.raises(SidecarError) as refused:
            await loads.fill(key, loaded.token, b"read before", None, a_call())
        assert (fates, comes, Reason.LEASE_UNKNOWN) == (fates, comes, refused.value.reason)
    assert granted >= 2 * len(FATES)  # one lost attempt is made good


@pytest.mark.parametrize("generations", [False, True])
async def test_asking_costs_one_request_and_a_lost_one_another(store: StandaloneStore, *, generations: bool) -> None:
    """Who has asked in vain has the lease that was given to nobody, and may fill."""
    lossy = LossyStore(store)
    loads = caches_over(lossy, generations=generations).loads("c")
    for number, (fate, requests) in enumerate([(ANSWERED, 1), (ANSWER_LOST, 2), (LATE, 2)]):
        lossy.fates, lossy.sent = [fate], 0
        loaded = await loads.get_or_load(f"f{number}", 0, a_call(), waiting=nullcontext)
        assert (fate, LoadOutcome.LEASE, requests) == (fate, loaded.outcome, lossy.sent)
        await lossy.catch_up()
        await loads.fill(f"f{number}", loaded.token, b"v", None, a_call())


async def test_nobody_takes_over_the_lease_of_another(store: StandaloneStore) -> None:
    """Also not who asks a second time, since the answer to the first was lost."""
    lossy = LossyStore(store)
    loads = caches_over(lossy, generations=False).loads("c")
    first = await loads.get_or_load("k", 0, a_call(), waiting=nullcontext)
    lossy.fates = [ANSWER_LOST]
    second = await loads.get_or_load("k", 0, a_call(), waiting=nullcontext)
    assert (LoadOutcome.LEASE, LoadOutcome.WAIT) == (first.outcome, second.outcome)
    await loads.fill("k", first.token, b"v", None, a_call())


@pytest.mark.parametrize("fate", FATES)
async def test_so_it_is_in_a_write_behind_cache(store: StandaloneStore, fate: str) -> None:
    """A lease of a cache with changes beside its entries is as any other."""
    lossy = LossyStore(store)
    policy = CachePolicy(name="c", ttl_ms=60_000, behind=BehindPolicy())
    native = BehindFormat(policy, BehindPolicy(), KeySpace("lost"), Limits().max_unpacked_bytes)
    leases = Leases(policy, lossy, cast("ValueCache", SimpleNamespace(dating=None)), native)
    lossy.fates = [fate]
    (asked,) = await leases.ask([Wanted(b"k")], a_call())
    assert not isinstance(asked, SidecarError)
    assert asked.state is LeaseState.GRANTED
    load_key = native.load_key(b"k")
    assert asked.token.encode() == await store.call(commands.get(load_key), a_call())
    await store.call(Command(("DEL", load_key), repeatable=False), a_call())
    await lossy.catch_up()
    assert asked.token.encode() != await store.call(commands.get(load_key), a_call())
