"""Write-through: the origin has it first, and what it refuses changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.counting_origin import CountingOrigin
from support.through_caches import CACHE, Process, a_call

from sidecar.cache.origin import OriginValue
from sidecar.cache.policy import FromOrigin, Outcome, Strategy, WriteOutcome
from sidecar.cache.request import IF_PRESENT, WriteOptions
from sidecar.cache.values import NewValue
from sidecar.errors import Reason, SidecarError
from sidecar.store import commands
from sidecar.store.plans import run_together

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sidecar.store.standalone import StandaloneStore

PATIENCE_SECONDS = 10.0
PLAIN = WriteOptions()
APPLIED = WriteOutcome.APPLIED


def through(store: StandaloneStore, origin: CountingOrigin, **policy: Any) -> Process:
    """Return a process that writes through."""
    return Process(store, origin, Strategy.WRITE_THROUGH, **policy)


async def reason_of(failing: Awaitable[object]) -> Reason:
    """Return how something fails that must."""
    with pytest.raises(SidecarError) as caught:
        await failing
    return caught.value.reason


def refused() -> SidecarError:
    """Return the error of an origin that refuses."""
    return SidecarError(Reason.ORIGIN_REFUSED, "refused")


class TestWriting:
    """What is written and where."""

    async def test_the_origin_has_it_and_the_cache_too(self, store: StandaloneStore) -> None:
        """With a version and a TTL, as any Set; a read needs no origin."""
        origin = CountingOrigin()
        process = through(store, origin)
        written = await process.cache.set("k", b"v", PLAIN, a_call())
        found = await process.cache.get("k", a_call())
        assert (APPLIED, b"v", written.version, False) == (
            written.outcome, found.value, found.version, type(found) is FromOrigin,
        )  # fmt: skip
        assert ({"k": b"v"}, [], 60_000) == (origin.values, origin.loads, written.ttl_ms)

    async def test_what_is_removed_is_gone_from_both(self, store: StandaloneStore) -> None:
        """And it is known that the origin has none."""
        origin = CountingOrigin(k=b"v")
        process = through(store, origin, negative_ttl_ms=60_000)
        await process.cache.get("k", a_call())
        removed = await process.cache.delete("k", PLAIN, a_call())
        found = await process.cache.get("k", a_call())
        assert (APPLIED, Outcome.MISS, {}, [["k"]]) == (removed.outcome, found.outcome, origin.values, origin.loads)

    async def test_many_go_to_the_origin_together(self, store: StandaloneStore) -> None:
        """Those of the same key one after the other; the last one stands."""
        origin = CountingOrigin()
        process = through(store, origin)
        values = [NewValue(key, value, PLAIN) for key, value in (("a", b"1"), ("b", b"2"), ("a", b"3"))]
        done = await process.cache.set_many(values, a_call())
        removed = await process.cache.delete_many(["b", "z"], PLAIN, a_call())
        found = await process.cache.get_many(["a"], a_call())
        assert [APPLIED] * 5 == [one.outcome for one in [*done, *removed] if not isinstance(one, SidecarError)]
        assert ({"a": b"3"}, b"3") == (origin.values, found[0][1] if not isinstance(found[0], SidecarError) else None)

    async def test_tags_are_kept(self, store: StandaloneStore) -> None:
        """An entry is found by them."""
        origin = CountingOrigin()
        process = through(store, origin, tags=True, generations=True)
        await process.cache.set("k", b"old", WriteOptions(tags=("t",)), a_call())
        origin.values["k"] = OriginValue(b"new", tags=("t",))
        before = (await process.cache.get("k", a_call())).value
        await process.caches.invalidation(CACHE).by_tags(["t"], a_call())
        assert (b"old", b"new") == (before, (await process.cache.get("k", a_call())).value)

    async def test_operations_of_a_batch_keep_their_order(self, store: StandaloneStore) -> None:
        """A read after a write has it."""
        process = through(store, CountingOrigin(k=b"before"))
        plans: list[Any] = [
            process.cache.plan_get("k", a_call()),
            await process.cache.plan_set("k", b"v", PLAIN, a_call()),
            process.cache.plan_get("k", a_call()),
            await process.cache.plan_delete("k", PLAIN, a_call()),
            process.cache.plan_get("k", a_call()),
        ]
        found = await run_together(plans, store, a_call(), max_answer_bytes=1_000)
        assert [b"before", b"v", b""] == [found[place].value for place in (0, 2, 4)]

    async def test_a_repeat_has_the_same_token_and_leaves_nothing_in_the_cache(self, store: StandaloneStore) -> None:
        """The origin knows whether it was made before; the cache does not know whether it is the newest."""
        origin = CountingOrigin()
        process = through(store, origin)
        options = WriteOptions(idempotency_key="i")
        for _ in range(2):
            await process.cache.set("k", b"v", options, a_call())
        await process.cache.set("other", b"v", options, a_call())
        tokens = [change.token for change in origin.changes]
        assert (32, tokens[0], False) == (len(tokens[0]), tokens[1], tokens[0] == tokens[2])
        assert FromOrigin is type(await process.cache.get("k", a_call()))

    async def test_a_key_that_is_used_for_another_write_hides_none(self, store: StandaloneStore) -> None:
        """It is another change to an origin that makes each once: another value, a removal, another tenant's."""
        origin = CountingOrigin()
        process = through(store, origin)
        options = WriteOptions(idempotency_key="1")
        await process.cache.set("k", b"v", options, a_call())
        await process.cache.set("k", b"w", options, a_call())
        await process.cache.delete("k", options, a_call())
        await through(store, origin, tenant="other").cache.set("k", b"v", options, a_call())
        assert 4 == len({change.token for change in origin.changes})


