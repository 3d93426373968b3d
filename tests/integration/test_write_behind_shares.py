"""The partitions of a write-behind cache are shared out over all who send its changes."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from support.write_behind import PLAIN, Ledger, make_rig, running, some_call, until

from sidecar.cache.write_behind.ownership import Ownership, share_of
from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.store.keys import BEHIND_PARTITIONS, behind_partition

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from support.write_behind import Rig

    from sidecar.cache.origin import Change
    from sidecar.cache.write_behind.partitions import Held
    from sidecar.call import Call
    from sidecar.store.standalone import StandaloneStore

# The lease is longer than a stall of a busy machine, so that nothing but a hand-over moves a partition.
EACH = BehindPolicy(flush_after_ms=5, batch=5, coalesce=False, lease_ms=6_000, store_timeout_ms=2_500)


@pytest.fixture
def store_kind() -> str:
    """Return one kind of store: what differs between kinds is tested elsewhere."""
    return "valkey"


@pytest.mark.parametrize("senders", [1, 2, 3, 5, 16, 17, 40])
def test_shares_are_all_there_is(senders: int) -> None:
    """And no two differ by more than one."""
    shares = [share_of(senders, before) for before in range(senders)]
    assert (BEHIND_PARTITIONS, True) == (sum(shares), max(shares) - min(shares) <= 1)


async def are_shared(rigs: Sequence[Rig]) -> None:
    """Wait until each has its share, and nobody else has any."""
    shares = sorted(share_of(len(rigs), before) for before in range(len(rigs)))

    async def fair() -> bool:
        return shares == sorted(len(rig.cache.flusher.owned) for rig in rigs)

    await until(fair)
    assert BEHIND_PARTITIONS == len(frozenset().union(*(rig.cache.flusher.owned for rig in rigs)))


async def test_who_comes_gets_a_share_and_who_goes_leaves_it(store: StandaloneStore) -> None:
    """While all of them are busy: each change is sent once, those of a key in their order."""

    async def take_a_while(_: Sequence[Change]) -> None:
        await asyncio.sleep(0.01)

    ledger = Ledger(before=take_a_while)
    writer = make_rig(store, ledger, EACH)
    written = 0
    is_over = asyncio.Event()

    async def write() -> None:
        nonlocal written
        while not is_over.is_set():
            await writer.values.set(f"k{written % 40}", b"%06d" % written, PLAIN, some_call())
            written += 1
            await asyncio.sleep(0.001)

    async with running(store, ledger, EACH) as first:
        writing = asyncio.create_task(write())
        await are_shared([first])
        async with AsyncExitStack() as stack:
            others = [await stack.enter_async_context(running(store, ledger, EACH)) for _ in range(2)]
            await are_shared([first, *others])
            for other in others:
                assert await other.behind.drain(some_call().deadline)
                assert not other.cache.flusher.owned
        await are_shared([first])
        is_over.set()
        await writing
        await first.settled()
    assert written == len(ledger.told) == len(ledger.made)
    for key in ledger.values:
        made = [change.value or b"" for change in ledger.told if change.key == key]
        assert sorted(made) == made


async def test_what_is_under_way_is_waited_for(store: StandaloneStore) -> None:
    """Before a partition is let go; others of it wait for the next owner."""
    answers = asyncio.Event()

    async def hang(_: Sequence[Change]) -> None:
        await answers.wait()

    slow = Ledger(before=hang)
    policy = BehindPolicy(
        flush_after_ms=5, batch=1, concurrency=64, coalesce=False, lease_ms=60_000, store_timeout_ms=30_000
    )
    async with running(store, slow, policy) as first:
        keys = [f"k{number}" for number in range(40)]
        for value in (b"1", b"2"):
            for key in keys:
                await first.values.set(key, value, PLAIN, some_call())

        async def are_sent() -> bool:
            return len(slow.told) == len({behind_partition(key.encode()) for key in keys})

        await until(are_sent)
        quick = Ledger()
        async with running(store, quick, policy) as other:

            async def is_resting() -> bool:
                return len(first.cache.flusher.resting) == BEHIND_PARTITIONS // 2

            await until(is_resting)
            assert not other.cache.flusher.owned
            answers.set()
            await are_shared([first, other])
            await first.settled()
    told = [*slow.told, *quick.told]
    assert quick.told
    assert 2 * len(keys) == len(told) == len({change.token for change in told})
    assert {key: [b"1", b"2"] for key in keys} == {
        key: [change.value for change in told if change.key == key] for key in keys
    }


async def test_a_dead_sender_counts_for_its_lease(store: StandaloneStore) -> None:
    """Then others have its share."""
    policy = BehindPolicy(flush_after_ms=5, lease_ms=600, store_timeout_ms=200)
    dead = make_rig(store, Ledger(), policy)
    await dead.cache.partitions.attend("0", policy.lease_ms, some_call())
    await dead.cache.partitions.hold("0", policy.lease_ms, some_call(), range(BEHIND_PARTITIONS))
    async with running(store, Ledger(), policy) as one, running(store, Ledger(), policy) as other:
        await are_shared([one, other])


async def test_all_who_send_stop_at_once(store: StandaloneStore) -> None:
    """What waits is sent, though each has seen the others leave."""
    ledger = Ledger()
    policy = BehindPolicy(flush_after_ms=60_000, lease_ms=2_000, store_timeout_ms=800)
    rigs = [make_rig(store, ledger, policy) for _ in range(3)]
    for rig in rigs:
        rig.behind.start()
    await are_shared(rigs)
    for number in range(200):
        await rigs[0].values.set(f"k{number}", b"v", PLAIN, some_call())
    drained = await asyncio.gather(*(rig.behind.drain(some_call().deadline) for rig in rigs))
    for rig in rigs:
        await rig.behind.stop()
    assert ([True] * 3, 200, 200) == (drained, len(ledger.told), len(ledger.values))


async def test_a_flush_hurries_all_who_send(store: StandaloneStore) -> None:
    """Also those that the call did not come to."""
    ledger = Ledger()
    policy = BehindPolicy(flush_after_ms=600_000, lease_ms=2_000, store_timeout_ms=800)
    async with running(store, ledger, policy) as one, running(store, ledger, policy) as other:
        await are_shared([one, other])
        for number in range(100):
            await one.values.set(f"k{number}", b"v", PLAIN, some_call())
        assert 0 == await one.cache.flush(some_call())
    assert 100 == len(ledger.values)


async def test_a_hurry_that_comes_while_more_is_taken_is_heard(
    store: StandaloneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal asks the store twice if it lacks some of its share; the second answer may be the one that tells."""
    partitions = make_rig(store, Ledger(), EACH).cache.partitions
    others = (await partitions.hold("other", 60_000, some_call(), range(8))).fences
    own = Ownership(partitions, "own", 60_000, lambda _: some_call())
    await own.renew(time.monotonic())
    assert set(range(8, BEHIND_PARTITIONS)) == set(own.fences)
    await partitions.free(others, some_call())
    hold = partitions.hold

    async def hold_and_hurry(owner: str, lease_ms: int, call: Call, wanted: Collection[int] = ()) -> Held:
        held = await hold(owner, lease_ms, call, wanted)
        if not wanted:
            await partitions.hurry(some_call())
        return held

    monkeypatch.setattr(partitions, "hold", hold_and_hurry)
    renewed = await own.renew(time.monotonic())
    assert (frozenset(range(8)), frozenset(range(BEHIND_PARTITIONS))) == (renewed.gained, renewed.hurried)
