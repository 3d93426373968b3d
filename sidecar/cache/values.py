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
    refuse_longer_life,
)
from sidecar.errors import Reason, SidecarError
from sidecar.store.keys import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
# The keys of a batch that are read together: enough to make the trip cheap, few enough to stop in time when values are
# large.
_READ_ROUND = 64


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
        self._read_cells: dict[Outcome, Cell] = {
            outcome: reads.cell(policy.name, outcome.name.lower()) for outcome in Outcome
        }

    async def get(self, key: str, call: Call) -> Lookup:
        """Read one entry."""
        # The most frequent call of all: what needs no waiting is not awaited.
        if self._sealer is None:
            name = check_name(key, self._limits.max_key_bytes)
        else:
            name = await self._naming.name(key, call)
        reads = self._format.reads(self._format.key(name))
        if len(reads) == 1:
            lookup = self._judged((await self._store.call(reads[0], call),))
        else:
            lookup = self._judged(await self._store.call_many(reads, call))
        if self._sealer is not None:
            lookup = await self._opened(name, lookup, call)
        self._read_cells[lookup.outcome].value += 1
        return lookup

    async def get_many(self, keys: Sequence[str], call: Call) -> list[Lookup | SidecarError]:
        """Read several entries; each has its own result. A key that is named twice is read once."""
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        names = [await self._naming.name(key, call, f"keys[{number}]") for number, key in enumerate(keys)]
        replies = await self._read_many(list(dict.fromkeys(names)), call)
        results: list[Lookup | SidecarError] = []
        size = 0
        for name in names:
            result = await self._result_of(name, replies.get(name), call)
            if not isinstance(result, SidecarError):
                size += len(result.value)
                if size > self._limits.max_answer_bytes:
                    result = _answer_too_large()
            results.append(result)
        return results

    async def _read_many(self, names: Sequence[bytes], call: Call) -> dict[bytes, Sequence[Reply]]:
        """Read entries in rounds, until there is more than an answer can hold."""
        replies: dict[bytes, Sequence[Reply]] = {}
        size = 0
        for start in range(0, len(names), _READ_ROUND):
            chunk = names[start : start + _READ_ROUND]
            batch = [command for name in chunk for command in self._format.reads(self._format.key(name))]
            answers = await self._store.call_many(batch, call)
            width = len(batch) // len(chunk)
            for number, name in enumerate(chunk):
                replies[name] = answers[number * width : (number + 1) * width]
            size += sum(len(answer) for answer in answers if isinstance(answer, bytes))
            if size > self._limits.max_answer_bytes:
                break
        return replies

    async def _result_of(self, name: bytes, replies: Sequence[Reply] | None, call: Call) -> Lookup | SidecarError:
        """Return what was found under one name of a batch; `replies` is None if it was not read any more."""
        if replies is None:
            return _answer_too_large()
        try:
            lookup = self._judged(replies)
            if self._sealer is not None:
                lookup = await self._opened(name, lookup, call)
        except SidecarError as error:
            return error
        self._read_cells[lookup.outcome].value += 1
        return lookup

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
        """Give an entry a new TTL; raises UNSUPPORTED_BY_CACHE where the entries are sealed."""
        refuse_longer_life(self._policy)
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

    def _judged(self, replies: Sequence[Reply]) -> Lookup:
        """Return what the replies to a read mean; raises what any of them is."""
        for reply in replies:
            if isinstance(reply, SidecarError):
                raise reply
        return self._format.lookup(replies, self._clock.micros())

    async def _opened(self, name: bytes, lookup: Lookup, call: Call) -> Lookup:
        """Return a sealed entry in the clear; a miss if its data key is gone."""
        if self._sealer is None or lookup.outcome is Outcome.MISS:
            return lookup
        opened = await self._sealer.open(name, {_WHOLE_VALUE: lookup.value}, call)
        return MISS if opened is None else lookup._replace(value=opened[_WHOLE_VALUE])

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


def _answer_too_large() -> SidecarError:
    return SidecarError(
        Reason.ANSWER_TOO_LARGE, "the answer would be too large for a message (limits.max_message_bytes); ask for less"
    )
