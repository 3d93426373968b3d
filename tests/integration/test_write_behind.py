"""Write-behind over real stores: what is acknowledged reaches the origin, once, in the order of each key."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.write_behind import CACHE, PLAIN, QUICK, Ledger, make_rig, running, some_call, until

from sidecar.cache.policy import MISS, Outcome, WriteOutcome
from sidecar.cache.request import IF_ABSENT, IF_PRESENT, WriteOptions
from sidecar.cache.values import NewValue
from sidecar.cache.write_behind.partitions import Ask, Got
from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.cache.write_behind.schedule import Settled, Verdict
from sidecar.errors import Reason, SidecarError
from sidecar.origins.failures import unfit
from sidecar.store.keys import BEHIND_PARTITIONS, behind_partition
from sidecar.store.plans import run_together
from sidecar.telemetry.metrics import Counter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.origin import Change
    from sidecar.call import Call
    from sidecar.store.standalone import StandaloneStore


class Misconfigured(Ledger):
    """An origin that lacks its table until it is mended."""

    is_mended = False

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes, or say what is wrong."""
        if self.is_mended:
            return await super().store(changes, call)
        self.batches.append(len(changes))
        return [unfit("ledger", "42P01")] * len(changes)


PAGE_BYTES = 1_000_000
EACH = BehindPolicy(
    flush_after_ms=5, retry_base_ms=2, retry_cap_ms=20, lease_ms=2_000, store_timeout_ms=800, coalesce=False
)


