"""Prefixes and whole caches go out of date by a number, not by a scan.

Each cache has a position that grows with each of its invalidations, and a floor for the whole and for every prefix that
was invalidated. An entry carries the position of the moment before it was written, or before it was to be loaded; one
that is below a floor of its name is as good as none. A read fetches entry and floors in one trip, so what was
acknowledged to anybody is known to everybody, whichever sidecar they ask: nothing is kept in a process.

A prefix ends at a colon, so the floors that concern a name can be told from the name: no more than the `_MOST_LEVELS`
first. There are at most `_MOST_FLOORS`: the oldest is forgotten by taking all that is as old as it for out of date. If
the store loses them, all entries are. In both cases something is loaded that need not be, and nothing stale is served.

An invalidated tag is written down in the same way, for loads alone (see `tags`), so that what was asked of the origin
before is not filled in after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import SidecarError
from sidecar.store.base import Command, ScriptCall
from sidecar.store.commands import time, time_us
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sidecar.call import Call
    from sidecar.store.base import Reply, Store
    from sidecar.store.keys import KeySpace

_LOOK, _STAMP = load("look_generations"), load("stamp_generations")

PREFIX_END = b":"
"""What a prefix that can be invalidated ends with."""

# A read asks for each. Names of more levels are no better invalidated by the ninth than by the eighth.
_MOST_LEVELS = 8

# A megabyte or so at the longest keys' length; a look at one of them costs the same whatever there is.
_MOST_FLOORS = 10_000

_ALL, _LAST, _PREFIX = b"all", b"last", b"p:"
_OF_GENERATIONS, _OF_TAGS = 1, 2


class Standing(NamedTuple):
    """Where a cache stands."""

    position: int
    """The newest; what is written from now on has it."""
    floor: int
    """What is below it is out of date."""
    tags_floor: int
    """What was to be loaded below it may be: a tag was invalidated that is not known any more."""
    prefixes: dict[bytes, int]
    tags: dict[bytes, int]

    def floor_of(self, name: bytes) -> int:
        """Return the position below which an entry of that name is out of date."""
        return max([self.floor, *(self.prefixes.get(member, 0) for member in prefix_members(name))])

    def voids(self, name: bytes, tags: Iterable[bytes], position: int) -> bool:
        """Say whether what was to be loaded at a position may be out of date by now."""
        floors = [self.tags.get(_tag_member(tag), 0) for tag in tags]
        if floors:
            floors.append(self.tags_floor)
        return position < max([self.floor_of(name), *floors])


class Passed(NamedTuple):
    """What was put out of date since a position."""

    position: int
    """The newest; 0 if the store has lost it."""
    whole: bool
    prefixes: tuple[bytes, ...]


def prefix_members(name: bytes) -> list[bytes]:
    """Return under which members the floors of a name's prefixes lie."""
    members: list[bytes] = []
    end = name.find(PREFIX_END)
    while end >= 0 and len(members) < _MOST_LEVELS:
        members.append(_PREFIX + name[: end + 1])
        end = name.find(PREFIX_END, end + 1)
    return members


def too_deep(prefix: bytes) -> bool:
    """Say whether no read asks for the floor of a prefix."""
    return prefix.count(PREFIX_END) > _MOST_LEVELS


def _tag_member(tag: bytes) -> bytes:
    return b"t:" + tag


class Generations:
    """The positions and floors of one cache."""

    def __init__(self, cache: str, store: Store, keys: KeySpace, *, prefixes: bool) -> None:
        self._store = store
        self._keys = keys.generations(cache)
        self._prefixes = prefixes

    def read(self, name: bytes) -> Command:
        """Return the command that fetches the floors of a name; `floor_in` reads its answer."""
        return Command(("ZMSCORE", self._keys[0], _ALL, *self._members(name)), True)

    def _members(self, name: bytes) -> list[bytes]:
        return prefix_members(name) if self._prefixes else []

    async def look(self, names: Iterable[bytes], tags: Iterable[bytes], call: Call) -> Standing:
        """Return where the cache stands, with what concerns these names and tags."""
        prefixes = list(dict.fromkeys(member for name in names for member in self._members(name)))
        marks = list(dict.fromkeys(map(_tag_member, tags)))
        # It may be repeated: all that it ever writes is where a cache without positions begins.
        looking = ScriptCall(_LOOK, self._keys, (len(prefixes), *prefixes, *marks), True)
        position, floor, tags_floor, *floors = await self._store.run(looking, call)
        of_tags = floors[len(prefixes) :]
        return Standing(
            position,
            floor,
            tags_floor,
            dict(zip(prefixes, floors[: len(prefixes)], strict=True)),
            dict(zip(marks, of_tags, strict=True)),
        )

    async def passed_since(self, position: int, call: Call) -> Passed:
        """Return what was put out of date after a position."""
        last = Command(("ZSCORE", self._keys[0], _LAST), True)
        newer = Command(("ZRANGEBYSCORE", self._keys[0], f"({position}", "+inf"), True)
        newest, passed = await self._store.call_many([last, newer], call)
        if isinstance(newest, SidecarError):
            raise newest
        if isinstance(passed, SidecarError):
            raise passed
        if newest is None:
            return Passed(0, True, ())
        members: list[bytes] = list(passed)
        prefixes = [member.removeprefix(_PREFIX) for member in members if member.startswith(_PREFIX)]
        return Passed(int(newest), _ALL in members, tuple(prefixes))

    async def pass_all(self, call: Call) -> int:
        """Put the whole cache out of date; return the new position."""
        return await self._stamp(_OF_GENERATIONS, (_ALL,), call)

    async def pass_prefix(self, prefix: bytes, call: Call) -> int:
        """Put all names that begin so out of date; return the new position."""
        return await self._stamp(_OF_GENERATIONS, (_PREFIX + prefix,), call)

    async def pass_tags(self, tags: Sequence[bytes], call: Call) -> int:
        """Put what is loaded now with any of these tags out of date; return the new position."""
        return await self._stamp(_OF_TAGS, tuple(map(_tag_member, tags)), call)

    async def now(self, call: Call) -> int:
        """Return the store's time, in microseconds."""
        return time_us(await self._store.call(time(), call))

    async def _stamp(self, which: int, members: tuple[bytes, ...], call: Call) -> int:
        # It may be repeated: what is out of date a second time has to be loaded again, and that is all.
        stamp = ScriptCall(_STAMP, self._keys, (_MOST_FLOORS, which, *members), True)
        return int(await self._store.run(stamp, call))


def floor_in(reply: Reply) -> int | None:
    """Return the position below which the entry is out of date that was read; None if the store has lost it."""
    floors = [int(floor) for floor in reply if floor is not None]
    return None if reply[0] is None else max(floors)
