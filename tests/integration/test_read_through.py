"""Read-through: what is missed is loaded once, and nothing older than an invalidation is served after it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from support.counting_origin import CountingOrigin, gone
from support.through_caches import CACHE, Process, a_call

from sidecar.cache.loads import LoadOutcome
from sidecar.cache.origin import OriginValue
from sidecar.cache.policy import FromOrigin, Outcome
from sidecar.cache.request import WriteOptions
from sidecar.cache.waits import Waits
from sidecar.errors import Reason, SidecarError
from sidecar.store import commands
from sidecar.store.plans import run_reads, run_together

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sidecar.call import Call
    from sidecar.store.base import Command, Reply
    from sidecar.store.standalone import StandaloneStore

PATIENCE_SECONDS = 10.0


async def reason_of(failing: object) -> Reason:
    """Return how something fails that must."""
    with pytest.raises(SidecarError) as caught:
        await failing  # type: ignore[misc]  # whatever can be awaited
    return caught.value.reason


class TestReading:
    """What the ways to read answer."""

    async def test_a_miss_is_loaded_and_kept(self, store: StandaloneStore) -> None:
        """The first answer is from the origin, the second from the store."""
        origin = CountingOrigin(k=b"v")
        process = Process(store, origin)
        first, second = await process.cache.get("k", a_call()), await process.cache.get("k", a_call())
        assert (b"v", FromOrigin, b"v", False) == (first.value, type(first), second.value, type(second) is FromOrigin)
        assert ([["k"]], first.version, True) == (origin.loads, second.version, 0 < (second.ttl_ms or 0) <= 60_000)

    async def test_a_miss_says_that_the_origin_has_none(self, store: StandaloneStore) -> None:
        """And it is remembered for the cache's negative TTL."""
        origin = CountingOrigin()
        process, other = (Process(store, origin, negative_ttl_ms=60_000) for _ in range(2))
        outcomes = [(await one.cache.get("k", a_call())).outcome for one in (process, other, process)]
        assert ([Outcome.MISS] * 3, [["k"]]) == (outcomes, origin.loads)

    async def test_many_are_loaded_with_one_question(self, store: StandaloneStore) -> None:
        """Those that are missed, each once, and answered in their places."""
        origin = CountingOrigin(a=b"1", b=b"2", d=b"4")
        process = Process(store, origin)
        await process.cache.get("a", a_call())
        found = await process.cache.get_many(["a", "b", "c", "d", "b"], a_call())
        values = [one if isinstance(one, SidecarError) else one[1] for one in found]
        assert ([b"1", b"2", b"", b"4", b"2"], [["a"], ["b", "c", "d"]]) == (values, origin.loads)

    async def test_a_failure_of_one_is_none_of_the_others(self, store: StandaloneStore) -> None:
        """An answer that cannot be kept is one."""
        origin = CountingOrigin(a=b"1")
        origin.values["b"] = OriginValue(b"2", tags=("t",))
        process = Process(store, origin)
        found = await process.cache.get_many(["a", "b"], a_call())
        told = [one.reason if isinstance(one, SidecarError) else one[1] for one in found]
        assert [b"1", Reason.ORIGIN_ANSWER] == told

    async def test_get_or_load_never_leases(self, store: StandaloneStore) -> None:
        """It answers what there is, that there is none, or that it takes longer."""
        origin = CountingOrigin(k=b"v")
        process = Process(store, origin)
        waiting = contextlib.nullcontext
        there = await process.loads.get_or_load("k", None, a_call(), waiting=waiting)
        absent = await process.loads.get_or_load("other", None, a_call(), waiting=waiting)
        origin.hold()
        pending = await process.loads.get_or_load("slow", 20, a_call(), waiting=waiting)
        origin.let_go()
        many = await process.loads.get_or_load_many(["k", "other"], None, a_call(), waiting=waiting)
        outcomes = [one.outcome for one in (there, absent, pending, *many) if not isinstance(one, SidecarError)]
        hit, none = LoadOutcome.HIT, LoadOutcome.ABSENT
        assert [hit, none, LoadOutcome.WAIT, hit, none] == outcomes

    async def test_plans_that_run_together_are_loaded_together(self, store: StandaloneStore) -> None:
        """As a pipeline has them: with others, or as a batch that only reads."""
        origin = CountingOrigin(a=b"1", b=b"2", c=b"3", d=b"4")
        process = Process(store, origin)
        plans: list[Any] = [process.cache.plan_get(key, a_call()) for key in ("a", "b")]
        plans.append(await process.caches.values(CACHE).plan_set("z", b"26", WriteOptions(), a_call()))
        mixed = await run_together(plans, store, a_call(), max_answer_bytes=1_000)
        reads = process.cache.plan_gets(["c", "d", "a"])
        assert reads is not None
        read = await run_reads(reads, store, a_call(), max_answer_bytes=1_000)
        values = [one.value for one in mixed[:2]] + [one if isinstance(one, SidecarError) else one[1] for one in read]
        assert ([b"1", b"2", b"3", b"4", b"1"], [["a", "b"], ["c", "d"]]) == (values, origin.loads)

    async def test_what_is_loaded_counts_towards_the_size_of_an_answer(self, store: StandaloneStore) -> None:
        """Beyond it each entry ends with an error."""
        process = Process(store, CountingOrigin(a=b"1" * 600, b=b"2" * 600))
        plans: list[Any] = [process.cache.plan_get(key, a_call()) for key in ("a", "b")]
        found = await run_together(plans, store, a_call(), max_answer_bytes=1_000)
        told = [one.reason if isinstance(one, SidecarError) else len(one.value) for one in found]
        assert [600, Reason.ANSWER_TOO_LARGE] == told

    async def test_nobody_fills_it(self, store: StandaloneStore) -> None:
        """There is no lease to do it with."""
        process = Process(store, CountingOrigin())
        filling = process.loads.fill("k", "a" * 32, b"v", None, a_call())
        assert Reason.UNSUPPORTED_BY_CACHE is await reason_of(filling)


