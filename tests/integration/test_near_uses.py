"""What the near cache tells a real store of what copies answer, and how much of the store it takes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import StoreServer

from sidecar.cache.near.copies import Copy
from sidecar.cache.near.sieve import Sieve
from sidecar.cache.near.store_share import Part, StoreShare
from sidecar.cache.near.uses import Uses
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sidecar.store.standalone import StandaloneStore

NAMES = [b"key-%d" % number for number in range(300)]
# A new key has a frequency of 5, and each read counts.
NEW = 5
INTERVAL = 0.05


@pytest.fixture
def server(store_kind: str, tmp_path: Path) -> Iterator[StoreServer]:
    """Return a server whose frequencies are the numbers of reads."""
    made = StoreServer(store_kind, tmp_path, ["--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0"])
    made.start()
    oracle: Any = made.oracle()
    oracle.mset(dict.fromkeys(NAMES, b"value"))
    yield made
    made.stop()


class Near:
    """Copies of some keys, as a near cache has them."""

    def __init__(self, store: StandaloneStore) -> None:
        self.sieve: Sieve[Copy] = Sieve(1 << 30)
        for name in NAMES:
            self.sieve.put(name, Copy(0, 0, 0, b"value", 0), 5)
        self.share = StoreShare(store)
        self.metrics = Metrics()
        self.uses = Uses(self.sieve.items, store=store, share=self.share, metrics=self.metrics, interval=INTERVAL)

    def use(self, *names: bytes) -> None:
        """Use copies, as a hit does."""
        for name in names:
            item = self.sieve.items[name]
            if not item.noted:
                self.uses.note(item)

    @property
    def told(self) -> int:
        """How many keys the store was told."""
        counter: Any = self.metrics.families["sidecar_l1_touched"]
        return int(counter.cell().value)

    async def until_told(self, count: int) -> None:
        """Wait until so many keys were told."""
        async with asyncio.timeout(30):
            while self.told < count:
                await asyncio.sleep(0.001)


async def test_a_key_counts_once_however_often_it_was_used(store: StandaloneStore, server: StoreServer) -> None:
    """In one interval; in the next it counts again. What was not used does not count."""
    near, oracle = Near(store), server.oracle()
    for _ in range(1_000):
        near.use(NAMES[0])
    await near.until_told(1)
    assert NEW + 1 == oracle.object("FREQ", NAMES[0])
    near.use(NAMES[0])
    await near.until_told(2)
    assert [NEW + 2, NEW] == [oracle.object("FREQ", name) for name in NAMES[:2]]


async def test_all_that_were_used_are_named_in_few_commands(store: StandaloneStore, server: StoreServer) -> None:
    """Three, for three hundred."""
    near, oracle = Near(store), server.oracle()
    near.use(*NAMES)
    await near.until_told(len(NAMES))
    assert {NEW + 1} == {oracle.object("FREQ", name) for name in NAMES}
    assert 3 == oracle.info("commandstats")["cmdstat_touch"]["calls"]


async def test_no_more_are_named_than_its_part_allows(store: StandaloneStore) -> None:
    """Those that come first; the others' next use in another interval is noted."""
    near = Near(store)
    near.share.part = Part(touches=100)
    near.use(*NAMES)
    assert [True] * 100 + [False] * 200 == [near.sieve.items[name].noted for name in NAMES]
    assert all(near.sieve.items[name].marked for name in NAMES)
    await near.until_told(100)
    assert not any(near.sieve.items[name].noted for name in NAMES)
    near.use(*reversed(NAMES))
    assert near.sieve.items[NAMES[-1]].noted


async def test_what_is_given_up_meanwhile_is_no_matter(store: StandaloneStore) -> None:
    """Its key is named all the same: it was used."""
    near = Near(store)
    near.use(NAMES[0])
    near.sieve.drop(NAMES[0])
    await near.until_told(1)


async def test_a_store_that_refuses_is_named_in_the_log_once(
    store: StandaloneStore, server: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And asked again, so that a change of its ACL is enough."""
    near, oracle = Near(store), server.oracle()
    oracle.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-touch"])
    with caplog.at_level(logging.WARNING, "sidecar.cache"):
        for _ in range(2):
            near.use(*NAMES)
            async with asyncio.timeout(30):
                while near.sieve.items[NAMES[-1]].noted:
                    await asyncio.sleep(0.001)
    assert 1 == caplog.text.count("the store does not hear what copies answer")
    oracle.acl_setuser("default", commands=["+touch"])
    near.use(*NAMES)
    await near.until_told(len(NAMES))


async def test_a_store_that_is_gone_costs_nothing_but_the_news(store: StandaloneStore, server: StoreServer) -> None:
    """When it is back it is told what is used then."""
    near = Near(store)
    server.kill()
    near.use(*NAMES)
    async with asyncio.timeout(30):
        while any(near.sieve.items[name].noted for name in NAMES):
            await asyncio.sleep(0.001)
    assert 0 == near.told
    server.start()
    async with asyncio.timeout(30):
        while not near.told:
            near.use(NAMES[0])
            await asyncio.sleep(0.01)


async def test_its_part_is_that_of_one_of_all_that_have_copies(store: StandaloneStore, server: StoreServer) -> None:
    """The store says how many these are, and how much memory there is."""
    tracked: list[Any] = [server.oracle() for _ in range(3)]
    for client in tracked:
        client.execute_command("CLIENT", "TRACKING", "ON")
    server.oracle().config_set("maxmemory", 1 << 30)
    share = StoreShare(store)
    before = share.part
    share.renew()
    async with asyncio.timeout(30):
        while share.part == before:
            await asyncio.sleep(0.001)
    assert Part(int((1 << 30) * 0.02) // 130 // 3, touches=16384 // 3) == share.part
