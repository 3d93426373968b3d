"""Features that know nothing of each other, used together and in any order, on a real store, against a model.

Each has tests of its own; here they meet: records, values, tags, generations, compression, copies in the process, loads
and events in one cache, whose policy changes while its entries stay; write-through with copies, tags, warming and the
bound on calls; write-behind whose policy changes while changes wait. `SIDECAR_LONG=1` tries twenty times as many.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.counting_origin import CountingOrigin
from support.write_behind import PLAIN, QUICK, Ledger, make_rig, some_call

from sidecar.cache.catalog import Caches, NearStore, build_caches
from sidecar.cache.loads import LoadOutcome
from sidecar.cache.near.policy import Freshness, NearPolicy
from sidecar.cache.policy import CachePolicy, Limits, Outcome, Strategy
from sidecar.cache.request import WriteOptions
from sidecar.call import Call
from sidecar.clock import NEVER, StoreClock, after
from sidecar.errors import Reason, SidecarError
from sidecar.events.counters import EventCounters, EventMetrics
from sidecar.events.handling import EventPolicy, Handling
from sidecar.events.rules import Effect, Reach
from sidecar.interceptors.admission import AdmissionPolicy
from sidecar.interceptors.shedding import Admission
from sidecar.store.address import StoreAddress
from sidecar.store.keys import KeySpace
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.store.tracking import Tracking
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from support.servers import StoreServer

MORE = 20 if "SIDECAR_LONG" in os.environ else 1
KEYS = ("a", "b", "c")
RECORDS = ("r", "s")
TAGS = ("t", "u")
# Long and short, and some that become short only by compression.
VALUES = (b"", b"v", b"text " * 100, bytes(range(256)) * 2)
NOW = Freshness(max_staleness=0.0)
NEAR = NearPolicy(hot_only=False)
_tenants = itertools.count()


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(60.0))


class World(NamedTuple):
    """A store, and what two processes hear of it."""

    store: StandaloneStore
    nears: tuple[NearStore, NearStore]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Return one event loop for all examples."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def world(server: StoreServer, runner: asyncio.Runner) -> Iterator[World]:
    """Return connections to a store."""
    stack = AsyncExitStack()

    async def open_all() -> World:
        address = StoreAddress(host="127.0.0.1", port=server.port)
        pool = Pool(address, PoolPolicy(connections=1), PoolCounters(Metrics()))
        pool.start()
        stack.push_async_callback(pool.close)
        nears = []
        for _ in range(2):
            tracking = Tracking(address, PoolPolicy(), interval=0.02)
            tracking.start()
            stack.push_async_callback(tracking.close)
            nears.append(NearStore(tracking, StandaloneStore(tracking), 1 << 20))
        async with asyncio.timeout(20):
            while not all(near.tracking.confirmed_us for near in nears):
                await asyncio.sleep(0.001)
        return World(StandaloneStore(pool), (nears[0], nears[1]))

    yield runner.run(open_all())
    runner.run(stack.aclose())


def deployed(world: World, tenant: str, policy: CachePolicy, **more: Any) -> list[Caches]:
    """Return the caches of two processes that have a cache of this policy."""
    return [
        build_caches(
            [policy],
            limits=Limits(),
            store=world.store,
            keys=KeySpace(tenant),
            clock=StoreClock(),
            sealer_for=lambda _policy: None,
            metrics=Metrics(),
            near=near if policy.near is not None else None,
            **more,
        )
        for near in world.nears
    ]


def of_each(runner: asyncio.Runner, steps: Any, examples: int, run: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Run something with drawn steps, in one loop."""

    @settings(
        max_examples=examples * MORE,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # The same steps each time, but where there is time for others: see MORE.
        derandomize=MORE == 1,
    )
    @given(steps)
    def holds(drawn: Any) -> None:
        runner.run(run(drawn))

    holds()


# --- one cache, whose policy changes ---

