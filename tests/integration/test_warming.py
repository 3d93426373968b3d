"""Caches are warmed from their origins over a real store, at a pace, and to a clear end."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest
from support.counting_origin import CountingOrigin, gone
from support.through_caches import Process, a_call

from sidecar.cache.policy import CachePolicy, FromOrigin, Limits
from sidecar.cache.warm_start import WarmPolicy, WarmStart
from sidecar.cache.warming import Progress, Warming
from sidecar.errors import Reason, SidecarError
from sidecar.gen.sidecar.v1 import cache_admin_pb2 as pb
from sidecar.rpc.cache_admin import CacheAdminServicer
from sidecar.store.keys import KeySpace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from sidecar.store.standalone import StandaloneStore
    from sidecar.telemetry.snapshot import Gathered

FAST = 1e9


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


class TestService:
    """CacheAdminService's Warm."""

    @staticmethod
    async def answers(process: Process, request: pb.WarmRequest, **policies: WarmPolicy) -> list[pb.WarmResponse]:
        """Return what a Warm streams."""

        async def gather() -> Gathered:
            raise AssertionError("nobody asks what was counted")

        servicer = CacheAdminServicer(process.caches, gather, warm_policies=policies, max_value_bytes=1)

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

    async def test_what_is_not_configured_is_refused(self, store: StandaloneStore) -> None:
        """Where the settings name nothing, and where the call does not either."""
        process = Process(store, CountingOrigin())
        for request, reason in (
            (pb.WarmRequest(cache="c", configured=True), Reason.UNSUPPORTED_BY_CACHE),
            (pb.WarmRequest(cache="c"), Reason.OPERATION_EMPTY),
        ):
            with pytest.raises(SidecarError) as caught:
                await self.answers(process, request)
            assert reason is caught.value.reason


class TestStart:
    """What is loaded when sidecars start."""

    @staticmethod
    def start(store: StandaloneStore, process: Process, policy: WarmPolicy) -> WarmStart:
        """Begin to warm the process's cache."""
        made = WarmStart(
            {"c": policy}, caches=process.caches, store=store, keys=KeySpace("test"), metrics=process.metrics
        )
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
