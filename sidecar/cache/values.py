"""A cache of values, cache-aside: it does what the policy and the format decide.

The order of a write is always the same: check everything that can be checked without the store, name the entry, seal
the value, run one script. Nothing is sent for a request that is wrong. All but the last step is an operation's plan, so
that operations of several caches and of the rate limits can be sent together.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from sidecar.cache.dated import DatedFormat, Dating, refuse_dated
from sidecar.cache.entry import HEADER
from sidecar.cache.formats import NativeFormat, RawFormat, counted, removed, touched, written
from sidecar.cache.naming import Naming
from sidecar.cache.near.policy import ANY
from sidecar.cache.packing import Packer, Stored
from sidecar.cache.policy import MISS, Outcome, choose_ttl
from sidecar.cache.request import (
    WriteOptions,
    check_batch,
    check_size,
    refuse_behind,
    refuse_if_absent,
    refuse_longer_life,
)
from sidecar.cache.tags import Tagged, refuse_tags
from sidecar.cache.write_behind.format import BehindFormat
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.keys import check_name, check_names
from sidecar.store.plans import Plan, Reads, run_alone, run_reads, run_together
from sidecar.store.plans_apart import run_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.cache.formats import Repeat
    from sidecar.cache.near.policy import Freshness
    from sidecar.cache.policy import CachePolicy, Counted, Found, Limits, Lookup, Written
    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Arg, Reply, Store
    from sidecar.store.keys import KeySpace
    from sidecar.store.plans import Planned, Room
    from sidecar.telemetry.metrics import Cell, Counter

T = TypeVar("T")

# The "field" under which a sealed value is bound; a record's field names are never empty.
_WHOLE_VALUE = ""
# In a write-behind cache the origin's key is sealed beside it.
ORIGIN_KEY = "key"


class NewValue(NamedTuple):
    """One item of a batch of writes."""

    key: str
    value: bytes
    options: WriteOptions
    own_ttl: bool = True
    """Whether the TTL is the item's, and not that of the whole batch."""


