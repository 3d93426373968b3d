"""A map that holds so many bytes at the most, and gives up what is asked for least. Pure: no clock and no store.

*SIEVE* (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024). Items stand in the order in which they came. A hit sets
a mark on its item and moves nothing. When room is needed, a hand goes from the oldest to the newest: it takes a mark
away, and gives up the first item that has none; there it stays. What was asked for once leaves as soon as the hand
comes by, so a scan of cold keys costs the hot ones nothing: admission is a part of the order.

A hit costs a look into a dict and an assignment. LRU would move the item with each hit; docs/adr/0025-near-cache.md has
the figures, those of two libraries among them.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

V = TypeVar("V")

# What an item takes beside its key's and its value's own bytes: itself, its place in the dict, a tuple of four numbers,
# the headers of its bytes. Measured with tracemalloc (tests/unit/test_near_sieve.py).
OVERHEAD_BYTES = 420

# The part of the room that one item may take.
_MOST_SHARE = 8

# From here on there is no room for what may be cold.
_FULL = 0.95
# Many at once would keep all callers waiting.
_SURPLUS_AT_ONCE = 32
# Of so many that ask while there is no room, one has the hand move on.
_ASKING_BITS = 5


class Item(Generic[V]):
    """A value and its place in the order."""

    __slots__ = ("key", "marked", "newer", "noted", "older", "size", "value")

    def __init__(self, key: bytes, value: V, size: int) -> None:
        self.key = key
        self.value = value
        self.size = size
        self.marked = False
        self.noted = False
        """Marked, and needing no more note of its use for now: see `near/uses.py`."""
        self.older: Item[V] | None = None
        self.newer: Item[V] | None = None


class Sieve(Generic[V]):
    """Items by key, `max_bytes` of them at the most."""

    def __init__(self, max_bytes: int, draw: Callable[[int], int] = random.getrandbits) -> None:
        self._max_bytes = max_bytes
        self._draw = draw
        self.max_items = sys.maxsize
        """How many items there may be; if it becomes less, the surplus goes little by little with what is put."""
        self._oldest: Item[V] | None = None
        self._newest: Item[V] | None = None
        self._hand: Item[V] | None = None
        self.items: dict[bytes, Item[V]] = {}
        """All items. Whoever finds what it looks for marks it; nobody else changes this."""
        self.bytes = 0
        """What the items take, with all that belongs to them."""
        self.evicted = 0
        """How many had to make room."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def put(self, key: bytes, value: V, value_bytes: int) -> bool:
        """Hold a value, in place of another of that key; return whether there is room for it at all.

        One item takes an eighth of the room at the most: one that is larger would push out hundreds.
        """
        self.drop(key)
        size = value_bytes + len(key) + OVERHEAD_BYTES
        if size > self._max_bytes // _MOST_SHARE:
            return False
        while self.bytes + size > self._max_bytes:
            self._make_room()
        for _ in range(min(_SURPLUS_AT_ONCE, len(self.items) + 1 - self.max_items)):
            self._make_room()
        item = Item(key, value, size)
        item.older = self._newest
        if self._newest is None:
            self._oldest = item
        else:
            self._newest.newer = item
        self._newest = item
        self.items[key] = item
        self.bytes += size
        return True

    def has_room(self) -> bool:
        """Say whether what may be asked for once and never again is to be put here.

        It is while there is room. When there is none, one of 32 that ask looks at the item under the hand: if that has
        no mark, it may go for what comes; if it has, that is taken away. So what was used since the hand came by last
        stays, and what was not is exchanged for something else, slowly.
        """
        if self.bytes <= self._max_bytes * _FULL and len(self.items) < self.max_items:
            return True
        if self._draw(_ASKING_BITS):
            return False
        item = self._hand or self._oldest
        if item is None or not item.marked:
            return True
        item.marked = item.noted = False
        self._hand = item.newer or self._oldest
        return False

    def drop(self, key: bytes) -> bool:
        """Give up an item; return whether it was there."""
        item = self.items.pop(key, None)
        if item is None:
            return False
        self._unlink(item)
        return True

    def clear(self) -> int:
        """Give up all items; return how many there were."""
        count = len(self.items)
        for item in self.items.values():
            item.older = item.newer = None  # a ring of references would stay until it is collected
        self.items.clear()
        self._oldest = self._newest = self._hand = None
        self.bytes = 0
        return count

    def _make_room(self) -> None:
        """Give up the first item without a mark, from where the hand stands; called only where there is one."""
        item = self._hand or self._oldest
        while item is not None and item.marked:
            item.marked = item.noted = False
            item = item.newer or self._oldest
        if item is None:
            return
        self._hand = item  # which moves on as it is dropped
        self.drop(item.key)
        self.evicted += 1

    def _unlink(self, item: Item[V]) -> None:
        older, newer = item.older, item.newer
        if older is None:
            self._oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        if self._hand is item:
            self._hand = newer  # none: it begins with the oldest again
        item.older = item.newer = None
        self.bytes -= item.size
