"""How entries lie in a cache whose entries have tags or go out of date by generations: see `tags` and `generations`.

Beside its header such an entry has the position of its writing and its tags. Where neither is configured, entries are
as `formats.NativeFormat` has them, and nothing here is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.entry import DATED_PACKED_MAGIC, dated_block, position_of
from sidecar.cache.formats import NativeFormat
from sidecar.cache.generations import Generations, floor_in
from sidecar.cache.policy import MISS, Lookup
from sidecar.cache.tags import NO_FENCE, Tagged, Tags
from sidecar.errors import Reason, SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.formats import Repeat
    from sidecar.cache.packing import Stored
    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.cache.tags import Fence
    from sidecar.call import Call
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Arg, Command, Reply, Store
    from sidecar.store.keys import KeySpace

_SET, _DELETE = load("set_dated"), load("delete_dated")

# A position is a time in microseconds, so it has 16 digits for centuries; a token of a load opens with them.
POSITION_DIGITS = 16


class Moment(NamedTuple):
    """What a write must know of its cache before it is sent."""

    position: int = 0
    floor: int = 0
    fence: Fence = NO_FENCE


class Dating:
    """Positions, floors and fences of one cache's entries."""

    def __init__(
        self, policy: CachePolicy, limits: Limits, store: Store, keys: KeySpace, sealer: FieldSealer | None
    ) -> None:
        self.has_generations = policy.generations
        # The names of sealed caches are hashes: they have no prefixes.
        self.has_prefixes = policy.generations and sealer is None
        self.generations = Generations(policy.name, store, keys, prefixes=self.has_prefixes)
        self.tags = Tags(policy, limits, store, keys, sealer)

    async def floors(self, names: Sequence[bytes], call: Call) -> dict[bytes, int]:
        """Return the positions below which entries are out of date."""
        if not self.has_generations:
            return dict.fromkeys(names, 0)
        standing = await self.generations.look(names, (), call)
        return {name: standing.floor_of(name) for name in names}

    async def moments(self, entries: Sequence[Tagged], call: Call) -> list[Moment]:
        """Begin the writing of entries: each may be written once this has returned."""
        tagged = [entry for entry in entries if entry.tags]
        fences: dict[bytes, Fence] = {}
        if tagged:
            names = list(dict.fromkeys(entry.name for entry in tagged))
            fences = dict(zip(names, await self.tags.fences(names, call), strict=True))
            await self.tags.enter(tagged, call)
        if not self.has_generations:
            return [Moment(fence=fences[entry.name] if entry.tags else NO_FENCE) for entry in entries]
        standing = await self.generations.look([entry.name for entry in entries], (), call)
        return [
            Moment(standing.position, standing.floor_of(name), fences[name] if tags else NO_FENCE)
            for name, tags, _ in entries
        ]


class DatedFormat(NativeFormat):
    """Values behind a header, a position and tags."""

    def __init__(self, policy: CachePolicy, keys: KeySpace, max_unpacked_bytes: int, dating: Dating) -> None:
        super().__init__(policy, keys, max_unpacked_bytes)
        self._policy = policy
        self._dating = dating

    def reads(self, name: bytes) -> Sequence[Command]:
        """Return GET, and what fetches the floors of the name where there are any."""
        entry = super().reads(name)
        return (*entry, self._dating.generations.read(name)) if self._dating.has_generations else entry

    def lookup(self, replies: Sequence[Reply], now_us: int) -> Lookup:
        """Judge the entry, as out of date if it is below its floor; without a reply about floors it is not."""
        if len(replies) > 1 and replies[0] is not None:
            floor = floor_in(replies[1])
            if floor is None or position_of(replies[0]) < floor:
                return MISS
        return super().lookup(replies[:1], now_us)

    def set_dated(
        self, entry: Tagged, value: Stored, *, ttl_ms: int, condition: str, repeat: Repeat, moment: Moment
    ) -> ScriptCall:
        """Return the script that writes an entry."""
        name, tags, _ = entry
        if not tags and not self._dating.has_generations:
            return self.set(self.key(name), value, ttl_ms, condition, repeat)
        args: tuple[Arg, ...] = (
            dated_block(moment.position, tags) + value.content,
            ttl_ms,
            self._policy.kept_ms,
            condition,
            repeat.fingerprint,
            repeat.window_ms,
            moment.floor,
            moment.fence.fence,
            moment.fence.ends_us,
        )
        if value.packed:
            args = (*args, DATED_PACKED_MAGIC)
        keys = (*self._keys_of_write(self.key(name), repeat), self._space.fence(self._policy.name, name))
        return ScriptCall(_SET, keys, args, repeat.safe)

    def delete_dated(self, name: bytes, condition: str, repeat: Repeat, floor: int) -> ScriptCall:
        """Return the script that removes an entry."""
        key = self.key(name)
        args = (condition, repeat.fingerprint, repeat.window_ms, floor)
        return ScriptCall(_DELETE, self._keys_of_write(key, repeat), args, repeat.safe)


def refuse_dated(policy: CachePolicy, what: str, field: str) -> None:
    """Raise UNSUPPORTED_BY_CACHE for what the entries of a cache with tags or generations cannot do."""
    if policy.dated:
        raise SidecarError(
            Reason.UNSUPPORTED_BY_CACHE, f"cache {policy.name!r} has tags or generations: {what}", field=field
        )