class TestConfiguration:
    """An origin that is not as it should be."""

    async def test_changes_wait_until_it_is_mended(
        self, store: StandaloneStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """None becomes a dead letter, it is said once, and counted."""
        ledger = Misconfigured()

        async def attempted() -> bool:
            return len(ledger.batches) > 30

        async with running(store, ledger, replace(QUICK, max_attempts=2)) as rig:
            for number in range(20):
                await rig.values.set(f"k{number}", b"%d" % number, PLAIN, some_call())
            await until(attempted)
            assert not ledger.values
            ledger.is_mended = True
            await rig.settled()
            assert 0 == sum(standing.dead for standing in await rig.standings())
        assert {f"k{number}": b"%d" % number for number in range(20)} == ledger.values
        lines = [record.getMessage() for record in caplog.records if "mended" in record.getMessage()]
        assert 1 == len(lines)
        assert "42P01" in lines[0]
        changes = rig.metrics.families["sidecar_write_behind_changes"]
        assert isinstance(changes, Counter)
        assert changes.cell(CACHE, "misconfigured").value >= 20


class TestReachingTheOrigin:
    """What is written is stored some time later."""

    async def test_values_and_removals_arrive(self, store: StandaloneStore) -> None:
        """Whichever partitions their keys are in."""
        ledger = Ledger()
        async with running(store, ledger) as rig:
            for number in range(50):
                await rig.values.set(f"k{number}", b"%d" % number, PLAIN, some_call())
            await rig.settled()
            await rig.values.delete("k7", PLAIN, some_call())
            await rig.settled()
        assert {f"k{number}": b"%d" % number for number in range(50) if number != 7} == ledger.values

    async def test_a_batch_arrives(self, store: StandaloneStore) -> None:
        """SetMany and DeleteMany make a change for each of their items."""
        ledger = Ledger()
        async with running(store, ledger) as rig:
            await rig.values.set_many([NewValue(f"k{n}", b"v", PLAIN) for n in range(10)], some_call())
            await rig.values.delete_many(["k1", "k2"], PLAIN, some_call())
            await rig.settled()
        assert {f"k{n}" for n in range(10)} - {"k1", "k2"} == set(ledger.values)

    async def test_changes_of_a_key_coalesce(self, store: StandaloneStore) -> None:
        """Of those that wait the newest is sent alone."""
        ledger = Ledger()
        rig = make_rig(store, ledger)
        for number in range(100):
            await rig.values.set("k", b"%d" % number, PLAIN, some_call())
        rig.behind.start()
        await rig.settled()
        await rig.behind.stop()
        assert [("k", b"99")] == [(change.key, change.value) for change in ledger.told]

    async def test_changes_that_do_not_coalesce_are_all_sent(self, store: StandaloneStore) -> None:
        """In their order, one after the other."""
        ledger = Ledger()
        rig = make_rig(store, ledger, EACH)
        for number in range(20):
            await rig.values.set("k", b"%d" % number, PLAIN, some_call())
        rig.behind.start()
        await rig.settled()
        await rig.behind.stop()
        assert [b"%d" % number for number in range(20)] == [change.value for change in ledger.told]
        assert len(ledger.told) == len({change.token for change in ledger.told})

    @pytest.mark.parametrize("policies", [(EACH, QUICK), (QUICK, EACH)], ids=["then-coalescing", "then-each"])
    async def test_the_newest_arrives_whatever_the_policy_was_before(
        self, store: StandaloneStore, policies: tuple[BehindPolicy, BehindPolicy]
    ) -> None:
        """A roll-out has sidecars of both; a removal is a change as any."""
        ledger = Ledger(values={"removed": b"0"})
        rigs = [make_rig(store, ledger, policy) for policy in policies]
        for number, rig in enumerate((*rigs, *rigs)):
            await rig.values.set("k", b"%d" % number, PLAIN, some_call())
        await rigs[0].values.set("last", b"old", PLAIN, some_call())
        await rigs[1].values.set("last", b"new", PLAIN, some_call())
        await rigs[0].values.set("removed", b"1", PLAIN, some_call())
        await rigs[1].values.delete("removed", PLAIN, some_call())
        rigs[1].behind.start()
        await rigs[1].settled()
        await rigs[1].behind.stop()
        assert {"k": b"3", "last": b"new"} == ledger.values

    async def test_changes_go_in_batches(self, store: StandaloneStore) -> None:
        """As many as the policy allows."""
        ledger = Ledger()
        rig = make_rig(store, ledger, BehindPolicy(flush_after_ms=5, batch=25, concurrency=1))
        await rig.values.set_many([NewValue(f"k{n}", b"v", PLAIN) for n in range(100)], some_call())
        rig.behind.start()
        await rig.settled()
        await rig.behind.stop()
        assert (25, 100) == (max(ledger.batches), sum(ledger.batches))

    async def test_a_deletion_of_what_is_not_cached_reaches_the_origin(self, store: StandaloneStore) -> None:
        """It may have what the cache does not."""
        ledger = Ledger(values={"k": b"old"})
        async with running(store, ledger) as rig:
            written = await rig.values.delete("k", PLAIN, some_call())
            await rig.settled()
        assert (WriteOutcome.NOT_FOUND, {}) == (written.outcome, ledger.values)

    async def test_an_operation_among_others_makes_its_change(self, store: StandaloneStore) -> None:
        """As in a pipeline."""
        ledger = Ledger(values={"gone": b"old"})
        async with running(store, ledger) as rig:
            plans = [
                await rig.values.plan_set("k", b"1", PLAIN, some_call()),
                await rig.values.plan_delete("gone", PLAIN, some_call()),
            ]
            await run_together(plans, store, some_call(), max_answer_bytes=1_000)
            await rig.settled()
        assert {"k": b"1"} == ledger.values

    async def test_compressed_values_arrive_in_the_clear(self, store: StandaloneStore) -> None:
        """The origin knows nothing of how they lay in the store."""
        value = b"again and again " * 100
        ledger = Ledger()
        rig = make_rig(store, ledger, compress_above_bytes=64)
        await rig.values.set("k", value, PLAIN, some_call())
        await rig.values.forget_many(["k"], some_call())
        assert value == (await rig.values.get("k", some_call())).value
        rig.behind.start()
        await rig.settled()
        await rig.behind.stop()
        assert {"k": value} == ledger.values


class TestConditions:
    """A write whose condition does not hold makes no change."""

    async def test_a_refused_write_reaches_nobody(self, store: StandaloneStore) -> None:
        """Neither the entry nor the origin."""
        ledger = Ledger()
        async with running(store, ledger) as rig:
            await rig.values.set("k", b"1", PLAIN, some_call())
            refused = await rig.values.set("k", b"2", WriteOptions(condition=IF_ABSENT), some_call())
            missing = await rig.values.delete("other", WriteOptions(condition=IF_PRESENT), some_call())
            await rig.settled()
        assert (WriteOutcome.CONDITION_NOT_MET, WriteOutcome.NOT_FOUND) == (refused.outcome, missing.outcome)
        assert [b"1"] == [change.value for change in ledger.told]

    async def test_a_repeat_makes_no_second_change(self, store: StandaloneStore) -> None:
        """With an idempotency key."""
        ledger = Ledger()
        async with running(store, ledger, EACH) as rig:
            options = WriteOptions(idempotency_key="once")
            first = await rig.values.set("k", b"1", options, some_call())
            await rig.settled()
            second = await rig.values.set("k", b"1", options, some_call())
            await rig.settled()
        assert (first, 1) == (second, len(ledger.told))

    async def test_versions_go_on_from_what_is_pending(self, store: StandaloneStore) -> None:
        """An entry that was evicted meanwhile is there all the same."""
        rig = make_rig(store, Ledger())
        first = await rig.values.set("k", b"1", PLAIN, some_call())
        await rig.values.forget_many(["k"], some_call())
        condition = WriteOptions(condition=str(first.version))
        second = await rig.values.set("k", b"2", condition, some_call())
        assert WriteOutcome.APPLIED is second.outcome
        assert second.version > first.version


class TestReads:
    """What is pending is seen, whatever became of its entry."""

    async def test_a_value_whose_entry_is_gone_is_read(self, store: StandaloneStore) -> None:
        """Until the origin has it; then it is as any that is not cached."""
        rig = make_rig(store, Ledger())
        await rig.values.set("k", b"1", PLAIN, some_call())
        await rig.values.forget_many(["k"], some_call())
        pending = await rig.values.get("k", some_call())
        rig.behind.start()
        await rig.settled()
        await rig.behind.stop()
        assert (Outcome.HIT, b"1") == (pending.outcome, pending.value)
        assert MISS == await rig.values.get("k", some_call())

    async def test_an_expired_value_is_read(self, store: StandaloneStore) -> None:
        """There is nothing newer anywhere."""
        rig = make_rig(store, Ledger())
        await rig.values.set("k", b"1", WriteOptions(ttl_ms=1), some_call())
        await asyncio.sleep(0.01)
        found = await rig.values.get("k", some_call())
        assert (Outcome.HIT, b"1", 1_000) == (found.outcome, found.value, found.ttl_ms)

    async def test_what_was_deleted_is_a_miss(self, store: StandaloneStore) -> None:
        """Though the origin has it still."""
        rig = make_rig(store, Ledger())
        await rig.values.set("k", b"1", PLAIN, some_call())
        await rig.values.delete("k", PLAIN, some_call())
        assert MISS == await rig.values.get("k", some_call())

    async def test_many_are_read_together(self, store: StandaloneStore) -> None:
        """With what is pending among them."""
        rig = make_rig(store, Ledger())
        await rig.values.set_many([NewValue(f"k{n}", b"v", PLAIN) for n in range(3)], some_call())
        await rig.values.forget_many(["k1"], some_call())
        await rig.values.delete("k2", PLAIN, some_call())
        found = await rig.values.get_many(["k0", "k1", "k2"], some_call())
        outcomes = [one[0] for one in found if not isinstance(one, SidecarError)]
        assert [Outcome.HIT, Outcome.HIT, Outcome.MISS] == outcomes


class TestFailures:
    """What the origin does not take at once."""

    async def test_a_refused_change_is_a_dead_letter_and_can_be_replayed(self, store: StandaloneStore) -> None:
        """With the token that it had; others go on meanwhile."""
        ledger = Ledger(refuse=lambda change: Reason.ORIGIN_REFUSED if change.key == "bad" else None)
        async with running(store, ledger) as rig:
            await rig.values.set("bad", b"1", PLAIN, some_call())
            await rig.values.set("good", b"1", PLAIN, some_call())
            await rig.settled()
            page = await rig.cache.dead_letters.page("", 10, PAGE_BYTES, some_call())
            assert [("bad", b"1", "ORIGIN_REFUSED", 1)] == [
                (letter.key, letter.value, letter.reason, letter.attempts) for letter in page.letters
            ]
            ledger.refuse = lambda _: None
            done = await rig.cache.dead_letters.replay([], some_call(), forced=False)
            await rig.settled()
            assert 1 == done.replayed
            assert [] == (await rig.cache.dead_letters.page("", 10, PAGE_BYTES, some_call())).letters
        assert {"good": b"1", "bad": b"1"} == ledger.values
        assert page.letters[0].token in ledger.made

    async def test_a_change_that_is_too_old_is_not_made(self, store: StandaloneStore) -> None:
        """The origin may have forgotten its token; nor does a replay change that."""
        ledger = Ledger()
        rig = make_rig(store, ledger, replace(EACH, change_life_ms=1))
        await rig.values.set("k", b"1", PLAIN, some_call())
        await asyncio.sleep(0.005)
        rig.behind.start()
        await rig.settled()
        replayed = await rig.cache.dead_letters.replay([], some_call(), forced=True)
        await rig.settled()
        letters = (await rig.cache.dead_letters.page("", 10, PAGE_BYTES, some_call())).letters
        await rig.behind.stop()
        assert ([], 1) == (ledger.told, replayed.replayed)
        assert [("k", b"1", "CHANGE_EXPIRED")] == [(letter.key, letter.value, letter.reason) for letter in letters]

    async def test_a_dead_letter_is_not_replayed_over_what_is_newer(self, store: StandaloneStore) -> None:
        """Unless it is forced to."""
        ledger = Ledger(refuse=lambda change: Reason.ORIGIN_REFUSED if change.value == b"1" else None)
        async with running(store, ledger) as rig:
            await rig.values.set("k", b"1", PLAIN, some_call())
            await rig.settled()
            await rig.values.set("k", b"2", PLAIN, some_call())
            await rig.settled()
            ledger.refuse = lambda _: None
            letter = (await rig.cache.dead_letters.page("", 10, PAGE_BYTES, some_call())).letters[0].id
            refused = await rig.cache.dead_letters.replay([letter], some_call(), forced=False)
            assert ((letter,), b"2") == (refused.newer_stored, ledger.values["k"])
            forced = await rig.cache.dead_letters.replay([letter], some_call(), forced=True)
            await rig.settled()
            assert (1, b"1") == (forced.replayed, ledger.values["k"])

    async def test_dead_letters_are_paged_and_discarded(self, store: StandaloneStore) -> None:
        """Each is listed once."""
        ledger = Ledger(refuse=lambda _: Reason.ORIGIN_REFUSED)
        async with running(store, ledger) as rig:
            await rig.values.set_many([NewValue(f"k{n}", b"v", PLAIN) for n in range(30)], some_call())
            await rig.settled()
            listed, token = [], ""
            while True:
                page = await rig.cache.dead_letters.page(token, 7, PAGE_BYTES, some_call())
                listed += [letter.key for letter in page.letters]
                token = page.next
                if not token:
                    break
            assert sorted(f"k{n}" for n in range(30)) == sorted(listed)
            assert 30 == await rig.cache.dead_letters.discard([], some_call())
            assert 0 == (await rig.cache.status(some_call())).dead

    async def test_a_change_at_which_the_origin_fails_holds_up_no_other_key(self, store: StandaloneStore) -> None:
        """And is a dead letter after its attempts, though it shares its batches with others."""
        ledger = Ledger(refuse=lambda change: Reason.INTERNAL if change.key == "bad" else None)
        policy = BehindPolicy(flush_after_ms=5, retry_base_ms=2, retry_cap_ms=5, max_attempts=4)
        async with running(store, ledger, policy) as rig:
            await rig.values.set_many([NewValue(key, b"v", PLAIN) for key in ("a", "bad", "b")], some_call())
            await rig.settled()
            letters = (await rig.cache.dead_letters.page("", 10, PAGE_BYTES, some_call())).letters
        assert ({"a": b"v", "b": b"v"}, [("bad", 4)]) == (
            ledger.values,
            [(letter.key, letter.attempts) for letter in letters],
        )

    @pytest.mark.parametrize("reason", [Reason.ORIGIN_UNAVAILABLE, Reason.ORIGIN_TIMED_OUT])
    async def test_an_origin_that_is_down_makes_no_dead_letters(self, store: StandaloneStore, reason: Reason) -> None:
        """However often it is asked; all arrives when it is back."""
        ledger = Ledger(refuse=lambda _: reason)
        policy = BehindPolicy(flush_after_ms=2, retry_base_ms=1, retry_cap_ms=4, max_attempts=2)
        async with running(store, ledger, policy) as rig:
            await rig.values.set_many([NewValue(f"k{n}", b"v", PLAIN) for n in range(40)], some_call())

            async def was_asked_often() -> bool:
                return len(ledger.batches) > 10

            await until(was_asked_often)
            ledger.refuse = lambda _: None
            await rig.settled()
            assert (40, 0) == (len(ledger.values), (await rig.cache.status(some_call())).dead)

    async def test_the_order_of_a_key_survives_failures(self, store: StandaloneStore) -> None:
        """A later change waits for the one that fails, others do not."""
        failures: dict[str, int] = defaultdict(int)

        def refuse(change: Change) -> Reason | None:
            failures[change.token] += 1
            return Reason.INTERNAL if change.key == "k" and failures[change.token] < 3 else None

        ledger = Ledger(refuse=refuse)
        async with running(store, ledger, EACH) as rig:
            for number in range(5):
                await rig.values.set("k", b"%d" % number, PLAIN, some_call())
                await rig.values.set("other", b"%d" % number, PLAIN, some_call())
            await rig.settled()
        made = [change.value for change in ledger.made.values() if change.key == "k"]
        assert [b"%d" % number for number in range(5)] == made


class TestOrder:
    """Of each key, whatever waits for what."""

    async def test_what_was_passed_over_is_not_overtaken(self, store: StandaloneStore) -> None:
        """Though nothing of its name is under way any more when the taking goes on behind it."""
        rig = make_rig(store, Ledger(), EACH)
        first, second = [name for n in range(99) if behind_partition((name := f"k{n}").encode()) == 0][:2]
        partitions = rig.cache.partitions
        fence = (await partitions.hold("test", 60_000, some_call(), [0])).fences[0]

        async def take(after: str, passed: frozenset[bytes]) -> Got:
            (got,) = await partitions.take([Ask(0, fence, 1, after, anew=False, passed=passed)], some_call())
            assert isinstance(got, Got)
            return got

        for key, value in ((first, b"1"), (first, b"2"), (second, b"3"), (first, b"4"), (second, b"5")):
            await rig.values.set(key, value, PLAIN, some_call())
        (one,) = (await take("", frozenset())).taken
        got = await take("", frozenset())
        (other,) = got.taken
        assert (first.encode(), second.encode(), [first.encode()]) == (one.name, other.name, list(got.passed))
        await partitions.settle(0, fence, [Settled(one, Verdict.STORED), Settled(other, Verdict.STORED)], some_call())
        behind = await take(got.on, got.passed)
        assert [second.encode()] == [taken.name for taken in behind.taken]
        anew = await take("", frozenset())
        change = await rig.reader.read(anew.taken[0].name, anew.taken[0].id, anew.taken[0].change, some_call())
        assert (first, b"2") == (change.key, change.value)

    async def test_many_writes_of_few_keys_stay_in_order(self, store: StandaloneStore) -> None:
        """While they are written, sent in small batches, and fail now and then."""
        chance = random.Random(7)
        ledger = Ledger(refuse=lambda _: Reason.INTERNAL if chance.random() < 0.1 else None)
        policy = replace(EACH, batch=3, flush_after_ms=1, retry_base_ms=1, retry_cap_ms=2, max_attempts=100)
        async with running(store, ledger, policy) as rig:
            for number in range(400):
                key = chance.choice("abcdef")
                await rig.values.set(key, b"%03d" % number, PLAIN, some_call())
            await rig.settled()
        for key in "abcdef":
            made = [change.value or b"" for change in ledger.made.values() if change.key == key]
            assert sorted(made) == made
        assert 400 == len(ledger.made)


class TestBounds:
    """What is pending has an end."""

    async def test_a_full_partition_refuses(self, store: StandaloneStore) -> None:
        """With a hint when to try again, and nothing changed; what coalesces needs no room."""
        rig = make_rig(store, Ledger(), BehindPolicy(max_pending=16))
        await rig.values.set("k", b"1", PLAIN, some_call())
        await rig.values.set("k", b"2", PLAIN, some_call())
        writes = await rig.values.set_many([NewValue(f"k{n}", b"1", PLAIN) for n in range(100)], some_call())
        refused = [one for one in writes if isinstance(one, SidecarError)]
        assert {(Reason.WRITE_BEHIND_FULL, 250)} == {(one.reason, one.retry_after_ms) for one in refused}
        assert b"2" == (await rig.values.get("k", some_call())).value

    async def test_touch_and_increment_are_refused(self, store: StandaloneStore) -> None:
        """An origin cannot be told of them."""
        rig = make_rig(store, Ledger())
        for refused in (
            rig.values.touch("k", PLAIN, some_call()),
            rig.values.increment("k", 1, 0, PLAIN, some_call()),
        ):
            with pytest.raises(SidecarError) as error:
                await refused
            assert Reason.UNSUPPORTED_BY_CACHE is error.value.reason


class TestOwners:
    """Each partition's changes are sent by one."""

    async def test_two_senders_send_each_change_once(self, store: StandaloneStore) -> None:
        """Whoever owns its partition."""
        ledger = Ledger()
        async with running(store, ledger) as one, running(store, ledger) as other:
            for number in range(100):
                await one.values.set(f"k{number}", b"v", PLAIN, some_call())
            await one.settled()
            owned = one.cache.flusher.owned, other.cache.flusher.owned
        assert (100, True) == (len(ledger.told), owned[0].isdisjoint(owned[1]))

    async def test_who_stops_lets_another_go_on_at_once(self, store: StandaloneStore) -> None:
        """Well before the lease would have ended; what was under way is sent again under its token."""
        hangs = asyncio.Event()

        async def hang(_: Sequence[Change]) -> None:
            await hangs.wait()

        slow, quick = Ledger(before=hang), Ledger()
        policy = BehindPolicy(flush_after_ms=5, lease_ms=60_000, store_timeout_ms=30_000)
        one = make_rig(store, slow, policy)
        one.behind.start()
        await one.values.set("k", b"1", PLAIN, some_call())

        async def is_sent() -> bool:
            return bool(slow.told)

        await until(is_sent)
        await one.behind.stop()
        async with running(store, quick, policy) as other:
            await other.settled()
        assert slow.told == quick.told

    async def test_a_dead_owner_is_succeeded_within_its_lease(self, store: StandaloneStore) -> None:
        """What it does after that has no effect on what is pending."""
        one = make_rig(store, Ledger(), BehindPolicy(flush_after_ms=5, lease_ms=300, store_timeout_ms=100))
        call = some_call()
        fences = (await one.cache.partitions.hold("dead", 300, call, range(BEHIND_PARTITIONS))).fences
        await one.values.set("k", b"1", PLAIN, call)
        ledger = Ledger()
        begun = asyncio.get_running_loop().time()
        async with running(store, ledger, QUICK) as rig:
            await rig.settled()
            took = asyncio.get_running_loop().time() - begun
            assert not await one.cache.partitions.settle(0, fences[0], [], call)
        assert {"k": b"1"} == ledger.values
        assert took < 2

    async def test_draining_sends_what_waits(self, store: StandaloneStore) -> None:
        """Without waiting for more to come together."""
        ledger = Ledger()
        rig = make_rig(store, ledger, BehindPolicy(flush_after_ms=60_000))
        rig.behind.start()

        async def owns() -> bool:
            return len(rig.cache.flusher.owned) == 16

        await until(owns)
        await rig.values.set("k", b"1", PLAIN, some_call())
        assert await rig.behind.drain(some_call(5).deadline)
        await rig.behind.stop()
        assert {"k": b"1"} == ledger.values

    async def test_flush_waits_for_what_is_pending(self, store: StandaloneStore) -> None:
        """And says what is left where there is no time."""
        ledger = Ledger(refuse=lambda _: Reason.ORIGIN_UNAVAILABLE)
        async with running(store, ledger) as rig:
            await rig.values.set("k", b"1", PLAIN, some_call())
            assert 1 == await rig.cache.flush(some_call(0.2))
            ledger.refuse = lambda _: None
            assert 0 == await rig.cache.flush(some_call())
            assert {"k": b"1"} == ledger.values
