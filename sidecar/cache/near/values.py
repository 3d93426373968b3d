"""A cache of values with copies in the process: reads look there first, writes give up what they change.

A cache without a near cache is a plain `ValueCache`, and knows nothing of this. A hit waits for nothing: no await that
suspends, no command. What is read to be kept goes by the tracked connection (`store/tracking.py`); all else, and
whatever that connection cannot answer, by the pool as ever.

Sealed values are kept sealed, and opened with each read: what is in the clear lives as long as its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

from sidecar.cache.entry import HEADER
from sidecar.cache.near.copies import Copy
from sidecar.cache.near.hot_keys import HotKeys
from sidecar.cache.near.policy import ANY, NearPolicy
from sidecar.cache.policy import FromCopy, Lookup, Outcome
from sidecar.cache.request import check_batch
from sidecar.cache.values import ValueCache, growth_of
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.keys import check_name, check_names
from sidecar.store.plans import Plan, answer_too_large, run_alone, run_reads, run_together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.near.copies import Copies, Ticket
    from sidecar.cache.near.policy import Freshness
    from sidecar.cache.near.uses import Uses
    from sidecar.cache.policy import Counted, Found, Written
    from sidecar.cache.request import WriteOptions
    from sidecar.store.base import Reply, Store
    from sidecar.store.plans import Planned, Reads, Room
    from sidecar.telemetry.metrics import Counter

T = TypeVar("T")

_HIT = Outcome.HIT

# How a read ends that the tracked connection could not make: there is none, it was lost, or too much waits for it.
_ELSEWHERE = frozenset({Reason.STORE_UNAVAILABLE, Reason.OVERLOADED})
# A tracked connection on which nothing was heard for so long is asked nothing but the time: it is asked twice as often.
_SILENT_SECONDS = 1.0

# Entries of a cache that are promoted at once, and what they may take together.
_MOST_WANTED = 64
_PROMOTED_BYTES = 1 << 20
_PROMOTION_SECONDS = 1.0


class NearCounters:
    """What the near caches of a process have done so far."""

    def __init__(self, hits: Counter, misses: Counter) -> None:
        self.hits = hits
        self.misses = misses


class NearValueCache(ValueCache):
    """One configured cache with copies in the process."""

    def __init__(self, *, copies: Copies, uses: Uses, tracked: Store, counters: NearCounters, **common: Any) -> None:
        super().__init__(**common)
        self._near = near = self._policy.near or NearPolicy()
        self._copies = copies
        self._tracked = tracked
        self._tracking = copies.tracking
        self._items = copies.items
        self._note = uses.note
        self._hot = HotKeys()
        self._era = copies.era_of(common["keys"].generations(self._policy.name)[0])
        self._not_before = 0.0
        """Copies count once the store was heard of after this monotonic moment."""
        self._bound = near.max_staleness
        self._wanted: dict[bytes, None] = {}
        self._promoting: asyncio.Task[None] | None = None
        self._hits = counters.hits.cell(self._policy.name)
        self._misses = counters.misses.cell(self._policy.name)

    def hot_keys(self, count: int) -> list[tuple[str, int]]:
        """Return the keys that this process is asked for most, and about how often lately; none of a sealed cache."""
        return [] if self._sealer is not None else self._hot.most(count)

    # --- reading ---

    async def get(self, key: str, call: Call, fresh: Freshness = ANY) -> Lookup:
        """Read one entry."""
        if self._sealer is None:
            name = check_name(key, self._limits.max_key_bytes)
        else:
            name = await self._naming.name(key, call)
        entry_key = self._format.key(name)
        label = self._seen(key, name)
        found = self._look(entry_key, fresh)
        if found is not None:
            return found if self._sealer is None else await self._in_clear(name, found, call)
        if self._keeps(label):
            ticket = self._copies.begin(entry_key, self._era.number)
            try:
                return await run_alone(self._keeping(name, entry_key, ticket), self._tracked, call)
            except SidecarError as error:
                if error.reason not in _ELSEWHERE:
                    raise
            finally:
                self._copies.end(entry_key, ticket)
        return await run_alone(self._reading(name), self._store, call)

    def plan_get(self, key: str, call: Call, fresh: Freshness = ANY) -> Planned[Lookup]:
        """Return the plan of `get`, at once where nothing is sealed."""
        if self._sealer is not None:
            return self._plan_sealed(key, call, fresh)
        name = check_name(key, self._limits.max_key_bytes)
        return self._planned(name, self._seen(key, name), fresh)

    async def _plan_sealed(self, key: str, call: Call, fresh: Freshness) -> Plan[Lookup]:
        name = await self._naming.name(key, call)
        return self._planned(name, self._seen(key, name), fresh)

    def _planned(self, name: bytes, label: str, fresh: Freshness) -> Plan[Lookup]:
        found = self._look(self._format.key(name), fresh)
        if found is None:
            if self._keeps(label):
                self._promote(name)
            return self._reading(name)

        def known(_replies: Sequence[Reply]) -> Lookup:
            return found

        async def opened(lookup: Lookup, call: Call) -> Lookup:
            return await self._in_clear(name, lookup, call)

        return Plan((), known, None if self._sealer is None else opened, growth=_size_of)

    def plan_gets(self, keys: Sequence[str]) -> None:  # noqa: ARG002 (the signature is that of all caches)
        """Return None: each key may be answered in its own way."""
        return

    async def get_many(self, keys: Sequence[str], call: Call, fresh: Freshness = ANY) -> list[Found | SidecarError]:
        """Read several entries; each has its own result."""
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        if self._sealer is None:
            names = check_names(keys, self._limits.max_key_bytes, "keys")
        else:
            names = [await self._naming.name(key, call, f"keys[{number}]") for number, key in enumerate(keys)]
        results: list[Any] = [None] * len(keys)
        kept, plain, room = await self._look_for(keys, names, fresh, call, results)
        if kept:
            done = await self._read_kept([names[number] for number in kept], room, call)
            for number, one in zip(kept, done, strict=True):
                results[number] = one
                if not isinstance(one, SidecarError):
                    room -= len(one[1])
                elif one.reason in _ELSEWHERE:
                    plain.append(number)
        if plain:
            done = await self._read_plain([names[number] for number in plain], room, call)
            for number, one in zip(plain, done, strict=True):
                results[number] = one
        return results

    async def _look_for(
        self, keys: Sequence[str], names: Sequence[bytes], fresh: Freshness, call: Call, results: list[Any]
    ) -> tuple[list[int], list[int], int]:
        """Put copies into the results; return the places of what is to be kept, of the rest, and the bytes left."""
        kept: list[int] = []
        plain: list[int] = []
        room = self._limits.max_answer_bytes
        for number, (key, name) in enumerate(zip(keys, names, strict=True)):
            label = self._seen(key, name)
            found = self._look(self._format.key(name), fresh)
            if found is None:
                (kept if self._keeps(label) else plain).append(number)
                continue
            room -= len(found.value)
            if room < 0:
                results[number] = answer_too_large()
            else:
                results[number] = found if self._sealer is None else await self._tried(name, found, call)
        return kept, plain, room

    async def _read_plain(self, names: Sequence[bytes], room: int, call: Call) -> Sequence[Any]:
        """Read entries of which nothing is kept."""
        if self._plan_reads is not None:
            return await run_reads(self._plan_reads(names), self._store, call, max_answer_bytes=max(0, room))
        plans = [self._reading(name) for name in names]
        return await run_together(plans, self._store, call, max_answer_bytes=max(0, room))

    async def _read_kept(self, names: Sequence[bytes], room: int, call: Call) -> Sequence[Any]:
        """Read entries by the tracked connection, and keep them."""
        keys = [self._format.key(name) for name in names]
        tickets = [self._copies.begin(key, self._era.number) for key in keys]
        announced = list(zip(keys, tickets, strict=True))
        try:
            if self._plan_reads is not None:
                reads = self._keeping_reads(self._plan_reads(names), announced)
                return await run_reads(reads, self._tracked, call, max_answer_bytes=max(0, room))
            plans = [self._keeping(name, *one) for name, one in zip(names, announced, strict=True)]
            return await run_together(plans, self._tracked, call, max_answer_bytes=max(0, room))
        except SidecarError as error:
            return [error] * len(names)
        finally:
            for key, ticket in announced:
                self._copies.end(key, ticket)

    def _keeping_reads(self, reads: Reads[Found], announced: Sequence[tuple[bytes, Ticket]]) -> Reads[Found]:
        """Do for many reads what `_keeping` does for one."""
        left = iter(announced)

        def read(replies: Sequence[Reply], room: Room) -> list[Found | SidecarError]:
            found = reads.read(replies, room)
            for reply, one, (key, ticket) in zip(replies, found, left, strict=False):
                if not isinstance(one, SidecarError) and one[0] is _HIT:
                    self._keep(key, ticket, reply, one)
            return found

        return reads._replace(read=read)

    # --- copies ---

    def _seen(self, key: str, name: bytes) -> str:
        """Count a read; return what stands for the key in the sketch."""
        label = key if self._sealer is None else name.decode()
        self._hot.see(label)
        return label

    def _look(self, entry_key: bytes, fresh: Freshness) -> Lookup | None:
        """Return what there is in the process, if it is new enough; still sealed where it is."""
        item = self._items.get(entry_key)
        if item is not None:
            bound, after_us = fresh
            if bound is None or bound > self._bound:
                bound = self._bound
            tracking = self._tracking
            confirmed = tracking.confirmed
            version, written_us, fresh_until_us, value, era = item.value
            if (
                time.monotonic() - confirmed < bound
                and confirmed > self._not_before
                and (after_us <= version or after_us < tracking.confirmed_us)
            ):
                now_us = self._clock.micros()
                if now_us < fresh_until_us and era == self._era.number:
                    if not item.noted:
                        self._note(item)
                    self._hits.value += 1
                    if self._sealer is None:
                        self._read_cells[_HIT].value += 1
                    # The clock is an estimate, as in `policy.judge`.
                    now_us = max(now_us, written_us)
                    ttl_ms, age_ms = -((now_us - fresh_until_us) // 1000), (now_us - written_us) // 1000
                    # Its own __new__ is a function of Python's, and takes three times as long.
                    return tuple.__new__(FromCopy, (_HIT, value, version, ttl_ms, age_ms))
                self._copies.expire(entry_key)
        self._misses.value += 1
        return None

    def _keeps(self, label: str) -> bool:
        """Say whether what is read now is to be kept, and can be."""
        if label not in self._hot and (self._near.hot_only or not self._copies.has_room()):
            return False
        tracking = self._tracking
        # One that is silent keeps its callers waiting.
        return tracking.ready and time.monotonic() - tracking.confirmed < _SILENT_SECONDS

    def _reading(self, name: bytes) -> Plan[Lookup]:
        """Return the plan of a read of which nothing is kept."""
        if self._sealer is not None:
            return self._sealed_read(self._sealer, name)
        return Plan(self._format.reads(name), self._read, growth=growth_of)

    def _keeping(self, name: bytes, entry_key: bytes, ticket: Ticket) -> Plan[Lookup]:
        """Return the plan of a read that keeps what it brings, if it is fresh and nothing was heard against it."""
        plan = self._reading(name)

        def read(replies: Sequence[Reply]) -> Lookup:
            lookup = plan.read(replies)
            if lookup.outcome is _HIT:
                self._keep(entry_key, ticket, replies[0], lookup)
            return lookup

        return plan._replace(read=read)

    def _keep(self, entry_key: bytes, ticket: Ticket, stored: bytes | None, found: Found) -> None:
        if stored is None:
            return  # what is pending was found, in place of an entry that is gone: no copy of an entry
        _, version, written_us, fresh_until_us = HEADER.unpack_from(stored)
        # Beside a stale entry what is pending was found, though it is of the same version.
        if version == found[2] and fresh_until_us > self._clock.micros():
            self._copies.keep(entry_key, ticket, Copy(version, written_us, fresh_until_us, found[1], ticket.era))

    async def _in_clear(self, name: bytes, lookup: Lookup, call: Call) -> Lookup:
        """Open a copy; a miss if its data key is gone."""
        if self._sealer is not None:
            lookup = await self._opened(self._sealer, name, lookup, call)
            self._read_cells[lookup.outcome].value += 1
        return lookup

    async def _tried(self, name: bytes, lookup: Lookup, call: Call) -> Lookup | SidecarError:
        try:
            return await self._in_clear(name, lookup, call)
        except SidecarError as error:
            return error

    # --- hot keys that are read in batches of operations, which share one trip to the store ---

    def _promote(self, name: bytes) -> None:
        """Have an entry read once more, to be kept."""
        if len(self._wanted) < _MOST_WANTED:
            self._wanted[name] = None
            if self._promoting is None:
                self._promoting = asyncio.create_task(self._promote_all(), name="promote to the near cache")

    async def _promote_all(self) -> None:
        try:
            while self._wanted:
                names, self._wanted = list(self._wanted), {}
                call = Call("cache.promote", deadline=after(_PROMOTION_SECONDS))
                keys = [self._format.key(name) for name in names]
                tickets = [self._copies.begin(key, self._era.number) for key in keys]
                try:
                    plans = [
                        self._keeping(*each)._replace(open=None) for each in zip(names, keys, tickets, strict=True)
                    ]
                    # What fails is read again, and promoted then.
                    with contextlib.suppress(SidecarError):
                        await run_together(plans, self._tracked, call, max_answer_bytes=_PROMOTED_BYTES)
                finally:
                    for key, ticket in zip(keys, tickets, strict=True):
                        self._copies.end(key, ticket)
        finally:
            self._promoting = None

    # --- writing ---

    async def _plan_set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Plan[Written]:
        return self._dropping(await super()._plan_set(key, value, options, call))

    async def _plan_delete(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        return self._dropping(await super()._plan_delete(key, options, call))

    async def plan_touch(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `touch`."""
        return self._dropping(await super().plan_touch(key, options, call))

    async def plan_increment(
        self, key: str, delta: int, initial: int, options: WriteOptions, call: Call
    ) -> Plan[Counted]:
        """Return the plan of `increment`."""
        return self._dropping(await super().plan_increment(key, delta, initial, options, call))

    async def _run_together(self, plans: Sequence[Plan[T]], call: Call) -> list[T | SidecarError]:
        return await super()._run_together([self._dropping(plan) for plan in plans], call)

    def forget(self, name: bytes) -> None:
        """Give up the copy of an entry that this process has changed."""
        self._copies.drop(self._format.key(name))

    def forget_all(self) -> None:
        """Use no copy until the store was heard of: this process has put out of date more than it knows."""
        self._not_before = time.monotonic()

    def _dropping(self, plan: Plan[T]) -> Plan[T]:
        """Return the plan of a write that gives up the copy, before anybody is told that it was made."""
        write = plan.requests[0]
        if not isinstance(write, ScriptCall):
            return plan
        entry_key = write.keys[0]

        def read(replies: Sequence[Reply]) -> T:
            self._copies.drop(entry_key)
            return plan.read(replies)

        return plan._replace(read=read)


def _size_of(lookup: Lookup, _replies: Sequence[Reply]) -> int:
    """Return what a copy adds to an answer, of which nothing was read."""
    return len(lookup.value)
