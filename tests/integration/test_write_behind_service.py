"""`WriteBehindService`, as its callers have it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.write_behind import CACHE, PLAIN, QUICK, TENANT, Ledger, make_rig, running, some_call

from sidecar.cache.catalog import build_caches
from sidecar.cache.policy import CachePolicy, Limits, Outcome, Strategy
from sidecar.cache.request import WriteOptions
from sidecar.errors import Reason, SidecarError
from sidecar.gen.sidecar.v1 import write_behind_pb2 as pb
from sidecar.rpc.write_behind import WriteBehindServicer
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from support.write_behind import Rig

    from sidecar.cache.catalog import Caches
    from sidecar.call import Call
    from sidecar.store.base import Reply, ScriptCall
    from sidecar.store.standalone import StandaloneStore


def served(rig: Rig) -> WriteBehindServicer:
    """Return the service, where there is another cache beside the write-behind one."""
    caches = build_caches(
        [CachePolicy(name="aside", ttl_ms=1_000)],
        limits=Limits(),
        store=rig.store,
        keys=KeySpace("test"),
        clock=rig.clock,
        sealer_for=lambda _: None,
        metrics=Metrics(),
    )
    return WriteBehindServicer(rig.behind, caches, Limits())


def read_through(rig: Rig, ledger: Ledger, store: StandaloneStore) -> Caches:
    """Return a rig's cache as those have it who read what is missed from its origin."""
    return build_caches(
        [CachePolicy(name=CACHE, ttl_ms=300_000, strategy=Strategy.WRITE_BEHIND, behind=QUICK)],
        limits=Limits(),
        store=store,
        keys=KeySpace(TENANT),
        clock=rig.clock,
        sealer_for=lambda _: None,
        metrics=Metrics(),
        origins={CACHE: ledger},
    )


async def reason_of(refused: Awaitable[object]) -> tuple[Reason, str | None]:
    """Return how a call is refused."""
    with pytest.raises(SidecarError) as error:
        await refused
    return error.value.reason, error.value.field


async def test_a_cache_that_is_behind_says_so(store: StandaloneStore) -> None:
    """How much, for how long, and who sends."""
    ledger = Ledger(refuse=lambda _: Reason.ORIGIN_UNAVAILABLE)
    async with running(store, ledger) as rig:
        await rig.values.set("k", b"v", PLAIN, some_call())
        flushed = await served(rig).flush(pb.FlushRequest(cache=CACHE), some_call(0.2))
        status = await served(rig).get_write_behind_status(pb.GetWriteBehindStatusRequest(cache=CACHE), some_call())
    assert (1, 1, 0) == (flushed.pending, status.pending, status.dead_letters)
    assert 50 < status.lag.ToMilliseconds() < 20_000
    assert [(16, True)] == [(sender.partitions, sender.answering) for sender in status.senders]


async def test_dead_letters_are_listed_replayed_and_discarded(store: StandaloneStore) -> None:
    """With what was to be made of their keys."""
    ledger = Ledger(refuse=lambda _: Reason.ORIGIN_REFUSED)
    async with running(store, ledger) as rig:
        service = served(rig)
        await rig.values.set("set", b"v", PLAIN, some_call())
        await rig.values.delete("gone", PLAIN, some_call())
        await service.flush(pb.FlushRequest(cache=CACHE), some_call())
        listed = await service.list_dead_letters(pb.ListDeadLettersRequest(cache=CACHE), some_call())
        letters = {letter.key: letter for letter in listed.dead_letters}
        assert (b"v", True, "") == (letters["set"].value, letters["gone"].removed, listed.next_page_token)
        assert ("ORIGIN_REFUSED", 1) == (letters["set"].reason, letters["set"].attempts)
        assert letters["set"].dead_time.ToMilliseconds() >= letters["set"].write_time.ToMilliseconds() > 0
        ledger.refuse = lambda _: None
        replay = pb.ReplayDeadLettersRequest(cache=CACHE, ids=[letters["set"].id, "0.1-1"])
        replayed = await service.replay_dead_letters(replay, some_call())
        assert (1, ["0.1-1"]) == (replayed.replayed, list(replayed.unknown))
        discarded = await service.discard_dead_letters(pb.DiscardDeadLettersRequest(cache=CACHE, all=True), some_call())
        flushed = await service.flush(pb.FlushRequest(cache=CACHE), some_call())
    assert (1, 0, {"set": b"v"}) == (discarded.discarded, flushed.pending, ledger.values)


async def test_pages_end_before_they_are_too_large(store: StandaloneStore) -> None:
    """But have one letter at least."""
    ledger = Ledger(refuse=lambda _: Reason.ORIGIN_REFUSED)
    async with running(store, ledger) as rig:
        for number in range(3):
            await rig.values.set(f"k{number}", b"v" * 1_000, PLAIN, some_call())
        await rig.settled()
        pages: list[int] = []
        token = ""
        while token or not pages:
            page = await rig.cache.dead_letters.page(token, 10, 1_500, some_call())
            pages.append(len(page.letters))
            token = page.next
    assert [1, 1, 1] == pages


