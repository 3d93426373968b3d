"""Hot keys as processes tell them by a real store."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from support.through_caches import a_call

from sidecar.cache.hot_sets import HotSets
from sidecar.cache.near.policy import NearPolicy
from sidecar.cache.policy import CachePolicy, DataClass
from sidecar.cache.warm_list import Listed
from sidecar.errors import Reason, SidecarError
from sidecar.store import commands
from sidecar.store.keys import KeySpace

if TYPE_CHECKING:
    from sidecar.cache.catalog import Caches
    from sidecar.store.standalone import StandaloneStore


class Counting:
    """The caches of a process that has counted so much: `hot` is one with copies, `plain` and `phi` are not told of."""

    def __init__(self, **reads: int) -> None:
        self.reads = reads

    def values(self, _cache: str) -> Counting:
        """Return what counts."""
        return self

    def hot_keys(self, count: int) -> list[tuple[str, int]]:
        """Return the keys that are read most."""
        return sorted(self.reads.items(), key=lambda one: -one[1])[:count]

    def inspection(self, cache: str) -> Counting:
        """Return what has the policy of a cache."""
        near = None if cache == "plain" else NearPolicy()
        data_class = DataClass.PHI if cache == "phi" else DataClass.INTERNAL
        self.policy = CachePolicy(name=cache, ttl_ms=1, near=near, data_class=data_class)
        return self


def process(store: StandaloneStore, counting: Counting) -> HotSets:
    """Return what a process tells of the cache `hot`."""
    return HotSets(["hot"], caches=cast("Caches", counting), store=store, keys=KeySpace("test"))


async def test_all_processes_are_added_up(store: StandaloneStore) -> None:
    """Those that are asked nothing are none of them; what this one has told counts once."""
    for counting in (Counting(a=5, b=4), Counting(b=4, c=1), Counting()):
        await process(store, counting).tell()
    own = process(store, Counting(c=9))
    await own.tell()
    assert Listed(["c", "b", "a"], processes=3) == await own.hottest("hot", 9)
    assert Listed(["c", "b"], cut=True, processes=3) == await own.hottest("hot", 2)


async def test_what_a_process_told_last_outlives_it(store: StandaloneStore) -> None:
    """One that has just started knows what those before it were asked for."""
    before = process(store, Counting(a=5))
    before.start()
    await before.stop()
    assert Listed(["a"], processes=1) == await process(store, Counting()).hottest("hot", 9)


async def test_only_what_has_changed_is_written(store: StandaloneStore) -> None:
    """A process that is asked nothing more writes nothing more, and what it told ends in its time."""
    counting = Counting(a=5)
    telling = process(store, counting)
    await telling.tell()
    key = KeySpace("test").hot("hot", telling._id)
    await store.call(commands.delete(key), a_call())
    await telling.tell()
    assert Listed([]) == await process(store, Counting()).hottest("hot", 9)
    counting.reads["a"] = 6
    await telling.tell()
    assert Listed(["a"], processes=1) == await process(store, Counting()).hottest("hot", 9)


async def test_nobody_knows_anything_at_first(store: StandaloneStore) -> None:
    """Which is no error."""
    assert Listed([]) == await process(store, Counting()).hottest("hot", 9)


@pytest.mark.parametrize("cache", ["plain", "phi"])
async def test_a_cache_that_counts_nothing_is_said(store: StandaloneStore, cache: str) -> None:
    """Also one whose keys are nobody's business."""
    with pytest.raises(SidecarError) as caught:
        await process(store, Counting(a=1)).hottest(cache, 9)
    assert Reason.UNSUPPORTED_BY_CACHE is caught.value.reason