class TestRefused:
    """What is not written."""

    @pytest.mark.parametrize("removes", [False, True])
    async def test_what_the_origin_refuses_changes_nothing(self, store: StandaloneStore, removes: bool) -> None:  # noqa: FBT001 (a case)
        """The entry lives for as long as it would have."""
        origin = CountingOrigin(k=b"v")
        process = through(store, origin, load_lease_ms=1_000, hard_timeout_ms=1_000)
        await process.cache.get("k", a_call())
        origin.failure = refused()
        writing = (
            process.cache.delete("k", PLAIN, a_call()) if removes else process.cache.set("k", b"w", PLAIN, a_call())
        )
        assert Reason.ORIGIN_REFUSED is await reason_of(writing)
        left_ms = await store.call(commands.pttl(b"sc:test:e:{c:k}"), a_call())
        assert (b"v", True) == ((await process.cache.get("k", a_call())).value, 50_000 < left_ms <= 60_000)

    async def test_what_may_have_been_written_is_asked_for_again(self, store: StandaloneStore) -> None:
        """The cache knows nothing then."""
        origin = CountingOrigin(k=b"v")
        process = through(store, origin)
        await process.cache.get("k", a_call())
        origin.lost = True
        assert Reason.ORIGIN_OUTCOME_UNKNOWN is await reason_of(process.cache.set("k", b"w", PLAIN, a_call()))
        assert (b"w", [["k"]] * 2) == ((await process.cache.get("k", a_call())).value, origin.loads)

    async def test_a_write_that_takes_too_long_may_have_been_made(self, store: StandaloneStore) -> None:
        """It is given up after the hard time-out."""
        origin = CountingOrigin()
        origin.hold()
        process = through(store, origin, hard_timeout_ms=30)
        assert Reason.ORIGIN_OUTCOME_UNKNOWN is await reason_of(process.cache.set("k", b"w", PLAIN, a_call()))

    async def test_nothing_that_is_wrong_reaches_the_origin(self, store: StandaloneStore) -> None:
        """Each is refused before."""
        origin = CountingOrigin()
        cache = through(store, origin, max_ttl_ms=60_000).cache
        writings = [
            cache.set("", b"v", PLAIN, a_call()),
            cache.set("k", b"v", WriteOptions(ttl_ms=60_001), a_call()),
            cache.set("k", b"v", WriteOptions(tags=("t",)), a_call()),
            cache.set("k", b"v", WriteOptions(condition=IF_PRESENT), a_call()),
            cache.delete("k", WriteOptions(condition=IF_PRESENT), a_call()),
            cache.set("k", b"v" * (1 << 21), PLAIN, a_call()),
            cache.touch("k", PLAIN, a_call()),
            cache.increment("k", 1, 0, PLAIN, a_call()),
        ]
        unsupported = Reason.UNSUPPORTED_BY_CACHE
        assert [
            Reason.KEY_EMPTY, Reason.TTL_TOO_LONG, unsupported, unsupported, unsupported, Reason.VALUE_TOO_LARGE,
            unsupported, unsupported,
        ] == [await reason_of(writing) for writing in writings]  # fmt: skip
        assert [] == origin.changes