class TestTogether:
    """Many who miss the same at once."""

    async def test_one_load_for_all(self, store: StandaloneStore) -> None:
        """Of two processes, with a hundred callers each."""
        origin = CountingOrigin(k=b"v")
        origin.hold()
        processes = [Process(store, origin) for _ in range(2)]
        reads = [asyncio.create_task(processes[number % 2].cache.get("k", a_call())) for number in range(200)]
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        origin.let_go()
        found = await asyncio.gather(*reads)
        assert ({b"v"}, [["k"]]) == ({one.value for one in found}, origin.loads)

    async def test_one_failure_for_all_of_a_process(self, store: StandaloneStore) -> None:
        """Nobody tries in turn."""
        origin = CountingOrigin()
        origin.failure = gone()
        process = Process(store, origin)
        reads = [process.cache.get("k", a_call()) for _ in range(100)]
        found = await asyncio.gather(*reads, return_exceptions=True)
        assert {Reason.ORIGIN_UNAVAILABLE} == {one.reason for one in found if isinstance(one, SidecarError)}
        assert (100, [["k"]]) == (sum(isinstance(one, SidecarError) for one in found), origin.loads)

    async def test_a_caller_who_leaves_takes_nothing_away(self, store: StandaloneStore) -> None:
        """The load was his, and is the others' too."""
        origin = CountingOrigin(k=b"v")
        origin.hold()
        process = Process(store, origin)
        first = asyncio.create_task(process.cache.get("k", a_call()))
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        second = asyncio.create_task(process.cache.get("k", a_call()))
        await asyncio.sleep(0)
        first.cancel()
        origin.let_go()
        assert (b"v", [["k"]]) == ((await second).value, origin.loads)

    async def test_what_is_loaded_is_kept_when_the_process_stops(self, store: StandaloneStore) -> None:
        """The task is waited for."""
        origin = CountingOrigin(k=b"v")
        origin.hold()
        process = Process(store, origin)
        reading = asyncio.create_task(process.cache.get("k", a_call()))
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        reading.cancel()
        stopping = asyncio.create_task(process.caches.drain(PATIENCE_SECONDS))
        await asyncio.sleep(0)
        origin.let_go()
        await stopping
        assert b"v" == (await Process(store, origin).cache.get("k", a_call())).value
        assert [["k"]] == origin.loads


