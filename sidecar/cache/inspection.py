"""Looking at an entry as it lies in the store, for operators: what it is, never what its value is.

It counts as no read, and asks no origin. In a write-behind cache what is pending answers as it does for a read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.cache.entry import decode_entry, is_packed, position_of, tags_of
from sidecar.cache.generations import floor_in
from sidecar.cache.packing import unpacked_size
from sidecar.cache.policy import MISS, DataClass, Lookup, Outcome, judge
from sidecar.cache.write_behind.format import BehindFormat, entry_of
from sidecar.errors import Reason, SidecarError
from sidecar.store import commands

if TYPE_CHECKING:
    from sidecar.cache.formats import NativeFormat
    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.cache.values import ValueCache
    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.store.base import Reply, Store

_HEADER = (b"",)


class Inspected(NamedTuple):
    """What is known of an entry; `lookup` has no value."""

    lookup: Lookup
    expires_ms: int | None = None
    """When the store drops it; None where there is none, or it never does."""
    stored_bytes: int = 0
    memory_bytes: int = 0
    value_bytes: int | None = None
    """The length of the value in the clear; None where that is not to be told, or it is a record."""
    compressed: bool = False
    sealed: bool = False
    fields: int = 0
    """How many fields a record has."""
    tags: tuple[str, ...] = ()
    tag_count: int = 0
    pending: bool = False
    """Whether a change of it is to reach the origin yet."""


class Inspection:
    """Looks at the entries of one cache."""

    def __init__(
        self,
        policy: CachePolicy,
        limits: Limits,
        *,
        entries: ValueCache,
        native: NativeFormat,
        store: Store,
        clock: StoreClock,
    ) -> None:
        self.policy = policy
        self.limits = limits
        self._entries = entries
        self._behind = native if isinstance(native, BehindFormat) else None
        self._store = store
        self._clock = clock
        self._sealed = policy.data_class is DataClass.PHI

    async def inspect(self, key: str, call: Call) -> Inspected:
        """Look at one entry; raises KEY_EMPTY, KEY_TOO_LONG, ENTRY_MALFORMED, WRONG_TYPE, and what the store raises."""
        name = await self._entries.name(key, call)
        place, dating = self._entries.entry_key(name), self._entries.dating
        floors = [dating.generations.read(name)] if dating is not None and dating.has_generations else []
        changes = [] if self._behind is None else self._behind.reads(name)[1:]
        replies: list[Any] = await self._store.call_many(
            [
                commands.get(place),
                commands.pttl(place),
                commands.memory_usage(place),
                commands.hash_fields(place, _HEADER),
                commands.hash_length(place),
                *floors,
                *changes,
            ],
            call,
        )
        stored, expires_ms, memory, header, fields, *passed = replies
        for needed in (expires_ms, memory, *passed):
            if isinstance(needed, SidecarError):
                raise needed
        if self._behind is not None:
            found = self._behind_value(self._behind, stored, passed[0])
            if found.lookup.outcome is Outcome.MISS:
                return found
        elif isinstance(stored, SidecarError):
            found = self._record(stored, header, fields)
        elif stored is None:
            return Inspected(MISS)
        elif self.policy.raw_prefix is not None:
            lookup = Lookup(Outcome.HIT, ttl_ms=expires_ms if expires_ms >= 0 else None)
            found = Inspected(lookup, stored_bytes=len(stored), value_bytes=len(stored))
        else:
            found = self._value(stored, passed[0] if passed else None)
        return found._replace(
            expires_ms=expires_ms if expires_ms >= 0 else None, memory_bytes=memory or 0, sealed=self._sealed
        )

    def _value(self, stored: bytes, floors: Reply) -> Inspected:
        entry = decode_entry(stored, lambda packed: packed)
        lookup = self._judged(entry)
        if floors is not None:
            floor = floor_in(floors)
            if floor is None or position_of(stored) < floor:
                lookup = MISS
        compressed, tags = is_packed(stored), tags_of(stored)
        content = b"" if entry is None else entry[3]
        size = unpacked_size(content, self.limits.max_unpacked_bytes) if compressed else len(content)
        return Inspected(
            lookup,
            stored_bytes=len(stored),
            value_bytes=None if self._sealed else size,
            compressed=compressed,
            tags=() if self._sealed else tuple([tag.decode(errors="replace") for tag in tags]),
            tag_count=len(tags),
        )

    def _behind_value(self, behind: BehindFormat, stored: Any, pending: bytes | None) -> Inspected:
        """Return what a read finds: the entry while it is fresh, else what is pending."""
        if isinstance(stored, SidecarError):
            raise stored
        found = Inspected(MISS) if stored is None else self._value(stored, None)
        if pending is None:
            return found
        if found.lookup.outcome is not Outcome.HIT:
            entry = entry_of(pending)
            lookup = behind.lookup((None, pending), self._clock.micros())._replace(value=b"")
            found = (self._value(entry, None) if entry else found)._replace(lookup=lookup)
        return found._replace(pending=True)

    def _record(self, wrong_type: SidecarError, header: Any, fields: Any) -> Inspected:
        if wrong_type.reason is not Reason.WRONG_TYPE or isinstance(header, SidecarError) or header[0] is None:
            raise wrong_type
        # One of the fields is the header.
        return Inspected(self._judged(decode_entry(header[0])), fields=fields - 1)

    def _judged(self, entry: tuple[int, int, int, bytes] | None) -> Lookup:
        return judge(entry, self._clock.micros(), self.policy.stale_for_ms)._replace(value=b"")