async def test_bad_requests_are_refused(store: StandaloneStore) -> None:
    """With what is wrong of them."""
    async with running(store, Ledger()) as rig:
        service, call = served(rig), some_call()
        status = service.get_write_behind_status
        assert [
            (Reason.CACHE_UNKNOWN, "cache"),
            (Reason.UNSUPPORTED_BY_CACHE, "cache"),
            (Reason.DEAD_LETTER_MALFORMED, "page_token"),
            (Reason.BATCH_SIZE, "page_size"),
            (Reason.OPERATION_EMPTY, "ids"),
            (Reason.OPERATION_EMPTY, "ids"),
            (Reason.DEAD_LETTER_MALFORMED, "ids[0]"),
        ] == [
            await reason_of(status(pb.GetWriteBehindStatusRequest(cache="none"), call)),
            await reason_of(status(pb.GetWriteBehindStatusRequest(cache="aside"), call)),
            await reason_of(service.list_dead_letters(pb.ListDeadLettersRequest(cache=CACHE, page_token="x"), call)),
            await reason_of(service.list_dead_letters(pb.ListDeadLettersRequest(cache=CACHE, page_size=101), call)),
            await reason_of(service.replay_dead_letters(pb.ReplayDeadLettersRequest(cache=CACHE), call)),
            await reason_of(
                service.discard_dead_letters(pb.DiscardDeadLettersRequest(cache=CACHE, ids=["1.1-1"], all=True), call)
            ),
            await reason_of(
                service.discard_dead_letters(pb.DiscardDeadLettersRequest(cache=CACHE, ids=["16.1-1"]), call)
            ),
        ]


async def test_an_operator_is_shown_what_a_read_finds(store: StandaloneStore) -> None:
    """What is pending where the entry is gone, and that it is; and nothing of that once the origin has it."""
    ledger = Ledger()
    rig = make_rig(store, ledger)
    policy = CachePolicy(name=CACHE, ttl_ms=300_000, strategy=Strategy.WRITE_BEHIND, behind=QUICK)
    caches = build_caches(
        [policy],
        limits=Limits(),
        store=store,
        keys=KeySpace(TENANT),
        clock=rig.clock,
        sealer_for=lambda _: None,
        metrics=Metrics(),
        origins={CACHE: ledger},
    )
    cache, inspection = caches.values(CACHE), caches.inspection(CACHE)
    for key in ("kept", "invalidated", "removed"):
        await cache.set(key, b"value", PLAIN, some_call())
    await cache.delete("removed", PLAIN, some_call())
    await rig.values.forget_many(["invalidated"], some_call())
    keys = ("kept", "invalidated", "removed", "never")
    shown = [await inspection.inspect(key, some_call()) for key in keys]
    found = [await cache.get(key, some_call()) for key in keys[:3]]
    assert [one.lookup.outcome for one in shown] == [*[one.outcome for one in found], Outcome.MISS]
    assert [one.lookup.version for one in shown[:2]] == [one.version for one in found[:2]]
    assert [True, True, True, False] == [one.pending for one in shown]
    assert [5, 5, None, None] == [one.value_bytes for one in shown]
    assert [True, False] == [one.expires_ms is not None for one in shown[:2]]
    assert not any(one.lookup.value for one in shown)
    rig.behind.start()
    await rig.settled()
    await rig.behind.stop()
    shown = [await inspection.inspect(key, some_call()) for key in keys]
    assert [Outcome.HIT, Outcome.MISS, Outcome.MISS, Outcome.MISS] == [one.lookup.outcome for one in shown]
    assert not any(one.pending for one in shown)
    await caches.drain(1.0)


async def test_reads_go_through_to_the_origin_but_for_what_is_pending(store: StandaloneStore) -> None:
    """A removal that the origin does not know of is a miss, and a value that is gone from the cache is not loaded."""
    ledger = Ledger(values={"gone": b"old", "changed": b"old", "kept": b"old"})
    rig = make_rig(store, ledger)
    caches = read_through(rig, ledger, store)
    cache = caches.values(CACHE)
    await cache.delete("gone", PLAIN, some_call())
    await cache.set("changed", b"new", PLAIN, some_call())
    await rig.values.forget_many(["changed"], some_call())
    found = [await cache.get(key, some_call()) for key in ("gone", "changed", "kept")]
    assert [(Outcome.MISS, b""), (Outcome.HIT, b"new"), (Outcome.HIT, b"old")] == [one[:2] for one in found]
    rig.behind.start()
    await rig.settled()
    await rig.behind.stop()
    await caches.drain(1.0)
    after = [await cache.get(key, some_call()) for key in ("gone", "changed", "kept")]
    assert found[0] == after[0]
    assert [b"new", b"old"] == [one.value for one in after[1:]]


class LateStore:
    """A store between whose readers and whose loads somebody writes; what a load is answered is late."""

    def __init__(self, store: StandaloneStore, rig: Rig) -> None:
        self._store = store
        self._rig = rig
        self._written = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def run(self, script: ScriptCall, call: Call) -> Reply:
        """Run a script; the first that asks for the leave to load meets a new entry, and is told when that is stale."""
        if script.script.name != "lease_behind" or self._written:
            return await self._store.run(script, call)
        self._written = True
        await self._rig.values.set("k", b"new", WriteOptions(ttl_ms=30), some_call())
        reply = await self._store.run(script, call)
        await asyncio.sleep(0.05)
        return reply


async def test_what_turns_stale_on_the_way_is_not_loaded_over_what_is_pending(store: StandaloneStore) -> None:
    """The origin has what was before."""
    ledger = Ledger(values={"k": b"old"})
    rig = make_rig(store, ledger)
    cache = read_through(rig, ledger, cast("StandaloneStore", LateStore(store, rig))).values(CACHE)
    found = await cache.get("k", some_call())
    kept = await rig.values.get("k", some_call())
    assert (b"new", b"new") == (found.value, kept.value)