class ValueCache:
    """One configured cache, as `CacheService` sees it."""

    def __init__(
        self,
        *,
        policy: CachePolicy,
        limits: Limits,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        sealer: FieldSealer | None,
        reads: Counter,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._store = store
        self._clock = clock
        self._sealer = sealer
        self._naming = Naming(limits, sealer)
        self.dating = Dating(policy, limits, store, keys, sealer) if policy.dated else None
        """Of a cache with tags or generations."""
        self._format = _format_of(policy, limits, keys, self.dating)
        self._kept = _format_of(replace(policy, stale_for_ms=policy.kept_ms), limits, keys, self.dating)
        self._behind = self._format if isinstance(self._format, BehindFormat) else None
        self._confirms = policy.behind is not None and policy.behind.durability.waits
        self._packer = None if policy.compress_above_bytes is None else Packer(policy.compress_above_bytes)
        self._read_cells: dict[Outcome, Cell] = {
            outcome: reads.cell(policy.name, outcome.name.lower()) for outcome in Outcome
        }
        self._read = self._reader()
        self._plan_reads = self._reads_planner()

    # --- the operations on one key: each is planned, and then run alone or with others ---

    async def get(self, key: str, call: Call, fresh: Freshness = ANY) -> Lookup:  # noqa: ARG002 (it asks the store)
        """Read one entry, as new as the caller wants it."""
        # The most frequent call of all: what needs no waiting is not awaited.
        if self._sealer is not None:
            return await run_alone(await self._plan_sealed_get(self._sealer, key, call), self._store, call)
        name = check_name(key, self._limits.max_key_bytes)
        reads = self._format.reads(name)
        if len(reads) == 1:
            return self._read((await self._store.call(reads[0], call),))
        return await run_alone(Plan(reads, self._read), self._store, call)

    def plan_get(self, key: str, call: Call, fresh: Freshness = ANY) -> Planned[Lookup]:  # noqa: ARG002 (as `get`)
        """Return the plan of `get`, at once where nothing is sealed."""
        if self._sealer is not None:
            return self._plan_sealed_get(self._sealer, key, call)
        name = check_name(key, self._limits.max_key_bytes)
        return Plan(self._format.reads(name), self._read, growth=growth_of)

    async def set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Written:
        """Write one entry."""
        return await run_alone(await self._plan_set(key, value, options, call), self._store, call)

    async def plan_set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `set`."""
        return self._apart(await self._plan_set(key, value, options, call))

    async def _plan_set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Plan[Written]:
        new = NewValue(key, value, options)
        if self.dating is not None:
            return (await self._dated_writings(self.dating, [new], [""], call))[0]
        return Plan((await self._writing(new, "", call),), _written)

    async def delete(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Remove one entry."""
        return await run_alone(await self._plan_delete(key, options, call), self._store, call)

    async def plan_delete(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `delete`."""
        return self._apart(await self._plan_delete(key, options, call))

    async def _plan_delete(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        refuse_if_absent(options.condition)
        name = await self._naming.name(key, call)
        return Plan((await self._removing(key, name, options, await self._floors([name], call), call),), _removed)

    async def touch(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Give an entry a new TTL; raises UNSUPPORTED_BY_CACHE where the entries are sealed."""
        return await run_alone(await self.plan_touch(key, options, call), self._store, call)

    async def plan_touch(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `touch`."""
        refuse_dated(self._policy, "how long an entry lives is settled when it is written", "ttl")
        refuse_behind(self._policy, "how long an entry lives is settled when it is written", "ttl")
        refuse_longer_life(self._policy)
        ttl_ms = self._ttl(options, "ttl")
        name = await self._naming.name(key, call)
        repeat = await self._repeat(name, options, ("touch", options.ttl_ms), call)
        return Plan((self._format.touch(self._format.key(name), ttl_ms, repeat),), _touched)

    async def increment(self, key: str, delta: int, initial: int, options: WriteOptions, call: Call) -> Counted:
        """Add to a counter; raises UNSUPPORTED_BY_CACHE where the entries are sealed."""
        return await run_alone(await self.plan_increment(key, delta, initial, options, call), self._store, call)

    async def plan_increment(
        self, key: str, delta: int, initial: int, options: WriteOptions, call: Call
    ) -> Plan[Counted]:
        """Return the plan of `increment`."""
        refuse_dated(self._policy, "it holds no counters", "cache")
        refuse_behind(self._policy, "it holds no counters", "cache")
        if self._sealer is not None:
            raise SidecarError(
                Reason.UNSUPPORTED_BY_CACHE,
                f"cache {self._policy.name!r} seals its values, and a sealed value cannot be added to",
                field="cache",
            )
        ttl_ms = self._ttl(options, "ttl")
        name = await self._naming.name(key, call)
        repeat = await self._repeat(name, options, ("increment", delta, initial, options.ttl_ms), call)
        return Plan((self._format.increment(self._format.key(name), delta, initial, ttl_ms, repeat),), _counted)

    # --- the operations on many keys of this cache ---

    async def get_many(
        self,
        keys: Sequence[str],
        call: Call,
        fresh: Freshness = ANY,  # noqa: ARG002 (as `get`)
    ) -> Sequence[Found | SidecarError]:
        """Read several entries; each has its own result."""
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        if self._plan_reads is not None:
            reads = self._plan_reads(check_names(keys, self._limits.max_key_bytes, "keys"))
            return await run_reads(reads, self._store, call, max_answer_bytes=self._limits.max_answer_bytes)
        if self._sealer is None:
            names = check_names(keys, self._limits.max_key_bytes, "keys")
            plans = [Plan(self._format.reads(name), self._read, growth=growth_of) for name in names]
        else:
            plans = [
                self._sealed_read(self._sealer, await self._naming.name(key, call, f"keys[{number}]"))
                for number, key in enumerate(keys)
            ]
        found: list[Lookup | SidecarError] = await self._run_together(plans, call)
        return found

    def plan_gets(self, keys: Sequence[str]) -> Reads[Found] | None:
        """Return what does the same as the plans of a `get` of each key; None where only those will do.

        They must where an entry is sealed or raw, or a key is wrong: it then fails alone.
        """
        if self._plan_reads is None:
            return None
        try:
            return self._plan_reads(check_names(keys, self._limits.max_key_bytes, "keys"))
        except InvalidArgumentError:
            return None

    async def set_many(self, values: Sequence[NewValue], call: Call) -> list[Written | SidecarError]:
        """Write several entries, those of the same key in their order; each has its own result."""
        check_batch(len(values), self._limits.max_batch_keys, "entries")
        if self.dating is not None:
            paths = [f"entries[{number}]." for number in range(len(values))]
            return await self._run_together(await self._dated_writings(self.dating, values, paths, call), call)
        turns = _turns([value.key for value in values])
        plans = [
            Plan((await self._writing(value, f"entries[{number}].", call, turns[number]),), _written)
            for number, value in enumerate(values)
        ]
        return await self._run_together(plans, call)

    async def delete_many(self, keys: Sequence[str], options: WriteOptions, call: Call) -> list[Written | SidecarError]:
        """Remove several entries; each has its own result."""
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        turns = _turns(keys)
        names = [await self._naming.name(key, call, f"keys[{number}]") for number, key in enumerate(keys)]
        floors = await self._floors(names, call)
        plans = [
            Plan((await self._removing(key, name, options, floors, call, turn=turn),), _removed)
            for key, name, turn in zip(keys, names, turns, strict=True)
        ]
        return await self._run_together(plans, call)

    async def forget_many(self, keys: Sequence[str], call: Call) -> list[Written | SidecarError]:
        """Remove several entries from the cache alone, records too; what waits for an origin stays, and is read."""
        native = self._format
        if self.dating is not None or isinstance(native, RawFormat):
            return await self.delete_many(keys, WriteOptions(), call)
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        names = [await self._naming.name(key, call, f"keys[{number}]") for number, key in enumerate(keys)]
        return await self._run_together([Plan((native.forget(name),), _removed) for name in names], call)

    async def _run_together(self, plans: Sequence[Plan[T]], call: Call) -> list[T | SidecarError]:
        most_bytes = self._limits.max_answer_bytes
        if self._confirms:
            return await run_apart(list(map(self._apart, plans)), self._store, call, max_answer_bytes=most_bytes)
        return await run_together(plans, self._store, call, max_answer_bytes=most_bytes)

    def _apart(self, plan: Plan[T]) -> Plan[T]:
        """Return a plan that goes by the cache's own store, among whatever others, if it is a write to be confirmed."""
        return plan._replace(by=self._store) if self._confirms and isinstance(plan.requests[0], ScriptCall) else plan

    # --- copies in the process, of which a cache without a near cache has none ---

    def hot_keys(self, count: int) -> list[tuple[str, int]]:  # noqa: ARG002 (it counts no keys)
        """Return the keys that this process is asked for most, and about how often lately."""
        return []

    def forget(self, name: bytes) -> None:
        """Give up the copy of an entry that this process has changed by a script of its own."""

    def forget_all(self) -> None:
        """Use no copy of before: this process has put out of date more than it knows the names of."""

    # --- building ---

    async def _writing(self, new: NewValue, path: str, call: Call, turn: int = 0) -> ScriptCall:
        key, value, options, own_ttl = new
        if options.tags:
            refuse_tags(self._policy.name, f"{path}tags")
        check_size(len(value), self._limits.max_value_bytes, f"{path}value")
        ttl_ms = self._ttl(options, f"{path}ttl" if own_ttl else "ttl")
        name = await self._naming.name(key, call, f"{path}key")
        asked = ("set", value, options.ttl_ms, options.condition)
        repeat = await self._repeat(name, options, asked, call, turn)
        stored = await self.stored(name, value, call)
        if self._behind is not None:
            origin_key = await self._origin_key(name, key, call)
            return self._behind.set_behind(
                name, stored, ttl_ms=ttl_ms, condition=options.condition, repeat=repeat, origin_key=origin_key
            )
        return self._format.set(self._format.key(name), stored, ttl_ms, options.condition, repeat)

    async def _dated_writings(
        self, dating: Dating, values: Sequence[NewValue], paths: Sequence[str], call: Call
    ) -> list[Plan[Written]]:
        """Return the plans of writes; whatever of them can be wrong is before anything is sent."""
        entries: list[tuple[Tagged, int]] = []
        for (key, value, options, own_ttl), path in zip(values, paths, strict=True):
            check_size(len(value), self._limits.max_value_bytes, f"{path}value")
            ttl_ms = self._ttl(options, f"{path}ttl" if own_ttl else "ttl")
            name = await self._naming.name(key, call, f"{path}key")
            tags = await dating.tags.checked(options.tags, call, f"{path}tags")
            entries.append((Tagged(name, tags, ttl_ms + self._policy.kept_ms), ttl_ms))
        moments = await dating.moments([entry for entry, _ in entries], call)
        turns = _turns([value.key for value in values])
        plans = []
        for new, (entry, ttl_ms), moment, turn in zip(values, entries, moments, turns, strict=True):
            options = new.options
            asked = ("set", new.value, options.ttl_ms, options.condition, *options.tags)
            repeat = await self._repeat(entry.name, options, asked, call, turn)
            stored = await self.stored(entry.name, new.value, call)
            script = cast("DatedFormat", self._format).set_dated(
                entry, stored, ttl_ms=ttl_ms, condition=options.condition, repeat=repeat, moment=moment
            )
            plans.append(Plan((script,), _written))
        return plans

    async def _floors(self, names: Sequence[bytes], call: Call) -> dict[bytes, int] | None:
        """Return the positions below which entries are out of date; None where there is no such thing."""
        if self.dating is None or not self.dating.has_generations:
            return None
        return await self.dating.floors(names, call)

    async def _removing(
        self,
        key: str,
        name: bytes,
        options: WriteOptions,
        floors: dict[bytes, int] | None,
        call: Call,
        *,
        turn: int = 0,
    ) -> ScriptCall:
        repeat = await self._repeat(name, options, ("delete", options.condition), call, turn)
        if self._behind is not None:
            origin_key = await self._origin_key(name, key, call)
            return self._behind.delete_behind(name, options.condition, repeat, origin_key)
        if floors is not None:
            return cast("DatedFormat", self._format).delete_dated(name, options.condition, repeat, floors[name])
        return self._format.delete(self._format.key(name), options.condition, repeat)

    async def _origin_key(self, name: bytes, key: str, call: Call) -> bytes:
        """Return the key that the origin knows, sealed; empty where it is the name."""
        if self._sealer is None:
            return b""
        return (await self._sealer.seal(name, {ORIGIN_KEY: key.encode()}, call))[ORIGIN_KEY]

    def _ttl(self, options: WriteOptions, field: str) -> int:
        return choose_ttl(self._policy, options.ttl_ms, random.random(), field)  # noqa: S311 (spreading, no secret)

    async def _repeat(
        self, name: bytes, options: WriteOptions, asked: tuple[Arg | None, ...], call: Call, turn: int = 0
    ) -> Repeat:
        def record_key(label: str) -> bytes:
            return self._format.record_key(name, label)

        entry_key = self._format.key(name)
        return await self._naming.repeat(options.idempotency_key, asked, entry_key, record_key, call, turn=turn)

    # --- what loading needs of the same entries ---

    def entry_key(self, name: bytes) -> bytes:
        """Return the Redis key of an entry."""
        return self._format.key(name)

    async def name(self, key: str, call: Call, field: str = "key") -> bytes:
        """Return the name under which an entry is stored; raises KEY_EMPTY, KEY_TOO_LONG."""
        return await self._naming.name(key, call, field)

    async def stored(self, name: bytes, value: bytes, call: Call) -> Stored:
        """Return a value as it is stored: sealed, or compressed, or as it is."""
        if self._sealer is not None:
            return Stored((await self._sealer.seal(name, {_WHOLE_VALUE: value}, call))[_WHOLE_VALUE])
        return Stored(value) if self._packer is None else self._packer.packed(value)

    async def judged(self, name: bytes, stored: bytes | None, call: Call) -> Lookup:
        """Return what an entry is worth now, in the clear; raises ENTRY_MALFORMED. It counts as no read."""
        lookup = self._format.lookup((stored,), self._clock.micros())
        return lookup if self._sealer is None else await self._opened(self._sealer, name, lookup, call)

    def stale_version(self, stored: bytes | None) -> int | None:
        """Return the version of an entry that is not fresh now, None of one that is, or of none."""
        if stored is None or self._format.lookup((stored,), self._clock.micros()).outcome is Outcome.HIT:
            return None
        version: int = HEADER.unpack_from(stored)[1]
        return version

    async def look(self, key: str, call: Call, *, kept: bool = False) -> Lookup:
        """Read one entry; also, as stale, what is `kept` past its stale time. It counts as no read."""
        name, form = await self._naming.name(key, call), self._kept if kept else self._format

        def read(replies: Sequence[Reply]) -> Lookup:
            return form.lookup(replies, self._clock.micros())

        lookup = await run_alone(Plan(form.reads(name), read), self._store, call)
        return lookup if self._sealer is None else await self._opened(self._sealer, name, lookup, call)

    async def _opened(self, sealer: FieldSealer, name: bytes, lookup: Lookup, call: Call) -> Lookup:
        """Return the entry in the clear; a miss if its data key is gone."""
        if lookup.outcome is Outcome.MISS:
            return lookup
        clear = await sealer.open(name, {_WHOLE_VALUE: lookup.value}, call)
        return MISS if clear is None else lookup._replace(value=clear[_WHOLE_VALUE])

    # --- reading ---

    def _reader(self) -> Callable[[Sequence[Reply]], Lookup]:
        """Return what says what the replies to a read mean, where nothing is sealed."""
        # Names of its own in place of attributes: this is done for each key of every batch.
        lookup_of, micros, cells = self._format.lookup, self._clock.micros, self._read_cells

        def read(replies: Sequence[Reply]) -> Lookup:
            lookup = lookup_of(replies, micros())
            cells[lookup[0]].value += 1
            return lookup

        return read

    def _reads_planner(self) -> Callable[[Sequence[bytes]], Reads[Found]] | None:
        """Return what plans many reads at once, where an entry is read by one GET and nothing is sealed."""
        native, micros, cells = self._format, self._clock.micros, self._read_cells
        if self._sealer is not None or not isinstance(native, NativeFormat) or self._policy.generations:
            return None
        if self._behind is not None:
            return None  # what is pending counts as well

        def read(replies: Sequence[Reply], room: Room) -> list[Found | SidecarError]:
            found = native.lookups(replies, micros(), room)
            outcomes = [one[0] for one in found if not isinstance(one, SidecarError)]
            for outcome, cell in cells.items():
                cell.value += outcomes.count(outcome)
            return found

        return lambda names: Reads(native.keys(names), read)

    async def _plan_sealed_get(self, sealer: FieldSealer, key: str, call: Call) -> Plan[Lookup]:
        return self._sealed_read(sealer, await self._naming.name(key, call))

    def _sealed_read(self, sealer: FieldSealer, name: bytes) -> Plan[Lookup]:
        """Return the plan of a read of a sealed entry."""

        def read(replies: Sequence[Reply]) -> Lookup:
            return self._format.lookup(replies, self._clock.micros())

        async def opened(lookup: Lookup, call: Call) -> Lookup:
            lookup = await self._opened(sealer, name, lookup, call)
            self._read_cells[lookup.outcome].value += 1
            return lookup

        return Plan(self._format.reads(name), read, opened)


def native_format(policy: CachePolicy, keys: KeySpace, max_unpacked_bytes: int) -> NativeFormat:
    """Return how the entries of a cache lie that is not raw, but for what tags and generations add."""
    if policy.behind is None:
        return NativeFormat(policy, keys, max_unpacked_bytes)
    return BehindFormat(policy, policy.behind, keys, max_unpacked_bytes)


def _format_of(policy: CachePolicy, limits: Limits, keys: KeySpace, dating: Dating | None) -> NativeFormat | RawFormat:
    if policy.raw_prefix is not None:
        return RawFormat(policy, keys)
    if dating is None:
        return native_format(policy, keys, limits.max_unpacked_bytes)
    return DatedFormat(policy, keys, limits.max_unpacked_bytes, dating)


def growth_of(lookup: Lookup, replies: Sequence[Reply]) -> int:
    """Return how many bytes a value has more than its entry: above nought only where that is compressed."""
    return len(lookup[1]) - len(replies[0] or b"")


def _written(replies: Sequence[Reply]) -> Written:
    return written(replies[0])


def _touched(replies: Sequence[Reply]) -> Written:
    return touched(replies[0])


def _removed(replies: Sequence[Reply]) -> Written:
    return removed(replies[0])


def _counted(replies: Sequence[Reply]) -> Counted:
    return counted(replies[0])


def _turns(keys: Sequence[str]) -> list[int]:
    """Return for each of `keys` how often it stands before."""
    seen: dict[str, int] = {}
    turns = []
    for key in keys:
        turns.append(seen.get(key, 0))
        seen[key] = turns[-1] + 1
    return turns
