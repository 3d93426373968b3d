"""Write-through: what is written goes to the origin first, then to the cache, which never holds anything else for long.

The danger is not the write but what overlaps it. Two writers may reach the origin in one order and the cache in the
other; a reader may load what was there before and fill it in after; a writer may die between the two. So a write has
four steps:

1. *begin*: a script takes the place of whoever loads the entry, so that what is being loaded is not filled in; it lets
   the entry live no longer than the writer's own leave; and it is refused while another write of the key is under way,
   beside whatever sidecar, which is waited for. Writes of one key are made one after the other.
2. the origin is written.
3. the cache is filled with the writer's token, as after a load.
4. If that is refused, since the entry was invalidated meanwhile or the writer took longer than its leave, the entry is
   removed, with the token of whoever is at it by now: they find theirs refused, and remove it too. An empty cache is
   always right.

A writer who dies leaves an entry and a leave that end together, and until then nobody loads. If the origin says that it
has not made the write, the entry has its life back; if that is not known, the entry is removed. Where even that fails,
since the store is gone, it is tried again in the background.

How it fails. An origin that makes a write after the time-out for it may be read before it does; what was read stands
until its TTL ends. And if a key is invalidated while it is written, the next writer does not wait: should the first die
then, after the origin has made its write last, the second's value stands.

A repeat of a write, by its idempotency key, may be an old one that the origin does not make again; it leaves the cache
without the entry. A condition is refused: what the cache holds says nothing about what the origin has.

Rejected. To fill the cache first: a refusal of the origin would have been served already. To compare versions of the
origin: most have none.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.leases import draw
from sidecar.cache.origin import backstop
from sidecar.cache.policy import WriteOutcome, Written
from sidecar.cache.request import WriteOptions
from sidecar.call import Call
from sidecar.clock import after, remaining
from sidecar.errors import Reason, SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.background import Background
    from sidecar.cache.formats import NativeFormat
    from sidecar.cache.loads import Loads
    from sidecar.cache.origin import Change, Origin
    from sidecar.cache.policy import CachePolicy
    from sidecar.cache.values import ValueCache
    from sidecar.cache.waits import Waits
    from sidecar.clock import Deadline
    from sidecar.store.base import Store
    from sidecar.telemetry.metrics import Counter

_BEGIN, _END = load("begin_write"), load("end_write")

# What the token of a writer ends with (lua/includes/loads.lua).
_WRITER = "w"

# The origin must have ended before the writer's leave does, which the store counts from a little later on.
_OF_THE_LEASE = 0.8

# What is asked of the store once the origin has made a write, whoever has left meanwhile.
_STORE_SECONDS = 5.0

# The origin has not made a write that ends so.
_NOT_MADE = frozenset({Reason.ORIGIN_REFUSED, Reason.ORIGIN_UNAVAILABLE, Reason.ORIGIN_BUSY})

# Between attempts to remove an entry; some two minutes of them together.
_PAUSES_SECONDS = (0.05, 0.2, 1.0, *[5.0] * 24)

_log = logging.getLogger("sidecar.cache")


class Work(NamedTuple):
    """One write, checked."""

    key: str
    change: Change
    ttl_ms: int | None
    tags: tuple[str, ...]


class _Begun(NamedTuple):
    work: Work
    name: bytes
    token: str


class OriginWrites:
    """The writes of one cache that go to its origin first."""

    def __init__(
        self,
        *,
        policy: CachePolicy,
        origin: Origin,
        entries: ValueCache,
        loads: Loads,
        store: Store,
        native: NativeFormat,
        waits: Waits,
        background: Background,
        writes: Counter,
    ) -> None:
        self._policy = policy
        self._origin = origin
        self._entries = entries
        self._loads = loads
        self._store = store
        self._native = native
        self._waits = waits
        self._background = background
        self._seconds = min(policy.hard_timeout_ms, _OF_THE_LEASE * policy.load_lease_ms) / 1_000
        self._cells = {outcome: writes.cell(policy.name, outcome) for outcome in ("written", "not_made", "unknown")}

    async def make(self, works: Sequence[Work], deadline: Deadline) -> list[Written | SidecarError]:
        """Make writes, those of the same key in their order; each has its own result. It must not be cancelled.

        No write begins after the deadline; one that has begun is ended by the time-outs alone.
        """
        results: dict[int, Written | SidecarError] = {}
        while len(results) < len(works):
            # The next of each key: writes of one key are made one after the other, those of several together.
            wave: dict[str, int] = {}
            for place, work in enumerate(works):
                if place not in results:
                    wave.setdefault(work.key, place)
            made = await self._make_wave([works[place] for place in wave.values()], deadline)
            results.update(zip(wave.values(), made, strict=True))
        return [results[place] for place in range(len(works))]

    async def _make_wave(self, works: Sequence[Work], deadline: Deadline) -> list[Written | SidecarError]:
        """Make writes of different keys; none waits, and keeps its key from others, for one whose turn has not come."""
        results: dict[str, Written | SidecarError] = {}
        left = list(works)
        while left:
            if remaining(deadline) <= 0:
                for work in left:
                    results[work.key] = SidecarError(
                        Reason.DEADLINE_EXCEEDED, "another write of the key has not ended in time; nothing was changed"
                    )
                break
            call = Call("cache.write", deadline=after(self._seconds))
            begun, busy = await self._begin(left, results, call)
            if begun:
                results.update(await self._write(begun, call))
            if busy and not begun:
                _, load_key, left_ms = busy[0]
                await self._waits.wait(load_key, min(remaining(deadline), left_ms / 1_000))
            left = [work for work, _, _ in busy]
        return [results[work.key] for work in works]

    async def _begin(
        self, works: Sequence[Work], results: dict[str, Written | SidecarError], call: Call
    ) -> tuple[list[_Begun], list[tuple[Work, bytes, int]]]:
        """Begin what can be begun; return that, and what another is at; what has failed is among the results."""
        begun: list[_Begun] = []
        busy: list[tuple[Work, bytes, int]] = []
        try:
            names = [await self._entries.name(work.key, call) for work in works]
            opening, _ = await self._loads.leases.standing(names, call)
            tokens = [opening + draw() + _WRITER for _ in works]
            scripts = [
                ScriptCall(
                    _BEGIN,
                    (self._native.key(name), self._native.load_key(name)),
                    (token, self._policy.load_lease_ms),
                    False,
                )
                for name, token in zip(names, tokens, strict=True)
            ]
            replies = await self._store.call_many(scripts, call)
        except SidecarError as error:
            results.update((work.key, error) for work in works)
            return begun, busy
        for work, name, token, reply in zip(works, names, tokens, replies, strict=True):
            if isinstance(reply, SidecarError):
                results[work.key] = reply
            elif reply[0]:
                begun.append(_Begun(work, name, token))
            else:
                busy.append((work, self._native.load_key(name), reply[1]))
        return begun, busy

    async def _write(self, begun: Sequence[_Begun], call: Call) -> dict[str, Written | SidecarError]:
        """Write to the origin, by the deadline of a call that had begun before, then to the cache."""
        answers: Sequence[SidecarError | None]
        try:
            async with asyncio.timeout(backstop(max(0.0, remaining(call.deadline)))):
                answers = await self._origin.store([one.work.change for one in begun], call)
        except TimeoutError:
            answers = [self._unknown()] * len(begun)
        except SidecarError as error:
            answers = [error] * len(begun)
        settled = await asyncio.gather(*(self._settle(one, answer) for one, answer in zip(begun, answers, strict=True)))
        return dict(zip([one.work.key for one in begun], settled, strict=True))

    def _unknown(self) -> SidecarError:
        return SidecarError(
            Reason.ORIGIN_OUTCOME_UNKNOWN,
            "the origin has not answered in its time; it may have made the change",
            metadata={"origin": self._origin.name},
        )

    async def _settle(self, begun: _Begun, answer: SidecarError | None) -> Written | SidecarError:
        """Have the cache follow the origin."""
        call = Call("cache.write", deadline=after(_STORE_SECONDS))
        try:
            if answer is None:
                self._cells["written"].value += 1
                return await self._follow(begun, call)
            if answer.reason in _NOT_MADE:
                self._cells["not_made"].value += 1
                await self._restore(begun, call)
            else:
                self._cells["unknown"].value += 1
                await self._empty(begun.work.key, call)
        except SidecarError as error:
            return answer or error
        return answer

    async def _follow(self, begun: _Begun, call: Call) -> Written:
        (key, change, ttl_ms, tags), _, token = begun
        if change.token:
            return Written(WriteOutcome.APPLIED, at_us=await self._empty(key, call))
        try:
            if change.value is None:
                ended = await self._loads.finish(key, token, call, absent=True)
                return Written(WriteOutcome.APPLIED, at_us=ended.at_us)
            filled = await self._loads.keep(key, token, change.value, ttl_ms, call, tags=tags)
        except SidecarError:  # it was overtaken; or the store is gone, and may or may not have it
            return Written(WriteOutcome.APPLIED, at_us=await self._empty(key, call))
        return Written(WriteOutcome.APPLIED, filled.version, filled.ttl_ms, filled.at_us)

    async def _restore(self, begun: _Begun, call: Call) -> None:
        keys = (self._native.key(begun.name), self._native.load_key(begun.name))
        ending = ScriptCall(_END, keys, (begun.token, self._policy.kept_ms), True)
        try:
            await self._store.run(ending, call)
        finally:
            self._waits.wake(keys[1])

    async def _empty(self, key: str, call: Call) -> int:
        """Remove an entry, in the background if the store is gone now; raises OUTCOME_UNKNOWN then.

        Returns when that was, by the store's clock.
        """
        try:
            return await self._remove(key, call)
        except SidecarError:
            self._background.start(self._remove_later(key))
            raise SidecarError(
                Reason.OUTCOME_UNKNOWN,
                "the origin has been asked for the change, and the store could not be told; the cache may hold the "
                "value of before for as long as the store is gone",
            ) from None

    async def _remove(self, key: str, call: Call) -> int:
        removed = await self._entries.delete(key, WriteOptions(), call)
        self._waits.wake(self._native.load_key(await self._entries.name(key, call)))
        return removed.at_us

    async def _remove_later(self, key: str) -> None:
        for pause in _PAUSES_SECONDS:
            await asyncio.sleep(pause)
            try:
                await self._remove(key, Call("cache.write", deadline=after(_STORE_SECONDS)))
            except SidecarError:
                continue
            return
        _log.warning(
            "an entry of cache %r could not be removed after its origin was written; it may be out of date "
            "until its TTL ends",
            self._policy.name,
        )
