"""The scripts of write-behind against their model: equal step by step, in what they answer and in what is read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.behind_model import PartitionModel, Waiting
from support.write_behind import CACHE, PLAIN, TENANT, Ledger, make_rig, some_call

from sidecar.cache.policy import Outcome
from sidecar.cache.values import NewValue
from sidecar.cache.write_behind.partitions import Ask, Got
from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.cache.write_behind.schedule import Settled, Verdict
from sidecar.errors import Reason, SidecarError
from sidecar.store.address import StoreAddress
from sidecar.store.keys import BEHIND_PARTITIONS, KeySpace, behind_partition
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.servers import StoreServer
    from support.write_behind import Rig

    from sidecar.cache.write_behind.changes import Taken

MOST = 5
PARTITION = 3
# Of one partition, since that is what the model is of.
NAMES = [name for number in range(200) if behind_partition((name := f"k{number}").encode()) == PARTITION][:4]
SENDING = ("take", "stored", "dead", "retry", "replay", "force")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["set", "delete", "forget", "read"]), st.sampled_from(NAMES), st.integers(0, 9)),
        st.tuples(
            st.sampled_from(["take", "stored", "dead", "retry", "replay", "force"]), st.just(""), st.integers(0, 3)
        ),
    ),
    max_size=60,
)


@asynccontextmanager
async def connected(server: StoreServer) -> AsyncIterator[StandaloneStore]:
    """Return a store over an emptied server."""
    server.oracle().flushall()
    pool = Pool(
        StoreAddress(host="127.0.0.1", port=server.port),
        PoolPolicy(connections=1, reply_timeout=30.0, connect_timeout=30.0, unavailable_grace=30.0),
        PoolCounters(Metrics()),
    )
    pool.start()
    yield StandaloneStore(pool)
    await pool.close()


class Pair:
    """A partition and its model, taken through the same steps."""

    def __init__(self, rig: Rig, fence: bytes, *, coalesces: bool) -> None:
        self.rig = rig
        self.fence = fence
        self.model = PartitionModel(coalesces, MOST)
        self.ids: dict[int, str] = {}
        """The ids of the model's numbers, as far as they are known."""
        self.under_way: list[tuple[Taken, Waiting]] = []

    async def step(self, kind: str, name: str, number: int) -> None:
        """Do one thing to both, and compare."""
        if kind in {"set", "delete"}:
            await self.write(name, b"%d" % number if kind == "set" else None)
        elif kind == "forget":
            await self.rig.values.forget_many([name], some_call())
            self.model.cached.pop(name.encode(), None)
        elif kind == "read":
            found = await self.rig.values.get(name, some_call())
            value = None if found.outcome is Outcome.MISS else found.value
            assert self.model.read(name.encode()) == value
        elif kind == "take":
            await self.take(number)
        elif kind in {"replay", "force"}:
            await self.replay(number, forced=kind == "force")
        elif self.under_way:
            taken, waiting = self.under_way[number % len(self.under_way)]
            await self.settle(taken, waiting, {"stored": "+", "dead": "x", "retry": "~"}[kind])

    async def write(self, name: str, value: bytes | None) -> None:
        """Set or delete."""
        fits = self.model.write(name.encode(), value)
        if value is None:
            (done,) = await self.rig.values.delete_many([name], PLAIN, some_call())
        else:
            (done,) = await self.rig.values.set_many([NewValue(name, value, PLAIN)], some_call())
        reason = done.reason if isinstance(done, SidecarError) else None
        assert (None if fits else Reason.WRITE_BEHIND_FULL) is reason

    async def take(self, most: int) -> None:
        """Take from both."""
        ask = Ask(PARTITION, self.fence, most, "", anew=False)
        (got,) = await self.rig.cache.partitions.take([ask], some_call())
        assert isinstance(got, Got)
        took = self.model.take(most)
        values = []
        for taken in got.taken:
            change = await self.rig.reader.read(taken.name, taken.id, taken.change, some_call())
            values.append((taken.name, change.value))
        assert [(one.name, one.value) for one in took] == values
        self.under_way += zip(got.taken, took, strict=True)
        for taken, one in zip(got.taken, took, strict=True):
            assert self.ids.setdefault(one.number, taken.id) == taken.id

    async def settle(self, taken: Taken, waiting: Waiting, mark: str) -> None:
        """Say what came of a change."""
        verdict = Verdict(mark)
        settled = [Settled(taken, verdict, "WHY")]
        assert await self.rig.cache.partitions.settle(PARTITION, self.fence, settled, some_call())
        if verdict is not Verdict.RETRY:
            self.under_way.remove((taken, waiting))
            self.model.settle(waiting, stored=verdict is Verdict.STORED)

    async def replay(self, number: int, *, forced: bool) -> None:
        """Replay one of the dead letters, if there are any."""
        letters = self.rig.cache.dead_letters
        listed = (await letters.page("", 100, 1_000_000, some_call())).letters
        assert [(one.name, one.value) for one in self.model.dead] == [
            (letter.key.encode(), letter.value) for letter in listed
        ]
        if listed:
            place = number % len(listed)
            done = await letters.replay([listed[place].id], some_call(), forced=forced)
            assert int(self.model.replay(self.model.dead[place], forced=forced)) == done.replayed

    async def compare(self) -> None:
        """Compare what is left."""
        standing = (await self.rig.cache.partitions.look(some_call()))[PARTITION]
        model = self.model
        assert (len(model.waiting), len(model.taken), len(model.dead)) == (
            standing.waiting,
            standing.taken,
            standing.dead,
        )
        for name in NAMES:
            await self.step("read", name, 0)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, coalesces=st.booleans())
def test_scripts_do_as_the_model_says(
    kept_server: StoreServer, *, steps: list[tuple[str, str, int]], coalesces: bool
) -> None:
    """Whatever is written, taken, settled and replayed, in whatever order."""

    async def run() -> None:
        async with connected(kept_server) as store:
            policy = BehindPolicy(max_pending=MOST * BEHIND_PARTITIONS, coalesce=coalesces)
            rig = make_rig(store, Ledger(), policy)
            fences = (await rig.cache.partitions.hold("test", 60_000, some_call(), [PARTITION])).fences
            pair = Pair(rig, fences[PARTITION], coalesces=coalesces)
            for kind, name, number in steps:
                await pair.step(kind, name, number)
            await pair.compare()

    asyncio.run(run())


def test_names_are_in_one_partition() -> None:
    """And so are their keys in one slot."""
    keys = KeySpace(TENANT).behind(CACHE)[PARTITION]
    assert {PARTITION} == {behind_partition(name.encode()) for name in NAMES}
    assert 1 == len({key.split(b"{")[1].split(b"}")[0] for key in keys})
