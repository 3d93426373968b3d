"""Caches are warmed from their origins over a real store, at a pace, and to a clear end."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest
from support.counting_origin import CountingOrigin, gone
from support.through_caches import Process, a_call

from sidecar.cache.hot_sets import HotSets
from sidecar.cache.policy import CachePolicy, FromOrigin, Limits
from sidecar.cache.warm_list import KeySource, Listed, WarmList, WarmPolicy
from sidecar.cache.warm_start import WarmStart
from sidecar.cache.warming import Progress, Warming
from sidecar.errors import Reason, SidecarError
from sidecar.gen.sidecar.v1 import cache_admin_pb2 as pb
from sidecar.rpc.cache_admin import CacheAdminServicer
from sidecar.store.keys import KeySpace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from sidecar.store.standalone import StandaloneStore
    from sidecar.telemetry.snapshot import Gathered

FAST = 1e9


def list_of(process: Process, policies: Mapping[str, WarmPolicy], query: KeySource | None = None) -> WarmList:
    """Return what finds the keys in a process."""
    hot_sets = HotSets([], caches=process.caches, store=process.store, keys=KeySpace("test"))
    return WarmList(policies, queries={} if query is None else {"c": query}, hot_sets=hot_sets)


class Query:
    """Says which keys to load, as an origin would."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.failure: SidecarError | None = None

    async def first(self, limit: int) -> Listed:
        """Return the first so many."""
        if self.failure is not None:
            raise self.failure
        return Listed(self.keys[:limit], cut=len(self.keys) > limit)


async def last_of(process: Process, keys: Sequence[str], per_second: float = FAST) -> Progress:
    """Warm a process's cache, and return how far it was in the end."""
    progress = Progress(0)
    async for one in process.caches.warming("c").warm(keys, per_second):
        progress = one
    return progress


async def test_what_is_missing_is_loaded(store: StandaloneStore) -> None:
    """In batches, each key once; what is there stays, and what the origin has not is counted."""
    keys = [f"k{number}" for number in range(350)]
    origin = CountingOrigin(**dict.fromkeys(keys, b"v"))
    process = Process(store, origin)
    await process.cache.get("k7", a_call())
    origin.loads.clear()
    progress = await last_of(process, [*keys, "none", *keys])
    assert (349, 1, 1, 0, 351) == (
        progress.loaded, progress.present, progress.absent, progress.failed, progress.total,
    )  # fmt: skip
    assert sorted(set(keys) - {"k7"} | {"none"}) == sorted(key for asked in origin.loads for key in asked)
    assert 4 >= len(origin.loads)
    assert type(await process.cache.get("k300", a_call())) is not FromOrigin


async def test_it_keeps_to_its_rate(store: StandaloneStore) -> None:
    """Three batches at 1,000 keys a second take a fifth of a second, since the first begins at once."""
    process = Process(store, CountingOrigin())
    begun = time.monotonic()
    await last_of(process, [str(number) for number in range(300)], 1_000)
    assert 0.2 <= time.monotonic() - begun < 2.0


async def test_keys_that_are_none_fail_alone(store: StandaloneStore) -> None:
    """The others of their batch are loaded."""
    process = Process(store, CountingOrigin(a=b"1", b=b"2"))
    progress = await last_of(process, ["a", "", "x" * 600, "b"])
    assert (2, 2) == (progress.loaded, progress.failed)
    assert [Reason.KEY_EMPTY, Reason.KEY_TOO_LONG] == [error.reason for _, error in progress.failures]


async def test_values_that_fill_an_answer_are_loaded_all_the_same(store: StandaloneStore) -> None:
    """Nobody sees the answer, so what does not fit into it is no failure."""
    origin = CountingOrigin(**{f"k{number}": b"v" * 1_000_000 for number in range(12)})
    progress = await last_of(Process(store, origin), list(origin.values))
    assert (12, 0) == (progress.loaded + progress.present, progress.failed)


async def test_an_origin_that_is_gone_ends_it(store: StandaloneStore) -> None:
    """After three batches, with the origin's error; the rest is not asked for."""
    origin = CountingOrigin()
    origin.failure = gone()
    process = Process(store, origin)
    with pytest.raises(SidecarError) as caught:
        await last_of(process, [str(number) for number in range(5_000)])
    assert Reason.ORIGIN_UNAVAILABLE is caught.value.reason
    assert len(origin.loads) < 10


async def test_a_cache_without_an_origin_cannot_be_warmed(store: StandaloneStore) -> None:
    """Its callers load it."""
    process = Process(store, CountingOrigin())
    warming = Warming(CachePolicy(name="a", ttl_ms=1), Limits(), process.cache)
    with pytest.raises(SidecarError) as caught:
        await anext(warming.warm(["k"], FAST))
    assert Reason.UNSUPPORTED_BY_CACHE is caught.value.reason


async def test_who_leaves_ends_it(store: StandaloneStore) -> None:
    """Nothing is left under way."""
    process = Process(store, CountingOrigin())
    warming = process.caches.warming("c").warm([str(number) for number in range(2_000)], 2_000)
    async for _ in warming:
        break
    await warming.aclose()
    assert [] == [task for task in asyncio.all_tasks() if task.get_name() == "warming"]


