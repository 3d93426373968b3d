"""A cache of values, cache-aside: it does what the policy and the format decide.

The order of a write is always the same: check everything that can be checked without the store, name the entry, seal
the value, run one script. Nothing is sent for a request that is wrong.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.formats import NativeFormat, RawFormat, counted, removed, written
from sidecar.cache.naming import Naming
from sidecar.cache.policy import MISS, Outcome, choose_ttl
from sidecar.cache.request import (
    check_batch,
    check_size,
    refuse_if_absent,
)
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sidecar.cache.formats import Repeat
    from sidecar.cache.policy import CachePolicy, Counted, Limits, Lookup, Written
    from sidecar.cache.request import WriteOptions
    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Arg, Reply, ScriptCall, Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Cell, Counter

# The "field" under which a sealed value is bound; a record's field names are never empty.
_WHOLE_VALUE = ""


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
        self._format = NativeFormat(policy, keys) if policy.raw_prefix is None else RawFormat(policy, keys)
        self._single_read = policy.raw_prefix is None
        self._read_cells: dict[Outcome, Cell] = {
            outcome: reads.cell(policy.name, outcome.name.lower()) for outcome in Outcome
        }

    async def get(self, key: str, call: Call) -> Lookup:
        """Read one entry."""
        name = await self._naming.name(key, call)
        reads = self._format.reads(self._format.key(name))
        if self._single_read:
            replies = [await self._store.call(reads[0], call)]
        else:
            replies = await self._store.call_many(reads, call)
        return await self._found(name, replies, call)

    async def get_many(self, keys: Sequence[str], call: Call) -> list[Lookup | SidecarError]:
        """Read several entries; each has its own result."""
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        names = [await self._naming.name(key, call, f"keys[{number}]") for number, key in enumerate(keys)]
        batch = [command for name in names for command in self._format.reads(self._format.key(name))]
        replies = await self._store.call_many(batch, call)
        width = len(batch) // len(names)
        return [
            await _or_error(self._found(name, replies[number * width : (number + 1) * width], call))
            for number, name in enumerate(names)
        ]

    async def set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Written:
        """Write one entry."""
        return written(await self._store.run(await self._writing(NewValue(key, value, options), "", call), call))

    async def set_many(self, values: Sequence[NewValue], call: Call) -> list[Written | SidecarError]:
        """Write several entries, those of the same key in their order; each has its own result."""
        check_batch(len(values), self._limits.max_batch_keys, "entries")
        turns = _turns([value.key for value in values])
        scripts = [
            await self._writing(value, f"entries[{number}].", call, turns[number])
            for number, value in enumerate(values)
        ]
        return await self._run_many(turns, scripts, written, call)

    async def delete(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Remove one entry."""
        refuse_if_absent(options.condition)
        return removed(await self._store.run(await self._removing(key, options, "key", call), call))

    async def delete_many(self, keys: Sequence[str], options: WriteOptions, call: Call) -> list[Written | SidecarError]:
        """Remove several entries; each has its own result."""
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        turns = _turns(keys)
        scripts = [
            await self._removing(key, options, f"keys[{number}]", call, turns[number])
            for number, key in enumerate(keys)
        ]
        return await self._run_many(turns, scripts, removed, call)

    async def touch(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Give an entry a new TTL."""
        ttl_ms = self._ttl(options, "ttl")
        name = await self._naming.name(key, call)
        repeat = await self._repeat(name, options, ("touch", options.ttl_ms), call)
        return written(await self._store.run(self._format.touch(self._format.key(name), ttl_ms, repeat), call))

    async def increment(self, key: str, delta: int, initial: int, options: WriteOptions, call: Call) -> Counted:
        """Add to a counter."""
        if self._sealer is not None:
            raise SidecarError(
                Reason.UNSUPPORTED_BY_CACHE,
                f"cache {self._policy.name!r} seals its values, and a sealed value cannot be added to",
                field="cache",
            )
        ttl_ms = self._ttl(options, "ttl")
        name = await self._naming.name(key, call)
        repeat = await self._repeat(name, options, ("increment", delta, initial, options.ttl_ms), call)
        script = self._format.increment(self._format.key(name), delta, initial, ttl_ms, repeat)
        return counted(await self._store.run(script, call))

    # --- building ---

    async def _writing(self, new: NewValue, path: str, call: Call, turn: int = 0) -> ScriptCall:
        key, value, options, own_ttl = new
        check_size(len(value), self._limits.max_value_bytes, f"{path}value")
        ttl_ms = self._ttl(options, f"{path}ttl" if own_ttl else "ttl")
        name = await self._naming.name(key, call, f"{path}key")
        asked = ("set", value, options.ttl_ms, options.condition)
        repeat = await self._repeat(name, options, asked, call, turn)
        if self._sealer is not None:
            value = (await self._sealer.seal(name, {_WHOLE_VALUE: value}, call))[_WHOLE_VALUE]
        return self._format.set(self._format.key(name), value, ttl_ms, options.condition, repeat)

    async def _removing(self, key: str, options: WriteOptions, field: str, call: Call, turn: int = 0) -> ScriptCall:
        name = await self._naming.name(key, call, field)
        repeat = await self._repeat(name, options, ("delete", options.condition), call, turn)
        return self._format.delete(self._format.key(name), options.condition, repeat)

    def _ttl(self, options: WriteOptions, field: str) -> int:
        return choose_ttl(self._policy, options.ttl_ms, random.random(), field)  # noqa: S311 (spreading, no secret)

    async def _repeat(
        self, name: bytes, options: WriteOptions, asked: tuple[Arg | None, ...], call: Call, turn: int = 0
    ) -> Repeat:
        def record_key(label: str) -> bytes:
            return self._format.record_key(name, label)

        entry_key = self._format.key(name)
        return await self._naming.repeat(options.idempotency_key, asked, entry_key, record_key, call, turn=turn)

    # --- doing ---

    async def _found(self, name: bytes, replies: Sequence[Reply], call: Call) -> Lookup:
        for reply in replies:
            if isinstance(reply, SidecarError):
                raise reply
        lookup = self._format.lookup(replies, self._clock.micros())
        if self._sealer is not None and lookup.outcome is not Outcome.MISS:
            opened = await self._sealer.open(name, {_WHOLE_VALUE: lookup.value}, call)
            lookup = MISS if opened is None else lookup.with_value(opened[_WHOLE_VALUE])
        self._read_cells[lookup.outcome].value += 1
        return lookup

    async def _run_many(
        self,
        turns: Sequence[int],
        scripts: Sequence[ScriptCall],
        read: Callable[[Reply], Written],
        call: Call,
    ) -> list[Written | SidecarError]:
        """Run scripts together, those of the same key in rounds: a reload of a script must not change their order."""
        results: list[Written | SidecarError | None] = [None] * len(scripts)
        for round_ in _rounds(turns):
            replies = await self._store.call_many([scripts[number] for number in round_], call)
            for number, reply in zip(round_, replies, strict=True):
                results[number] = reply if isinstance(reply, SidecarError) else read(reply)
        return [result for result in results if result is not None]


def _turns(keys: Sequence[str]) -> list[int]:
    """Return for each of `keys` how often it stands before."""
    seen: dict[str, int] = {}
    turns = []
    for key in keys:
        turns.append(seen.get(key, 0))
        seen[key] = turns[-1] + 1
    return turns


def _rounds(turns: Sequence[int]) -> list[list[int]]:
    """Split the positions of a batch into rounds in which no key stands twice."""
    rounds: list[list[int]] = [[] for _ in range(max(turns) + 1)]
    for number, turn in enumerate(turns):
        rounds[turn].append(number)
    return rounds


async def _or_error(found: Awaitable[Lookup]) -> Lookup | SidecarError:
    try:
        return await found
    except SidecarError as error:
        return error