POLICIES: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    compress_above_bytes=st.sampled_from([None, 64]),
    tags=st.booleans(),
    generations=st.booleans(),
    near=st.sampled_from([None, NEAR]),
)
PROCESSES = st.integers(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"),
            PROCESSES,
            st.sampled_from(KEYS),
            st.sampled_from(VALUES),
            st.sampled_from([(), *[(t,) for t in TAGS], TAGS]),
        ),
        st.tuples(st.just("delete"), PROCESSES, st.sampled_from(KEYS)),
        st.tuples(st.just("record"), PROCESSES, st.sampled_from(RECORDS), st.sampled_from(VALUES)),
        st.tuples(st.just("keys"), PROCESSES, st.sets(st.sampled_from(KEYS + RECORDS), min_size=1)),
        st.tuples(st.just("tag"), PROCESSES, st.sampled_from(TAGS)),
        st.tuples(st.just("whole"), PROCESSES),
        st.tuples(st.just("lease"), PROCESSES, st.sampled_from(KEYS)),
        st.tuples(st.just("fill"), PROCESSES, st.sampled_from(VALUES), st.sampled_from([(), ("t",)])),
        st.tuples(st.just("late"), PROCESSES, st.sampled_from(VALUES)),
        st.tuples(st.just("read"), PROCESSES),
        st.tuples(st.just("redeploy"), POLICIES),
    ),
    min_size=4,
    max_size=24,
)


class Known(NamedTuple):
    """What the model knows of a key."""

    value: bytes | None
    sure: bool
    """Whether it must be there."""
    tags: frozenset[str] = frozenset()


NOTHING = Known(None, sure=False)
_NOBODY = -1


