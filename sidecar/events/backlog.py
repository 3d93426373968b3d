"""What is to be invalidated and has not been yet. Pure, and bounded.

While the store is away, events go on. What they concern is gathered by cache, each key once; where it grows beyond the
bound, the whole cache takes its place, if it can be invalidated as a whole. If it cannot, that is counted as lost:
those entries stay until they expire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.events.rules import Effect, Reach

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# As many names for each cache; some 10 MB at the longest keys' length.
_MOST = 20_000


@dataclass(slots=True)
class _Waiting:
    """What waits for one cache."""

    names: dict[Reach, dict[str, None]] = field(default_factory=dict)
    whole: bool = False

    @property
    def count(self) -> int:
        return sum(map(len, self.names.values()))


class Backlog:
    """Gathers effects; `whole` are the caches that can be invalidated as a whole."""

    def __init__(self, whole: Collection[str], most: int = _MOST) -> None:
        self._can = frozenset(whole)
        self._most = most
        self._waiting: dict[str, _Waiting] = {}
        self.lost = 0
        """How often what waited for a cache was given up."""

    def __bool__(self) -> bool:
        """Say whether anything waits."""
        return bool(self._waiting)

    def add(self, effects: Iterable[Effect]) -> None:
        """Gather effects."""
        for effect in effects:
            waiting = self._waiting.setdefault(effect.cache, _Waiting())
            if waiting.whole:
                continue
            if effect.reach is Reach.ALL:
                waiting.names.clear()
                waiting.whole = True
                continue
            waiting.names.setdefault(effect.reach, {}).update(dict.fromkeys(effect.values))
            if waiting.count > self._most:
                self._give_up(effect.cache, waiting)

    def take(self) -> list[Effect]:
        """Return all that waits, and forget it."""
        taken: list[Effect] = []
        for cache, waiting in self._waiting.items():
            if waiting.whole:
                taken.append(Effect(cache, Reach.ALL))
            taken += [Effect(cache, reach, tuple(names)) for reach, names in waiting.names.items()]
        self._waiting.clear()
        return taken

    def _give_up(self, cache: str, waiting: _Waiting) -> None:
        waiting.names.clear()
        if cache in self._can:
            waiting.whole = True
        else:
            self.lost += 1
            del self._waiting[cache]
