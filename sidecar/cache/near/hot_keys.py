"""Which keys of a cache are hot: a bounded sketch of what is read, and no clock.

Every eighth read or so is counted, at random, in a space-saving sketch (`sidecar/sketch.py`): a cold key costs the
draw of a random number. A key that was certainly counted `_HOT` times within a window of so many counts is hot, for
the rest of that window and the whole of the next. So what has cooled down is forgotten after two windows at the latest,
and at any time no more keys are hot than were counted so often.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sidecar.sketch import EMPTY, SpaceSaving, Tally, added, cut

if TYPE_CHECKING:
    from collections.abc import Callable

_SAMPLED_BITS = 3
SAMPLED = 2**_SAMPLED_BITS
"""Of so many reads one is counted."""

# Every key with more than a thousandth of the reads has a counter.
_CAPACITY = 1024
# Counts in a window, 65,000 reads: a worker under load has a new one every few seconds.
WINDOW = 8192
# Thirty reads or so. Less, and one burst of a key that is then never read again is taken for heat.
_HOT = 4


class HotKeys:
    """The hot keys of one cache."""

    def __init__(self, draw: Callable[[int], int] = random.getrandbits) -> None:
        self._draw = draw
        self._sketch = SpaceSaving(_CAPACITY)
        self._before: Tally = EMPTY
        self._hot: set[str] = set()
        self._hot_before: set[str] = set()

    def see(self, key: str) -> None:
        """Count a read of a key, or not."""
        if self._draw(_SAMPLED_BITS):
            return
        if self._sketch.add(key) >= _HOT:
            self._hot.add(key)
        if self._sketch.total >= WINDOW:
            self._before, self._sketch = self._sketch.tally(_CAPACITY), SpaceSaving(_CAPACITY)
            self._hot_before, self._hot = self._hot, set()

    def __contains__(self, key: str) -> bool:
        """Say whether a key is hot."""
        return key in self._hot or key in self._hot_before

    def most(self, count: int) -> list[tuple[str, int]]:
        """Return the keys that are read most, and about how often in the last two windows."""
        tally = cut(added([self._before, self._sketch.tally(_CAPACITY)]), count)
        return [(key, most * SAMPLED) for key, most, _ in tally.counts]
