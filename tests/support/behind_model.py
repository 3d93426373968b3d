"""A partition of a write-behind cache as plain data: what the scripts are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Waiting(NamedTuple):
    """A change in its place; the number stands for its id."""

    number: int
    name: bytes
    value: bytes | None
    """None removes; with coalescing it is what is pending that counts."""


@dataclass
class PartitionModel:
    """What is acknowledged, under way and dead."""

    coalesces: bool
    most: int
    waiting: list[Waiting] = field(default_factory=list)
    taken: dict[bytes, Waiting] = field(default_factory=dict)
    pending: dict[bytes, tuple[int, bytes | None]] = field(default_factory=dict)
    cached: dict[bytes, bytes] = field(default_factory=dict)
    dead: list[Waiting] = field(default_factory=list)
    newest_stored: dict[bytes, int] = field(default_factory=dict)
    """Of each name that has dead letters."""
    number: int = 0

    def write(self, name: bytes, value: bytes | None) -> bool:
        """Make a change pending; return False where there is no room."""
        known = self.pending.get(name)
        waits = known is not None and not (name in self.taken and self.taken[name].number == known[0])
        if self.coalesces and known is not None and waits:
            self.pending[name] = (known[0], value)
        elif len(self.waiting) + len(self.taken) >= self.most:
            return False
        else:
            self.number += 1
            self.waiting.append(Waiting(self.number, name, value))
            self.pending[name] = (self.number, value)
        if value is None:
            self.cached.pop(name, None)
        else:
            self.cached[name] = value
        return True

    def read(self, name: bytes) -> bytes | None:
        """Return what a reader sees."""
        if name in self.cached:
            return self.cached[name]
        return self.pending[name][1] if name in self.pending else None

    def take(self, most: int) -> list[Waiting]:
        """Take changes that wait, of each name one at a time."""
        took: list[Waiting] = []
        for one in list(self.waiting):
            if len(took) == most:
                break
            if one.name in self.taken:
                continue
            self.waiting.remove(one)
            known = self.pending.get(one.name)
            value = known[1] if self.coalesces and known is not None and known[0] == one.number else one.value
            taken = one._replace(value=value)
            self.taken[one.name] = taken
            took.append(taken)
        return took

    def settle(self, taken: Waiting, *, stored: bool) -> None:
        """End a change that was under way."""
        if self.taken.get(taken.name) != taken:
            return
        del self.taken[taken.name]
        if self.pending.get(taken.name, (0, None))[0] == taken.number:
            del self.pending[taken.name]
        if stored:
            if any(one.name == taken.name for one in self.dead):
                self.newest_stored[taken.name] = taken.number
        else:
            self.dead.append(taken)

    def replay(self, letter: Waiting, *, forced: bool) -> bool:
        """Make a dead letter pending again, unless something is newer."""
        if letter.name in self.pending or letter.name in self.taken:
            return False
        if not forced and self.newest_stored.get(letter.name, 0) > letter.number:
            return False
        self.dead.remove(letter)
        if not any(one.name == letter.name for one in self.dead):
            self.newest_stored.pop(letter.name, None)
        self.waiting.append(letter)
        return True