async def nobody_asks() -> Gathered:
    """Stand for what tells what was counted."""
    raise AssertionError("nobody asks what was counted")


class TestService:
    """CacheAdminService's Warm."""

    @staticmethod
    async def answers(
        process: Process, request: pb.WarmRequest, query: KeySource | None = None, **policies: WarmPolicy
    ) -> list[pb.WarmResponse]:
        """Return what a Warm streams."""
        warm_list = list_of(process, policies, query)
        servicer = CacheAdminServicer(process.caches, nobody_asks, warm_list=warm_list, max_value_bytes=1)

        async def requests() -> AsyncIterator[pb.WarmRequest]:
            yield request

        return [answer async for answer in servicer.warm(requests(), a_call())]

    async def test_it_tells_how_it_ended(self, store: StandaloneStore) -> None:
        """With the sums, and what was wrong with which key."""
        process = Process(store, CountingOrigin(a=b"1"))
        told = await self.answers(process, pb.WarmRequest(cache="c", keys=["a", "b", ""], rate=1_000_000))
        last = told[-1]
        assert (3, 1, 0, 1, 1) == (last.total, last.loaded, last.present, last.absent, last.failed)
        assert [("", "the key is empty")] == [(one.key, one.failure.message) for one in last.failures]

    async def test_what_is_configured_is_loaded(self, store: StandaloneStore, tmp_path: Path) -> None:
        """The keys of the settings, and those of the file, without empty lines."""
        file = tmp_path / "keys.txt"
        file.write_text("b\r\n\nc\n")
        origin = CountingOrigin(a=b"1", b=b"2", c=b"3")
        policy = WarmPolicy(keys=("a",), file=str(file))
        told = await self.answers(Process(store, origin), pb.WarmRequest(cache="c", configured=True), c=policy)
        assert ([["a", "b", "c"]], 3) == (origin.loads, told[-1].loaded)

    @pytest.mark.parametrize(("content", "why"), [(None, "No such file or directory"), (b"\xff\n", "it is no UTF-8")])
    async def test_a_file_that_cannot_be_read_is_said(
        self, store: StandaloneStore, tmp_path: Path, content: bytes | None, why: str
    ) -> None:
        """Before anything is loaded."""
        file = tmp_path / "keys.txt"
        if content is not None:
            file.write_bytes(content)
        policy = WarmPolicy(file=str(file))
        with pytest.raises(SidecarError, match=why) as caught:
            await self.answers(Process(store, CountingOrigin()), pb.WarmRequest(cache="c", configured=True), c=policy)
        assert Reason.WARM_LIST_UNSUITABLE is caught.value.reason

    async def test_a_query_names_the_keys(self, store: StandaloneStore) -> None:
        """The first of them, as many as are asked for; what there were more is said."""
        process, query = Process(store, CountingOrigin(a=b"1", b=b"2", c=b"3")), Query("c", "a", "b")
        policy = WarmPolicy(query=True, limit=2)
        last = (await self.answers(process, pb.WarmRequest(cache="c", query=True), query, c=policy))[-1]
        assert (2, 2, True) == (last.total, last.loaded, last.cut)
        last = (await self.answers(process, pb.WarmRequest(cache="c", query=True, limit=9), query, c=policy))[-1]
        assert (3, 1, 2, False) == (last.total, last.loaded, last.present, last.cut)

    async def test_all_that_is_configured_is_loaded_once(self, store: StandaloneStore, tmp_path: Path) -> None:
        """Keys, a file and a query, which may name the same."""
        file = tmp_path / "keys.txt"
        file.write_text("b\na\n")
        origin = CountingOrigin(a=b"1", b=b"2", c=b"3")
        policy = WarmPolicy(keys=("a",), file=str(file), query=True)
        request = pb.WarmRequest(cache="c", configured=True)
        last = (await self.answers(Process(store, origin), request, Query("c", "b"), c=policy))[-1]
        assert ([["a", "b", "c"]], 3) == (origin.loads, last.loaded)

    async def test_a_query_without_keys_is_an_end_too(self, store: StandaloneStore) -> None:
        """There is an answer, and it says nothing was there to load."""
        request = pb.WarmRequest(cache="c", query=True)
        policy = WarmPolicy(query=True)
        told = await self.answers(Process(store, CountingOrigin()), request, Query(), c=policy)
        assert [pb.WarmResponse()] == told

    async def test_a_query_that_fails_ends_it(self, store: StandaloneStore) -> None:
        """With the origin's error, before anything is loaded."""
        query, origin = Query("a"), CountingOrigin(a=b"1")
        query.failure = gone()
        with pytest.raises(SidecarError, match="gone"):
            await self.answers(
                Process(store, origin), pb.WarmRequest(cache="c", query=True), query, c=WarmPolicy(query=True)
            )
        assert [] == origin.loads

    async def test_what_was_loaded_is_told_before_the_error(self, store: StandaloneStore) -> None:
        """An origin that fails in the middle has given something, and that is in the cache."""
        origin = CountingOrigin(**{str(number): b"v" for number in range(2_000)})
        process = Process(store, origin)
        servicer = CacheAdminServicer(process.caches, nobody_asks, warm_list=list_of(process, {}), max_value_bytes=1)

        async def requests() -> AsyncIterator[pb.WarmRequest]:
            yield pb.WarmRequest(cache="c", keys=list(origin.values), rate=1_000_000)

        told: list[pb.WarmResponse] = []

        async def take() -> None:
            async for answer in servicer.warm(requests(), a_call()):
                told.append(answer)
                origin.failure = gone()

        with pytest.raises(SidecarError, match="gone"):
            await take()
        assert 300 <= told[-1].failed
        assert 0 < told[-1].loaded < 2_000
        assert 20 == len(told[-1].failures)

    async def test_what_is_not_configured_is_refused(self, store: StandaloneStore) -> None:
        """Where the settings name nothing, and where the call does not either."""
        process = Process(store, CountingOrigin())
        for request, reason in (
            (pb.WarmRequest(cache="c", configured=True), Reason.UNSUPPORTED_BY_CACHE),
            (pb.WarmRequest(cache="c", query=True), Reason.UNSUPPORTED_BY_CACHE),
            (pb.WarmRequest(cache="c", from_cache="c"), Reason.UNSUPPORTED_BY_CACHE),
            (pb.WarmRequest(cache="c", from_cache="d"), Reason.CACHE_UNKNOWN),
            (pb.WarmRequest(cache="c"), Reason.OPERATION_EMPTY),
        ):
            with pytest.raises(SidecarError) as caught:
                await self.answers(process, request)
            assert reason is caught.value.reason


