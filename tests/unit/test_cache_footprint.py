"""What a cache takes is estimated without bias, and of what is to go there is no more than must, the coldest first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.footprint import (
    BEGIN_AT,
    FAR_SECONDS,
    NEAR_SECONDS,
    MemoryBound,
    Met,
    Sampled,
    Share,
    StoreMemory,
    memory_of,
    seconds_to_next_look,
    to_evict,
)

SAMPLES = st.lists(
    st.builds(Sampled, st.binary(max_size=3), st.integers(-9, 255)), max_size=60, unique_by=lambda one: one.key
)


@given(SAMPLES, st.integers(1, 5000), st.integers(0, 200_000), st.integers(1, 100_000))
def test_the_coldest_go_until_there_is_room(sample: list[Sampled], mean: int, taken: int, bound: int) -> None:
    """Nobody warmer goes than stays, one less would not have been enough, and part of each sample stays."""
    gone = to_evict(sample, mean, taken, bound)
    warmth = {one.key: one.warmth for one in sample}
    stay = [one.warmth for one in sample if one.key not in gone]
    assert max((warmth[key] for key in gone), default=-10) <= min(stay, default=256)
    assert not gone or taken - mean * (len(gone) - 1) > int(bound * BEGIN_AT)
    assert len(gone) <= max(1, len(sample) * 3 // 4)


def test_nothing_goes_while_there_is_room() -> None:
    """Below the point from which room is made a sample stays whole."""
    assert [] == to_evict([Sampled(b"k", 0)], 100, 90, 100)


@pytest.mark.parametrize(("taken", "gone"), [(9_500, 20), (10_000, 30), (20_000, 30)])
def test_the_nearer_the_bound_the_more_goes(taken: int, gone: int) -> None:
    """From a quarter of a sample to three."""
    sample = [Sampled(b"k%d" % number, number) for number in range(40)]
    assert gone == len(to_evict(sample, 1, taken, 10_000))


@pytest.mark.parametrize("own_size", [200, 20, 2000])
def test_the_share_of_many_samples_is_near_the_truth(own_size: int) -> None:
    """Keys are met at random, a third of them the cache's, of another size than the rest; the estimate is near."""
    drawn, share = random.Random(7), Share()
    for _ in range(50):
        own = [drawn.random() < 1 / 3 for _ in range(100)]
        sized = own[::5]
        mine = Met(sum(own), sum(sized), sum(sized) * own_size)
        share.observe(mine, Met(100 - sum(own), 20 - sum(sized), (20 - sum(sized)) * 200))
    truth = 900_000 * own_size / (own_size + 2 * 200)
    assert truth == pytest.approx(share.of(900_000), rel=0.1)
    assert own_size == share.mean_bytes


def test_what_has_not_been_looked_at_may_be_all() -> None:
    """Until something is known, the whole of the memory counts as the cache's."""
    assert 900 == Share().of(900)


def test_info_is_read() -> None:
    """The used memory, its bound, and whether uses are counted."""
    info = b"# Memory\r\nused_memory:17\r\nused_memory_human:17B\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lfu\r\n"
    assert StoreMemory(17, 100, True) == memory_of(info)
    assert StoreMemory(0, 0, False) == memory_of(b"# Memory\r\n")


def test_a_share_of_no_bound_is_none() -> None:
    """A size bounds in any store, a share only where there is something to be a share of."""
    memory, unbounded = StoreMemory(1, 1000, False), StoreMemory(1, 0, False)
    assert (800, None) == tuple(MemoryBound(percent=80).within(one) for one in (memory, unbounded))
    assert (50, 50) == tuple(MemoryBound(size_bytes=50).within(one) for one in (memory, unbounded))


@pytest.mark.parametrize(
    ("used", "before", "seconds"),
    [
        (100, 100, FAR_SECONDS),
        (500, 400, 0.2),
        (899, 0, NEAR_SECONDS),
        (901, 901, NEAR_SECONDS),
        (800, 900, FAR_SECONDS),
    ],
)
def test_the_faster_memory_fills_the_sooner_the_next_look(used: int, before: int, seconds: float) -> None:
    """By half of the time in which it would be full; at once if it is, and never very late."""
    assert seconds == pytest.approx(seconds_to_next_look(used, before, 0.1, 900))


def test_what_was_evicted_is_forgotten() -> None:
    """A cache that has lost half takes half; how large its entries are stays."""
    share = Share()
    share.observe(Met(50, 10, 1000), Met(50, 10, 1000))
    assert 500 == share.of(1000)
    share.forget(2, 400)
    assert (333, 100) == (share.of(1000), share.mean_bytes)
