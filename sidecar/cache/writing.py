"""Write-through, as the services see it: requests are checked, and then made by `origin_writes`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.cache.near.policy import ANY
from sidecar.cache.origin import Change
from sidecar.cache.origin_writes import Work
from sidecar.cache.policy import MISS, WriteOutcome, Written, choose_ttl
from sidecar.cache.request import ALWAYS, check_batch, check_idempotency_key, check_size, fingerprint
from sidecar.cache.through import ReadThrough
from sidecar.cache.values import NewValue
from sidecar.errors import SidecarError
from sidecar.store.plans import Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.background import Background
    from sidecar.cache.loads import Loads
    from sidecar.cache.near.policy import Freshness
    from sidecar.cache.origin_writes import OriginWrites
    from sidecar.cache.policy import Counted, Lookup
    from sidecar.cache.request import WriteOptions
    from sidecar.cache.through import Through
    from sidecar.call import Call


class WriteThrough(ReadThrough):
    """A cache whose writes go to its origin first; it reads as `ReadThrough` does."""

    def __init__(self, through: Through, loads: Loads, writes: OriginWrites, background: Background) -> None:
        super().__init__(through)
        self._loads = loads
        self._writes = writes
        self._background = background

    async def drain(self, seconds: float) -> None:
        """Let what is on its way from the origin and to it end, within that time."""
        await asyncio.gather(super().drain(seconds), self._background.drain(seconds))

    # --- what is asked ---

    async def set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Written:
        """Write one entry to the origin, then to the cache; raises ORIGIN_REFUSED and what else the origin says."""
        work = await self._setting(NewValue(key, value, options), "", call)
        return (await self._made([work], call))[0]

    async def delete(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Remove one entry from the origin, then from the cache; raises as `set` does."""
        return (await self._made([await self._removing(key, options, "key", call)], call))[0]

    async def set_many(self, values: Sequence[NewValue], call: Call) -> list[Written | SidecarError]:
        """Write several entries, those of the same key in their order; each has its own result."""
        check_batch(len(values), self._limits.max_batch_keys, "entries")
        seen: dict[str, int] = {}
        works = []
        for number, new in enumerate(values):
            turn = seen[new.key] = seen.get(new.key, -1) + 1
            works.append(await self._setting(new, f"entries[{number}].", call, turn))
        return await self._made_together(works, call)

    async def delete_many(self, keys: Sequence[str], options: WriteOptions, call: Call) -> list[Written | SidecarError]:
        """Remove several entries; each has its own result."""
        check_batch(len(keys), self._limits.max_batch_keys, "keys")
        works = [
            await self._removing(key, options, f"keys[{number}]", call, keys[:number].count(key))
            for number, key in enumerate(keys)
        ]
        return await self._made_together(works, call)

    async def touch(self, *_: object) -> Written:
        """Refuse; raises UNSUPPORTED_BY_CACHE."""
        raise self._no_touch()

    async def increment(self, *_: object) -> Counted:
        """Refuse; raises UNSUPPORTED_BY_CACHE."""
        raise self._no_counters()

    # --- the same as plans: each does all of it when its turn has come, so that operations keep their order ---

    def plan_get(self, key: str, call: Call, fresh: Freshness = ANY) -> Plan[Lookup]:  # noqa: ARG002 (as any plan of a get)
        """Return the plan of `get`."""

        async def get(_: Lookup, call: Call) -> Lookup:
            return await self.get(key, call, fresh)

        return Plan((), lambda _: MISS, get)

    async def plan_set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `set`."""
        return self._plan(await self._setting(NewValue(key, value, options), "", call))

    async def plan_delete(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `delete`."""
        return self._plan(await self._removing(key, options, "key", call))

    def _plan(self, work: Work) -> Plan[Written]:
        async def write(_: Written, call: Call) -> Written:
            return (await self._made([work], call))[0]

        return Plan((), lambda _: Written(WriteOutcome.NOT_FOUND), write)

    async def plan_touch(self, *_: object) -> Plan[Written]:
        """Refuse; raises UNSUPPORTED_BY_CACHE."""
        raise self._no_touch()

    async def plan_increment(self, *_: object) -> Plan[Counted]:
        """Refuse; raises UNSUPPORTED_BY_CACHE."""
        raise self._no_counters()

    def _no_touch(self) -> SidecarError:
        return self._unsupported("how long an entry lives is settled when it is written", "ttl")

    def _no_counters(self) -> SidecarError:
        return self._unsupported("the origin is given values, and cannot be told to add", "cache")

    # --- checking: whatever can be wrong is found before the origin is written ---

    async def _setting(self, new: NewValue, path: str, call: Call, turn: int = 0) -> Work:
        key, value, options, own_ttl = new
        check_size(len(value), self._limits.max_value_bytes, f"{path}value")
        choose_ttl(self._policy, options.ttl_ms, 0.0, f"{path}ttl" if own_ttl else "ttl")
        await self._loads.checked_tags(options.tags, call, f"{path}tags")
        name = await self._entries.name(key, call, f"{path}key")
        return self._work(name, Change(key, value), options, f"{path}condition", turn)

    async def _removing(self, key: str, options: WriteOptions, field: str, call: Call, turn: int = 0) -> Work:
        name = await self._entries.name(key, call, field)
        return self._work(name, Change(key, None), options, "condition", turn)

    def _work(self, name: bytes, change: Change, options: WriteOptions, condition_field: str, turn: int) -> Work:
        if options.condition != ALWAYS:
            raise self._unsupported("what the cache holds is no condition on what the origin has", condition_field)
        if options.idempotency_key:
            check_idempotency_key(options.idempotency_key)
            # The entry's key names the tenant. With the value in it, who uses an idempotency key twice for different
            # writes has both made, and not one of them taken for the other.
            place = self._entries.entry_key(name)
            token = fingerprint("write", place, options.idempotency_key, turn, change.value).hex()
            change = change._replace(token=token)
        return Work(change.key, change, options.ttl_ms, options.tags)

    # --- doing ---

    async def _made(self, works: Sequence[Work], call: Call) -> list[Written]:
        done = []
        for one in await self._made_together(works, call):
            if isinstance(one, SidecarError):
                raise one
            done.append(one)
        return done

    async def _made_together(self, works: Sequence[Work], call: Call) -> list[Written | SidecarError]:
        """Make writes, in a task of their own: a caller who leaves cannot leave one half made."""
        task = self._background.start(self._writes.make(works, call.deadline))
        with self._pause(call):
            return await asyncio.shield(task)
