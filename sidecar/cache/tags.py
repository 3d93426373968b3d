"""Tags: to remove all entries that were written with a word, wherever they lie.

A tag has a sorted set of the names that may have it, by when they end, in a slot of its own; what an entry's tags are
stands in the entry. No script can see both in a cluster, so what is exact here is the order of the steps:

- who writes reads the entry's fence, then enters the name under each tag, then writes, on the condition that the fence
  is still the same;
- who invalidates takes the names from the tag, then visits each: the entry is removed if it has the tag, and the fence
  moves; only then are the names forgotten.

A name that was entered before the taking is visited, so what was written before that is removed, and what is written
after meets another fence: it is taken for written and invalidated at once. A name that was entered later stays with
the tag. If the one who invalidates dies on the way, the names are still among those that are to be visited, by whoever
calls next. A write that comes later than `in_flight_ms` after it read the fence leaves nothing either, so fences need
live no longer, and a name stays with its tag for that much longer than its entry lives.

Who loads an entry may learn its tags only from what was loaded. The leave to load is a fence that lies there before the
name is entered, but the tag may have been invalidated before; so an invalidation is first written down at a position,
and a Fill looks, once the names are entered, whether one of its tags was invalidated after the lease was given.

Rejected: a number for each tag, compared in each read. It takes a second trip, for a reader learns of the tags only
from the entry. To take a name from its tags once the entry is gone: it costs each deletion, and a race for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.call import Call
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Arg, Reply, Store
    from sidecar.store.keys import KeySpace

_ENTER, _TAKE, _FORGET = load("tag_entries"), load("take_tagged"), load("forget_tagged")
_VISIT, _FENCE = load("visit_tagged"), load("read_fence")

# Each costs a write a step of its own, and a name in each tag's set.
MOST_TAGS = 16
# As an idempotency key: room for a table, a column and a UUID.
MOST_TAG_BYTES = 128

# What is sent together: enough to make the trip cheap, and no more than a few milliseconds for the store.
_PAGE = 500


class Tagged(NamedTuple):
    """An entry that is to be written with tags."""

    name: bytes
    tags: tuple[bytes, ...]
    life_ms: int


class Fence(NamedTuple):
    """What a write with tags must still find, and until when."""

    fence: bytes = b""
    ends_us: int = 0


NO_FENCE = Fence()


class Tags:
    """The tags of one cache."""

    def __init__(
        self, policy: CachePolicy, limits: Limits, store: Store, keys: KeySpace, sealer: FieldSealer | None
    ) -> None:
        self._cache = policy.name
        self._allowed = policy.tags
        self._load_lease_ms = policy.load_lease_ms
        self._in_flight_ms = limits.in_flight_ms
        self._store = store
        self._keys = keys
        self._sealer = sealer

    async def checked(self, tags: Iterable[str], call: Call, field: str = "tags") -> tuple[bytes, ...]:
        """Return tags as they are stored; raises TAGS_UNSUITABLE, and UNSUPPORTED_BY_CACHE where there are none."""
        asked = tuple(dict.fromkeys(tags))
        if not asked:
            return ()
        if not self._allowed:
            refuse_tags(self._cache, field)
        check_tags(asked, field)
        if self._sealer is None:
            return tuple([tag.encode() for tag in asked])
        return tuple([await self._sealer.entry_name(f"tag {tag}", call) for tag in asked])

    async def fences(self, names: Sequence[bytes], call: Call) -> list[Fence]:
        """Begin the writing of entries with tags."""
        scripts = [ScriptCall(_FENCE, (self._keys.fence(self._cache, name),), (), True, False) for name in names]
        replies = await self._run(scripts, call)
        return [Fence(fence, now_us + self._in_flight_ms * 1_000) for fence, now_us in replies]

    async def enter(self, entries: Iterable[Tagged], call: Call) -> None:
        """Enter names under their tags; to do so twice changes nothing."""
        # What is under way when this is answered may take so long, or as long as a lease, to be written.
        longer_ms = 2 * self._in_flight_ms + self._load_lease_ms
        words: dict[bytes, list[Arg]] = {}
        for name, tags, life_ms in entries:
            for tag in tags:
                words.setdefault(tag, []).extend((name, life_ms + longer_ms))
        keys = self._keys
        scripts = [
            ScriptCall(_ENTER, keys.tag(self._cache, tag)[:1], tuple(members), True) for tag, members in words.items()
        ]
        for start in range(0, len(scripts), _PAGE):
            await self._run(scripts[start : start + _PAGE], call)

    async def take(self, tag: bytes, call: Call) -> dict[bytes, bytes]:
        """Return names that are to be visited, each with when it was taken; fewer than a page if there are no more."""
        taking = ScriptCall(_TAKE, self._keys.tag(self._cache, tag), (_PAGE,), True)
        reply = await self._store.run(taking, call)
        return dict(zip(reply[::2], reply[1::2], strict=True))

    @staticmethod
    def is_last(taken: dict[bytes, bytes]) -> bool:
        """Say whether nothing is left after a page."""
        return len(taken) < _PAGE

    async def visit(self, tag: bytes, floors: dict[bytes, int], call: Call) -> int:
        """Remove what has the tag of these names; return how many entries were removed that were above their floors."""
        return sum(await self._run([self._visiting(name, tag, floor) for name, floor in floors.items()], call))

    def _visiting(self, name: bytes, tag: bytes, floor: int) -> ScriptCall:
        cache, keys = self._cache, self._keys
        entry, loading = keys.entry(cache, name), keys.load_head(cache) + name + b"}"
        # It may be repeated: a copy that comes late removes what has a tag that was invalidated, and keeps writers off.
        return ScriptCall(_VISIT, (entry, loading, keys.fence(cache, name)), (tag, floor, self._fence_ms), True)

    @property
    def _fence_ms(self) -> int:
        return 2 * self._in_flight_ms

    async def forget(self, tag: bytes, taken: dict[bytes, bytes], call: Call) -> None:
        """Say that names were visited."""
        words = [word for pair in taken.items() for word in pair]
        await self._store.run(ScriptCall(_FORGET, self._keys.tag(self._cache, tag)[1:], tuple(words), True), call)

    async def _run(self, scripts: Sequence[ScriptCall], call: Call) -> list[Reply]:
        if len(scripts) == 1:
            return [await self._store.run(scripts[0], call)]
        replies = await self._store.call_many(scripts, call)
        for reply in replies:
            if isinstance(reply, SidecarError):
                raise reply
        return replies


def refuse_tags(cache: str, field: str) -> None:
    """Raise UNSUPPORTED_BY_CACHE."""
    raise SidecarError(
        Reason.UNSUPPORTED_BY_CACHE, f"the entries of cache {cache!r} have no tags (caches.<name>.tags)", field=field
    )


def check_tags(tags: Sequence[str], field: str) -> None:
    """Raise TAGS_UNSUITABLE if they are too many, or one is empty or too long."""
    metadata = {"max_tags": str(MOST_TAGS), "max_bytes": str(MOST_TAG_BYTES)}
    if len(tags) > MOST_TAGS:
        raise InvalidArgumentError(
            Reason.TAGS_UNSUITABLE, f"there are {len(tags)} tags; at most {MOST_TAGS}", field=field, metadata=metadata
        )
    for number, tag in enumerate(tags):
        size = len(tag.encode())
        if not 0 < size <= MOST_TAG_BYTES:
            raise InvalidArgumentError(
                Reason.TAGS_UNSUITABLE,
                f"a tag has 1 to {MOST_TAG_BYTES} bytes; this one has {size}",
                field=f"{field}[{number}]",
                metadata=metadata,
            )