class TestStart:
    """What is loaded when sidecars start."""

    @staticmethod
    def start(
        store: StandaloneStore, process: Process, policy: WarmPolicy, query: KeySource | None = None
    ) -> WarmStart:
        """Begin to warm the process's cache."""
        made = WarmStart(
            list_of(process, {"c": policy}, query), caches=process.caches, store=store, keys=KeySpace("test"),
            metrics=process.metrics,
        )  # fmt: skip
        made.start()
        return made

    async def test_one_of_those_that_start_together_warms(self, store: StandaloneStore) -> None:
        """Each key is asked for once, whoever does it; the others leave it at that."""
        keys = tuple(f"k{number}" for number in range(150))
        origin = CountingOrigin(**dict.fromkeys(keys, b"v"))
        policy = WarmPolicy(keys=keys, per_second=FAST, at_start=True)
        starts = [self.start(store, Process(store, origin), policy) for _ in range(3)]
        async with asyncio.timeout(10):
            for start in starts:
                await asyncio.gather(*start._tasks)
        assert sorted(keys) == sorted(key for asked in origin.loads for key in asked)
        assert 1 == sum(start._upkeeps["c"]._sure_until > 0 for start in starts)

    async def test_without_at_start_nothing_is_loaded(self, store: StandaloneStore) -> None:
        """It waits for somebody to say so."""
        origin = CountingOrigin()
        start = self.start(store, Process(store, origin), WarmPolicy(keys=("k",)))
        assert [] == start._tasks
        await start.stop()

    async def test_what_ends_it_is_logged_and_another_may_try(
        self, store: StandaloneStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The origin is gone; the next that starts tries again."""
        origin = CountingOrigin()
        origin.failure = gone()
        policy = WarmPolicy(keys=tuple(str(number) for number in range(1_000)), per_second=FAST, at_start=True)
        for _ in range(2):
            with caplog.at_level(logging.WARNING, "sidecar.cache"):
                await asyncio.gather(*self.start(store, Process(store, origin), policy)._tasks)
        assert ["cache c is not warmed to the end: gone"] * 2 == caplog.messages

    async def test_a_query_is_asked_at_the_start(self, store: StandaloneStore) -> None:
        """And what it names is loaded."""
        origin = CountingOrigin(a=b"1", b=b"2")
        policy = WarmPolicy(query=True, per_second=FAST, at_start=True)
        await asyncio.gather(*self.start(store, Process(store, origin), policy, Query("b", "a"))._tasks)
        assert [["b", "a"]] == origin.loads

    async def test_a_query_that_fails_is_logged(self, store: StandaloneStore, caplog: pytest.LogCaptureFixture) -> None:
        """And the sidecar serves; another may try."""
        query = Query("a")
        query.failure = gone()
        policy = WarmPolicy(query=True, at_start=True)
        with caplog.at_level(logging.WARNING, "sidecar.cache"):
            for _ in range(2):
                await asyncio.gather(*self.start(store, Process(store, CountingOrigin()), policy, query)._tasks)
        assert ["cache c is not warmed to the end: gone"] * 2 == caplog.messages

    async def test_who_knows_no_key_leaves_it_to_the_next(self, store: StandaloneStore) -> None:
        """That one may know some."""
        origin = CountingOrigin(a=b"1")
        policy = WarmPolicy(query=True, at_start=True)
        for query in (Query(), Query("a")):
            await asyncio.gather(*self.start(store, Process(store, origin), policy, query)._tasks)
        assert [["a"]] == origin.loads