class OneCache:
    """A cache, and what must be in it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tenant = f"crossed-{next(_tenants)}"
        self.known: dict[str, Known] = dict.fromkeys((*KEYS, *RECORDS), NOTHING)
        self.leases: list[tuple[str, str]] = []
        """Keys and tokens that may still be filled."""
        self.voided: list[tuple[str, str]] = []
        """Those that may not be any more."""
        self.changed_by: dict[str, int] = {}
        self.found = 0
        self.policy = CachePolicy(name="c", ttl_ms=600_000)
        self.caches = deployed(world, self._tenant, self.policy)

    async def redeploy(self, policy: dict[str, Any]) -> None:
        """Have all processes end, and begin with another policy. What was sure to be there may be out of date now.

        Where generations end the cache gets another name, as docs/configuration.md says.
        """
        if self.policy.generations and not policy["generations"]:
            self._tenant = f"crossed-{next(_tenants)}"
            self.known = dict.fromkeys(self.known, NOTHING)
        self.policy = CachePolicy(name="c", ttl_ms=600_000, **policy)
        self.caches = deployed(self._world, self._tenant, self.policy)
        self.known = {key: known._replace(sure=False) for key, known in self.known.items()}
        self.leases.clear()
        self.changed_by.clear()

    async def set(self, process: int, key: str, value: bytes, tags: tuple[str, ...]) -> None:
        """Write a value."""
        tags = tags if self.policy.tags else ()
        await self.caches[process].values("c").set(key, value, WriteOptions(tags=tags), a_call())
        self._now(key, Known(value, sure=True, tags=frozenset(tags)))
        self.changed_by[key] = process
        assert (await self.caches[process].values("c").get(key, a_call())).value == value

    async def delete(self, process: int, key: str) -> None:
        """Remove a value."""
        await self.caches[process].values("c").delete(key, WriteOptions(), a_call())
        self._now(key, NOTHING)
        self.changed_by[key] = process
        assert (await self.caches[process].values("c").get(key, a_call())).outcome is Outcome.MISS

    async def record(self, process: int, key: str, value: bytes) -> None:
        """Write a record, where there are any."""
        if not self.policy.dated:
            await self.caches[process].records("c").put(key, {"f": value}, WriteOptions(), a_call())
            self._now(key, Known(value, sure=True))

    async def keys(self, process: int, keys: Iterable[str]) -> None:
        """Have an event invalidate keys."""
        # A cache with tags or generations has no records, and leaves what there are of another policy alone.
        keys = set(keys).difference(RECORDS if self.policy.dated else ())
        if keys:
            await self._event(process, Effect("c", Reach.KEYS, tuple(sorted(keys))))
        for key in keys:
            self._now(key, NOTHING)
            self.changed_by[key] = process

    async def tag(self, process: int, tag: str) -> None:
        """Have an event invalidate a tag."""
        if self.policy.tags:
            await self._event(process, Effect("c", Reach.TAGS, (tag,)))
            for key, known in self.known.items():
                if tag in known.tags:
                    self._now(key, NOTHING)
                    self.changed_by[key] = _NOBODY
            # What is to be loaded may be filled under another tag.

    async def whole(self, process: int) -> None:
        """Have an event invalidate all."""
        if self.policy.generations:
            await self._event(process, Effect("c", Reach.ALL))
            for key in KEYS:
                self._now(key, NOTHING)
                self.changed_by[key] = _NOBODY

    async def _event(self, process: int, effect: Effect) -> None:
        invalidation = self.caches[process].invalidation("c")

        async def invalidate(one: Effect) -> None:
            if one.reach is Reach.KEYS:
                await invalidation.by_keys(list(one.values), a_call())
            elif one.reach is Reach.TAGS:
                await invalidation.by_tags(list(one.values), a_call())
            else:
                await invalidation.whole(a_call())

        counters = EventCounters(EventMetrics(Metrics()), "e")
        handling = Handling(EventPolicy(name="e", rules=(), gap_caches=(), whole_caches=("c",)), invalidate, counters)
        async with asyncio.timeout(30):
            await handling.carry_out([effect])
        assert (0, 0) == (counters.unfit.value, counters.lost.value)

    async def lease(self, process: int, key: str) -> None:
        """Ask for the leave to load a value."""
        loaded = await self.caches[process].loads("c").get_or_load(key, 0, a_call(), waiting=nullcontext)
        if loaded.outcome is LoadOutcome.LEASE:
            assert not self.known[key].sure
            self._now(key, NOTHING)
            self.leases.append((key, loaded.token))
        elif loaded.outcome is LoadOutcome.HIT and self.changed_by.get(key, process) == process:
            # Of what another has changed there may still be a copy.
            self._check(key, loaded.lookup.value)

    async def fill(self, process: int, value: bytes, tags: tuple[str, ...]) -> None:
        """Fill what was to be loaded last; it is not refused if nothing has happened to it since."""
        if self.leases:
            key, token = self.leases.pop()
            tags = tags if self.policy.tags else ()
            loads = self.caches[process].loads("c")
            try:
                await loads.fill(key, token, value, None, a_call(), tags=tags)
            except SidecarError as error:
                # By a tag it may have been invalidated without the model's knowing that it was to have it.
                assert Reason.LEASE_UNKNOWN is error.reason  # noqa: PT017 (either end is right)
                assert tags
            else:
                self._now(key, Known(value, sure=True, tags=frozenset(tags)))
                self.changed_by[key] = _NOBODY

    async def late(self, process: int, value: bytes) -> None:
        """Fill what was to be loaded before it was changed, which is refused."""
        if self.voided:
            key, token = self.voided.pop(0)
            with pytest.raises(SidecarError) as refused:
                await self.caches[process].loads("c").fill(key, token, value, None, a_call())
            # The token of another policy may have another form.
            assert refused.value.reason in {Reason.LEASE_UNKNOWN, Reason.TOKEN_MALFORMED}

    async def read(self, process: int) -> None:
        """Read all there is: one by one, together, and records; and what copies there are of what was changed here."""
        caches = self.caches[process]
        found = [await caches.values("c").get(key, a_call(), NOW) for key in KEYS]
        for key, one in zip(KEYS, found, strict=True):
            self._check(key, one.value if one.outcome is Outcome.HIT else None)
        many = await caches.values("c").get_many(list(KEYS), a_call(), NOW)
        assert [one[:2] for one in found] == [tuple(one)[:2] for one in many if not isinstance(one, SidecarError)]
        for key in KEYS:
            near = await caches.values("c").get(key, a_call())
            if self.changed_by.get(key, process) == process:
                self._check(key, near.value if near.outcome is Outcome.HIT else None)
        if not self.policy.dated:
            for key in RECORDS:
                fields = (await caches.records("c").get(key, (), a_call())).fields
                self._check(key, fields["f"] if fields else None)

    def _check(self, key: str, value: Any) -> None:
        known = self.known[key]
        assert value == known.value if known.sure else value in {None, known.value}, (key, value, known)
        self.found += value is not None

    def _now(self, key: str, known: Known) -> None:
        self.known[key] = known
        self.voided += [lease for lease in self.leases if lease[0] == key]
        self.leases = [lease for lease in self.leases if lease[0] != key]


def test_a_cache_serves_nothing_that_was_replaced_or_invalidated(world: World, runner: asyncio.Runner) -> None:
    """Through whatever policy it was written, by whatever process, and by whatever way it was invalidated."""
    found = 0

    async def run(steps: list[tuple[Any, ...]]) -> None:
        nonlocal found
        cache = OneCache(world)
        for what, *words in steps:
            await getattr(cache, what)(*words)
        for process in (0, 1):
            await cache.read(process)
        found += cache.found

    of_each(runner, STEPS, 400, run)
    assert found > 300


# --- write-through, with copies, tags, warming and the bound on calls ---

THROUGH_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"), PROCESSES, st.sampled_from(KEYS), st.sampled_from(VALUES), st.sampled_from([(), ("t",)])
        ),
        st.tuples(st.just("delete"), PROCESSES, st.sampled_from(KEYS)),
        st.tuples(st.just("outside"), PROCESSES, st.sampled_from(KEYS), st.sampled_from(VALUES), st.booleans()),
        st.tuples(st.just("warm"), PROCESSES),
        st.tuples(st.just("read"), PROCESSES),
    ),
    min_size=4,
    max_size=16,
)


class ThroughCache:
    """A write-through cache of two processes, and its origin."""

    def __init__(self, world: World) -> None:
        self.origin = CountingOrigin()
        self.admission = Admission(AdmissionPolicy(most=2))
        self.tagged: set[str] = set()
        policy = CachePolicy(
            name="c", ttl_ms=600_000, strategy=Strategy.WRITE_THROUGH, tags=True, near=NEAR, compress_above_bytes=64
        )
        self.caches = deployed(
            world, f"crossed-{next(_tenants)}", policy, origins={"c": self.origin}, pause=self.admission.pause
        )

    async def called(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something as a call that was let in."""
        entered = self.admission.enter(NEVER)
        try:
            return await work()
        finally:
            self.admission.leave(entered, NEVER)

    async def set(self, process: int, key: str, value: bytes, tags: tuple[str, ...]) -> None:
        """Write a value."""
        cache = self.caches[process].values("c")
        await self.called(lambda: cache.set(key, value, WriteOptions(tags=tags), a_call()))
        (self.tagged.add if tags else self.tagged.discard)(key)
        assert (value, value) == (self.origin.values[key], (await cache.get(key, a_call())).value)

    async def delete(self, process: int, key: str) -> None:
        """Remove a value."""
        cache = self.caches[process].values("c")
        await self.called(lambda: cache.delete(key, WriteOptions(), a_call()))
        self.tagged.discard(key)
        assert (await cache.get(key, a_call())).outcome is Outcome.MISS

    async def outside(self, process: int, key: str, value: bytes, by_tag: bool) -> None:  # noqa: FBT001 (drawn)
        """Have somebody else change the origin, and say so."""
        self.origin.values[key] = value
        invalidation = self.caches[process].invalidation("c")
        if by_tag and key in self.tagged:
            await invalidation.by_tags(["t"], a_call())
        else:
            await invalidation.by_keys([key], a_call())
        # What is loaded next has the tags that the origin gives it, which are none.
        self.tagged.discard(key)

    async def warm(self, process: int) -> None:
        """Load all. It takes no call's place, and makes none; afterwards nothing is left to load."""
        self.origin.hold()

        async def all_loaded() -> None:
            async for _ in self.caches[process].warming("c").warm(KEYS, 10_000.0):
                await asyncio.sleep(0)

        warming = asyncio.create_task(all_loaded())
        asked = asyncio.create_task(self.origin.asked.wait())
        await asyncio.wait((warming, asked), return_when=asyncio.FIRST_COMPLETED, timeout=30)
        entered = [self.admission.enter(NEVER) for _ in range(2)]
        with pytest.raises(SidecarError) as refused:
            self.admission.enter(NEVER)
        assert refused.value.reason is Reason.OVERLOADED
        for one in entered:
            self.admission.leave(one, NEVER)
        asked.cancel()
        self.origin.let_go()
        await warming
        self.origin.loads.clear()
        await self.read(process)
        assert not [key for keys in self.origin.loads for key in keys if key in self.origin.values]

    async def read(self, process: int) -> None:
        """Read all: it is what the origin has."""
        cache = self.caches[process].values("c")
        for key in KEYS:
            found = await self.called(lambda key=key: cache.get(key, a_call(), NOW))  # type: ignore[misc]
            value = None if found.outcome is Outcome.MISS else found.value
            assert (key, self.origin.values.get(key)) == (key, value)


