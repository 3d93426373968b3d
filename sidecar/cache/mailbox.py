"""What one watcher of a cache has still to be told. Pure, and bounded.

All news says "drop this", so news may be told in another order than it came, and once instead of twice: names lie in a
mapping, a prefix drops names, the whole cache drops everything. What does not fit is told as one reset: a watcher that
reads too slowly loses what it keeps, and never the sidecar its memory.

Two things are not dropping: READY, from which on everything is told, and the beat, up to when it has been. They come
after all that came before them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# In one message: some 50 kB of keys of ordinary length.
_MOST_TOLD = 1000


class NewsKind(Enum):
    """What a watcher is told."""

    RESET = "reset"
    ALL = "all"
    PREFIX = "prefix"
    KEYS = "keys"
    READY = "ready"
    BEAT = "beat"


class News(NamedTuple):
    """One thing that a watcher is told."""

    kind: NewsKind
    keys: tuple[str, ...] = ()
    prefix: str = ""
    as_of_us: int = 0
    """Of READY and a beat: the store's time up to which everything was told."""


class Mailbox:
    """Holds at most `most` names and prefixes; `prefixes` are those of the keys that are wanted, none for all."""

    def __init__(self, prefixes: tuple[str, ...], most: int) -> None:
        self._wanted = prefixes
        self._most = most
        self._keys: dict[str, None] = {}
        self._prefixes: dict[str, None] = {}
        self._all = False
        self._reset = False
        self._ready_us = 0
        self._beat_us = 0
        self._is_ready = False
        self.overflows = 0
        """How often news had to be told as a reset."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self._reset or self._all or self._prefixes or self._keys or self._ready_us or self._beat_us)

    def put_keys(self, keys: Iterable[str]) -> None:
        """Tell that these keys' entries have changed."""
        if not self._is_ready:
            return
        wanted = self._wanted
        self._keys.update(dict.fromkeys([key for key in keys if not wanted or key.startswith(wanted)]))
        self._bound()

    def put_prefix(self, prefix: str) -> None:
        """Tell that all keys that begin so are out of date."""
        if self._is_ready and any(prefix.startswith(one) or one.startswith(prefix) for one in self._wanted or ("",)):
            self._prefixes[prefix] = None
            self._bound()

    def put_all(self) -> None:
        """Tell that the whole cache is out of date."""
        if self._is_ready:
            self._forget()
            self._all = True

    def put_reset(self) -> None:
        """Tell that nothing is known any more, until the next READY."""
        if self._is_ready:
            self._forget()
            self._all = False
            self._reset = True
            self._is_ready = False
            self._ready_us = self._beat_us = 0

    def put_ready(self, as_of_us: int) -> None:
        """Tell that everything that happens from now on is told."""
        self._is_ready = True
        self._ready_us = as_of_us

    def put_beat(self, as_of_us: int) -> None:
        """Tell up to when everything has been told."""
        if self._is_ready:
            self._beat_us = as_of_us

    def take(self) -> list[News]:
        """Return what is to be told, and forget it."""
        told: list[News] = []
        if self._reset:
            told.append(News(NewsKind.RESET))
        if self._all:
            told.append(News(NewsKind.ALL))
        told += [News(NewsKind.PREFIX, prefix=prefix) for prefix in self._prefixes]
        keys = tuple(self._keys)
        told += [
            News(NewsKind.KEYS, keys=keys[start : start + _MOST_TOLD]) for start in range(0, len(keys), _MOST_TOLD)
        ]
        if self._ready_us:
            told.append(News(NewsKind.READY, as_of_us=self._ready_us))
        if self._beat_us > self._ready_us:
            told.append(News(NewsKind.BEAT, as_of_us=self._beat_us))
        self._forget()
        self._all = self._reset = False
        self._ready_us = self._beat_us = 0
        return told

    def _bound(self) -> None:
        if len(self._keys) + len(self._prefixes) > self._most:
            self.overflows += 1
            as_of_us = max(self._ready_us, self._beat_us, 1)
            self.put_reset()
            self.put_ready(as_of_us)

    def _forget(self) -> None:
        self._keys.clear()
        self._prefixes.clear()