async def test_nobody_waits_for_what_is_known_not_to_be_there(store: StandaloneStore) -> None:
    """Though it was still being loaded when he was told to wait."""
    await store.call(commands.set_for(b"loading", b"-", 60_000), a_call())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await Waits(store).wait(b"loading", 60.0)


async def test_many_that_are_waited_for_do_not_keep_the_store_busy(
    store: StandaloneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an origin hangs; the end of each is heard of all the same."""
    keys = [b"loading-%d" % number for number in range(400)]
    for key in keys:
        await store.call(commands.set_for(key, b"token", 60_000), a_call())
    looks: list[Command] = []
    look = store.call

    def counted(command: Command, call: Call) -> Awaitable[Reply]:
        looks.append(command)
        return look(command, call)

    with monkeypatch.context() as patched:
        patched.setattr(store, "call", counted)
        waits = Waits(store)
        await asyncio.gather(*(waits.wait(key, 1.0) for key in keys))
    assert len(keys) <= len(looks) < 5_000
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting = [asyncio.create_task(waits.wait(key, 60.0)) for key in keys]
        for key in keys:
            await store.call(commands.unlink(key), a_call())
        await asyncio.gather(*waiting)


class TestOvertaken:
    """What is invalidated while it is loaded."""

    @pytest.mark.parametrize("late_in", [0, 1])
    async def test_who_comes_after_an_invalidation_has_nothing_older(
        self, store: StandaloneStore, late_in: int
    ) -> None:
        """In the process that loads and in another; who came before may have it."""
        origin = CountingOrigin(k=b"old")
        origin.hold()
        processes = [Process(store, origin) for _ in range(2)]
        early = asyncio.create_task(processes[0].cache.get("k", a_call()))
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        origin.values["k"] = b"new"
        await processes[1].invalidate("k")
        late = asyncio.create_task(processes[late_in].cache.get("k", a_call()))
        await asyncio.sleep(0.02)
        origin.let_go()
        assert (b"old", b"new") == ((await early).value, (await late).value)
        assert b"new" == (await processes[0].cache.get("k", a_call())).value

    async def test_a_prefix_does_it_too(self, store: StandaloneStore) -> None:
        """Though the entry is not touched by it."""
        origin = CountingOrigin()
        origin.values["a:k"] = b"old"
        process = Process(store, origin, generations=True)
        await process.cache.get("a:k", a_call())
        origin.values["a:k"] = b"new"
        await process.caches.invalidation(CACHE).by_prefix("a:", a_call())
        assert b"new" == (await process.cache.get("a:k", a_call())).value

    async def test_tags_come_from_the_origin(self, store: StandaloneStore) -> None:
        """An entry is found by them."""
        origin = CountingOrigin()
        origin.values["k"] = OriginValue(b"old", tags=("t",))
        process = Process(store, origin, tags=True)
        await process.cache.get("k", a_call())
        origin.values["k"] = b"new"
        await process.caches.invalidation(CACHE).by_tags(["t"], a_call())
        assert b"new" == (await process.cache.get("k", a_call())).value


class TestSlowOrGone:
    """What is answered while the origin is slow or gone."""

    async def test_a_load_ends_by_the_hard_timeout(self, store: StandaloneStore) -> None:
        """For all who wait, and the next may try."""
        origin = CountingOrigin(k=b"v")
        origin.hold()
        process = Process(store, origin, hard_timeout_ms=30)
        assert Reason.ORIGIN_TIMED_OUT is await reason_of(process.cache.get("k", a_call()))
        origin.let_go()
        assert b"v" == (await process.cache.get("k", a_call())).value

    async def test_a_wait_ends_before_the_deadline(self, store: StandaloneStore) -> None:
        """And the load goes on."""
        origin = CountingOrigin(k=b"v")
        origin.hold()
        process = Process(store, origin)
        assert Reason.ORIGIN_TIMED_OUT is await reason_of(process.cache.get("k", a_call(0.05)))
        origin.let_go()
        assert (b"v", [["k"]]) == ((await process.cache.get("k", a_call())).value, origin.loads)

    async def test_stale_is_served_while_one_loads(self, store: StandaloneStore) -> None:
        """Nobody waits for it."""
        origin = CountingOrigin(k=b"old")
        process = Process(store, origin, ttl_ms=30, stale_for_ms=60_000)
        await process.cache.get("k", a_call())
        await asyncio.sleep(0.05)
        origin.values["k"] = b"new"
        stale = await process.cache.get("k", a_call())
        await process.caches.drain(PATIENCE_SECONDS)
        fresh = await process.cache.get("k", a_call())
        assert [(Outcome.STALE, b"old"), (Outcome.HIT, b"new")] == [(one.outcome, one.value) for one in (stale, fresh)]
        counted = [
            process.count("sidecar_cache_stale_served", "stale_while_revalidate"),
            process.count("sidecar_cache_refreshes", "stale"),
        ]
        assert [1, 1] == counted

    async def test_fail_safe_serves_what_it_has_when_the_origin_fails(self, store: StandaloneStore) -> None:
        """As stale; and does not ask again at once."""
        origin = CountingOrigin(k=b"old")
        process = Process(store, origin, ttl_ms=20, fail_safe_for_ms=60_000)
        await process.cache.get("k", a_call())
        await asyncio.sleep(0.04)
        origin.failure = gone()
        found = [await process.cache.get("k", a_call()) for _ in range(3)]
        assert [(Outcome.STALE, b"old")] * 3 == [(one.outcome, one.value) for one in found]
        assert ([["k"]] * 2, 3) == (origin.loads, process.count("sidecar_cache_stale_served", "fail_safe"))

    async def test_fail_safe_is_not_asked_while_the_origin_answers(self, store: StandaloneStore) -> None:
        """What is past its time is loaded."""
        origin = CountingOrigin(k=b"old")
        process = Process(store, origin, ttl_ms=20, fail_safe_for_ms=60_000)
        await process.cache.get("k", a_call())
        await asyncio.sleep(0.04)
        origin.values["k"] = b"new"
        found = await process.cache.get("k", a_call())
        assert (Outcome.HIT, b"new") == (found.outcome, found.value)

    async def test_nothing_invalidated_is_served_by_it(self, store: StandaloneStore) -> None:
        """An error is right then."""
        origin = CountingOrigin(k=b"old")
        process = Process(store, origin, ttl_ms=20, fail_safe_for_ms=60_000)
        await process.cache.get("k", a_call())
        origin.failure = gone()
        await process.invalidate("k")
        assert Reason.ORIGIN_UNAVAILABLE is await reason_of(process.cache.get("k", a_call()))

    async def test_after_the_soft_timeout_there_is_what_is_kept(self, store: StandaloneStore) -> None:
        """And the load goes on."""
        origin = CountingOrigin(k=b"old")
        process = Process(store, origin, ttl_ms=20, fail_safe_for_ms=60_000, soft_timeout_ms=20)
        await process.cache.get("k", a_call())
        await asyncio.sleep(0.04)
        origin.values["k"] = b"new"
        origin.hold()
        kept = await process.cache.get("k", a_call())
        origin.let_go()
        assert (Outcome.STALE, b"old") == (kept.outcome, kept.value)
        assert 1 == process.count("sidecar_cache_stale_served", "soft_timeout")
        assert b"new" == (await process.cache.get("k", a_call())).value

    async def test_without_anything_kept_the_wait_goes_on(self, store: StandaloneStore) -> None:
        """The soft time-out concerns only who can have something else."""
        origin = CountingOrigin(k=b"v")
        origin.hold()
        process = Process(store, origin, fail_safe_for_ms=60_000, soft_timeout_ms=20)
        reading = asyncio.create_task(process.cache.get("k", a_call()))
        await asyncio.sleep(0.06)
        origin.let_go()
        assert b"v" == (await reading).value
