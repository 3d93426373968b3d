"""What is known of keys until a moment of the store's clock, for a bounded number of keys.

A wait counts from the store's time of the answer that it came with. The estimate of the store's clock is never behind
it, so a wait ends early rather than late, by no more than the way to the store takes; it is kept on the monotonic
clock, so that no step of any clock makes it longer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.clock import StoreClock

T = TypeVar("T")


def monotonic_us() -> int:
    """Return the moment on the monotonic clock."""
    return time.monotonic_ns() // 1_000


class Wait(NamedTuple, Generic[T]):
    """What is known of a key."""

    known: T
    passed_us: int
    """Since it became known."""
    left_us: int
    """Until it is no longer so; above 0."""


class _Span(NamedTuple, Generic[T]):
    known: T
    begun_us: int
    ends_us: int


class Waits(Generic[T]):
    """The waits of many keys, by their names in the store; the oldest is forgotten when there are more than `most`."""

    def __init__(self, *, clock: StoreClock, most: int, now_us: Callable[[], int] = monotonic_us) -> None:
        self._clock = clock
        self._most = most
        self._now_us = now_us
        self._spans: OrderedDict[bytes, _Span[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spans)

    def find(self, state_key: bytes) -> Wait[T] | None:
        """Return a key's wait, None if there is none or it has ended."""
        span = self._spans.get(state_key)
        if span is None:
            return None
        now_us = self._now_us()
        if now_us >= span.ends_us:
            del self._spans[state_key]
            return None
        return Wait(span.known, now_us - span.begun_us, span.ends_us - now_us)

    def note(self, state_key: bytes, known: T, wait_us: int, store_us: int) -> None:
        """Know this of a key for so long from the store's time `store_us`; nothing if that has passed already."""
        left_us = min(wait_us, store_us + wait_us - self._clock.micros())
        if left_us <= 0:
            return
        now_us = self._now_us()
        self._spans[state_key] = _Span(known, now_us, now_us + left_us)
        self._spans.move_to_end(state_key)
        if len(self._spans) > self._most:
            self._spans.popitem(last=False)

    def drop(self, state_key: bytes) -> None:
        """Forget a key."""
        self._spans.pop(state_key, None)

    def clear(self) -> None:
        """Forget all keys."""
        self._spans.clear()