class TestMeanwhile:
    """What happens while a write is under way."""

    async def test_a_reader_waits_for_a_writer(self, store: StandaloneStore) -> None:
        """Where there is nothing in the cache; and does not ask the origin."""
        origin = CountingOrigin()
        origin.hold()
        processes = [through(store, origin) for _ in range(2)]
        writing = asyncio.create_task(processes[0].cache.set("k", b"v", PLAIN, a_call()))
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        reading = asyncio.create_task(processes[1].cache.get("k", a_call()))
        await asyncio.sleep(0.02)
        origin.let_go()
        await writing
        assert (b"v", []) == ((await reading).value, origin.loads)

    async def test_writers_of_one_key_follow_each_other(self, store: StandaloneStore) -> None:
        """Beside two processes; what the last has written stands, in both places."""
        origin = CountingOrigin()
        processes = [through(store, origin) for _ in range(2)]
        writings = [processes[number % 2].cache.set("k", b"%d" % number, PLAIN, a_call()) for number in range(10)]
        await asyncio.gather(*writings)
        found = await processes[0].cache.get("k", a_call())
        assert (origin.values["k"], []) == (found.value, origin.loads)

    async def test_a_caller_who_leaves_leaves_no_half(self, store: StandaloneStore) -> None:
        """The write is made to its end."""
        origin = CountingOrigin(k=b"old")
        process = through(store, origin)
        await process.cache.get("k", a_call())
        origin.hold()
        writing = asyncio.create_task(process.cache.set("k", b"new", PLAIN, a_call()))
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        writing.cancel()
        origin.let_go()
        await process.caches.drain(PATIENCE_SECONDS)
        assert (b"new", b"new") == (origin.values["k"], (await process.cache.get("k", a_call())).value)

    async def test_a_write_that_does_not_get_its_turn_changes_nothing(self, store: StandaloneStore) -> None:
        """Before its deadline."""
        origin = CountingOrigin()
        origin.hold()
        processes = [through(store, origin) for _ in range(2)]
        first = asyncio.create_task(processes[0].cache.set("k", b"1", PLAIN, a_call()))
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        late = await reason_of(processes[1].cache.set("k", b"2", PLAIN, a_call(0.05)))
        origin.let_go()
        await first
        assert (Reason.DEADLINE_EXCEEDED, {"k": b"1"}) == (late, origin.values)

    async def test_no_write_begins_after_the_deadline(self, store: StandaloneStore) -> None:
        """Of several of one key those whose turn comes later are not made; who has asked for them is gone."""
        origin = CountingOrigin()
        origin.hold()
        process = through(store, origin)
        values = [NewValue("k", b"%d" % number, PLAIN) for number in range(3)]
        writing = asyncio.create_task(process.cache.set_many(values, a_call(0.2)))
        await asyncio.wait_for(origin.asked.wait(), PATIENCE_SECONDS)
        await asyncio.sleep(0.3)
        origin.let_go()
        reasons = [one.reason if isinstance(one, SidecarError) else None for one in await writing]
        assert ([None, *[Reason.DEADLINE_EXCEEDED] * 2], {"k": b"0"}) == (reasons, origin.values)
