"""The map of copies: bounded in bytes, and true to what was put into it."""

from __future__ import annotations

import time
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.near.copies import Copy
from sidecar.cache.near.sieve import OVERHEAD_BYTES, Sieve

ROOM = 20 * (OVERHEAD_BYTES + 100)

KEYS = st.integers(0, 30).map(b"key-%d".__mod__)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(0, 2000)),
        st.tuples(st.just("hit"), KEYS, st.just(0)),
        st.tuples(st.just("drop"), KEYS, st.just(0)),
        st.tuples(st.just("clear"), st.just(b""), st.just(0)),
    ),
    max_size=200,
)


@given(STEPS)
def test_what_is_there_is_what_was_put_last(steps: list[tuple[str, bytes, int]]) -> None:
    """And what was dropped is not there; whatever is done, it takes no more room than it has."""
    sieve: Sieve[int] = Sieve(ROOM)
    last: dict[bytes, int] = {}
    for number, (step, key, size) in enumerate(steps):
        if step == "put":
            assert (size + len(key) + OVERHEAD_BYTES <= ROOM // 8) == sieve.put(key, number, size)
            last[key] = number
        elif step == "hit" and key in sieve.items:
            sieve.items[key].marked = True
        elif step == "drop":
            assert (key in sieve.items) == sieve.drop(key)
            last.pop(key, None)
        elif step == "clear":
            assert len(sieve) == sieve.clear()
            last.clear()
        assert {key: last[key] for key in sieve.items} == {key: item.value for key, item in sieve.items.items()}
        assert sum(item.size for item in sieve.items.values()) == sieve.bytes
        assert sieve.bytes <= ROOM


def test_what_is_asked_for_survives_a_scan() -> None:
    """However many others come by that are asked for once."""
    sieve: Sieve[int] = Sieve(ROOM)
    for number in range(10):
        sieve.put(b"hot-%d" % number, number, 50)
    for number in range(10_000):
        for hot in range(10):
            sieve.items[b"hot-%d" % hot].marked = True
        sieve.put(b"cold-%d" % number, number, 50)

    assert {b"hot-%d" % number for number in range(10)} <= set(sieve.items)


def test_what_has_cooled_down_makes_room() -> None:
    """An item whose mark is never renewed goes when the hand comes by again, as it does while others are asked for."""
    sieve: Sieve[int] = Sieve(ROOM)
    sieve.put(b"once hot", 0, 50)
    sieve.items[b"once hot"].marked = True
    for number in range(100):
        sieve.put(b"cold-%d" % number, number, 50)
        sieve.items[b"cold-%d" % number].marked = bool(number % 2)

    assert b"once hot" not in sieve.items


def test_its_account_is_true() -> None:
    """What it says that a copy takes is what Python says, within a tenth."""
    count, now = 20_000, time.time_ns() // 1000
    sieve: Sieve[Copy] = Sieve(1 << 30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count):
            copy = Copy(now + number, now + number, now + number + 10**9, bytes(100), 1000)
            sieve.put(b"sc:default:e:{balances:account:%06d}" % number, copy, len(copy.value))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.9 < (after - before) / sieve.bytes < 1.1


class Draws:
    """Draws that come out as one likes."""

    def __init__(self, *drawn: int) -> None:
        self._drawn = iter(drawn)

    def __call__(self, _bits: int) -> int:
        """Return the next."""
        return next(self._drawn)


def full(count: int, *drawn: int) -> Sieve[int]:
    """Return a map of so many items that may hold no more."""
    sieve: Sieve[int] = Sieve(1 << 20, Draws(*drawn))
    sieve.max_items = count
    for number in range(count):
        sieve.put(b"key-%d" % number, number, 50)
    return sieve


class TestRoom:
    """What may be cold is put only where there is room, or something colder."""

    def test_while_there_is_room_all_is_put(self) -> None:
        """Neither the bytes nor the number of items are exhausted."""
        sieve: Sieve[int] = Sieve(ROOM, Draws())
        for number in range(18):
            assert sieve.has_room()
            sieve.put(b"key-%d" % number, number, 50)

    def test_when_the_bytes_are_exhausted_there_is_none(self) -> None:
        """From nineteen twentieths on."""
        sieve: Sieve[int] = Sieve(ROOM, Draws(1))
        for number in range(40):
            sieve.put(b"key-%d" % number, number, 50)
        assert not sieve.has_room()

    def test_one_of_many_that_ask_takes_the_place_of_what_is_not_used(self) -> None:
        """That is the one under the hand."""
        sieve = full(3, 31, 7, 0)
        assert [False, False, True] == [sieve.has_room() for _ in range(3)]
        sieve.put(b"other", 9, 50)
        assert {b"key-1", b"key-2", b"other"} == set(sieve.items)

    def test_what_is_used_stays(self) -> None:
        """The hand takes its mark away and moves on; its next use is noted anew."""
        sieve = full(3, 0, 0)
        item = sieve.items[b"key-0"]
        item.marked = item.noted = True
        assert [False, True] == [sieve.has_room() for _ in range(2)]
        assert [False, False] == [item.marked, item.noted]
        sieve.put(b"other", 9, 50)
        assert {b"key-0", b"key-2", b"other"} == set(sieve.items)

    def test_the_hand_comes_round(self) -> None:
        """What is not used again after it came by is exchanged."""
        sieve = full(3, 0, 0, 0, 0)
        for item in sieve.items.values():
            item.marked = True
        assert [False, False, False, True] == [sieve.has_room() for _ in range(4)]

    def test_fewer_items_may_be_held_than_there_are(self) -> None:
        """Each that is put has some of the surplus go."""
        sieve = full(100)
        sieve.max_items = 2
        counts = []
        for number in range(5):
            assert sieve.put(b"other-%d" % number, number, 50)
            counts.append(len(sieve))
        assert [69, 38, 7, 2, 2] == counts
        assert b"other-4" in sieve.items