def test_a_write_through_cache_is_what_its_origin_is(world: World, runner: asyncio.Runner) -> None:
    """Whoever writes where, with copies in two processes, whatever was loaded ahead."""

    async def run(steps: list[tuple[Any, ...]]) -> None:
        cache = ThroughCache(world)
        for what, *words in steps:
            await getattr(cache, what)(*words)
        for process in (0, 1):
            await cache.read(process)
            await cache.caches[process].drain(1.0)

    of_each(runner, THROUGH_STEPS, 150, run)


# --- write-behind, whose policy changes while changes wait ---

BEHIND_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(KEYS), st.sampled_from([*VALUES, None])),
        st.tuples(st.just("forget"), st.sampled_from(KEYS)),
        st.tuples(st.just("redeploy"), st.booleans(), st.sampled_from([None, 64])),
        st.tuples(st.just("send")),
    ),
    min_size=4,
    max_size=20,
)


class LaterCache:
    """A write-behind cache, its origin, and what was written."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._head = f"{next(_tenants)}:"
        self._written: dict[str, list[bytes | None]] = {}
        self.ledger = Ledger()
        self.redeploy(coalesce=True, compress=None)

    def redeploy(self, *, coalesce: bool, compress: int | None) -> None:
        """Have the process end, and begin with another policy."""
        behind = replace(QUICK, flush_after_ms=1, lease_ms=500, store_timeout_ms=200, coalesce=coalesce)
        self._rig = make_rig(self._world.store, self.ledger, behind, compress_above_bytes=compress)

    async def change(self, key: str, value: bytes | None) -> None:
        """Write or remove a value."""
        key = self._head + key
        if value is None:
            await self._rig.values.delete(key, PLAIN, some_call())
        else:
            await self._rig.values.set(key, value, PLAIN, some_call())
        self._written.setdefault(key, []).append(value)
        await self._check(key)

    async def forget(self, key: str) -> None:
        """Have the entry invalidated; what is pending answers for it."""
        key = self._head + key
        await self._rig.values.forget_many([key], some_call())
        if self.ledger.values.get(key) != self._last(key):
            await self._check(key)

    async def send(self) -> None:
        """Have all changes sent."""
        self._rig.behind.start()
        await self._rig.settled()
        await self._rig.behind.stop()

    async def _check(self, key: str) -> None:
        found = await self._rig.values.get(key, some_call())
        assert self._last(key) == (found.value if found.outcome is Outcome.HIT else None)

    def _last(self, key: str) -> bytes | None:
        return self._written.get(key, [None])[-1]

    def ended(self) -> None:
        """Compare the origin with what was written."""
        told = self.ledger.told
        assert len({change.token for change in told}) == len(told) == len(self.ledger.made)
        for key, written in self._written.items():
            assert (key, written[-1]) == (key, self.ledger.values.get(key))
            # What has reached the origin is some of what was written, in its order.
            rest = iter(written)
            assert all(change.value in rest for change in told if change.key == key)


def test_the_origin_has_in_the_end_what_was_written_last(world: World, runner: asyncio.Runner) -> None:
    """And each read what was written last, though the cache begins and ceases to coalesce and compress meanwhile."""

    async def run(steps: list[tuple[Any, ...]]) -> None:
        cache = LaterCache(world)
        for what, *words in steps:
            if what == "redeploy":
                cache.redeploy(coalesce=words[0], compress=words[1])
            else:
                await getattr(cache, what)(*words)
        await cache.send()
        cache.ended()

    of_each(runner, BEHIND_STEPS, 15, run)
