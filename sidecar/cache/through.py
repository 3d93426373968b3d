"""A cache that loads what is missed from its origin, and what it serves while the origin is slow or gone.

A read begins as in any cache. What is fresh is served; near the end of its life it may be loaded anew in the background
first (`refresh`). What is stale is served too, while one loads it anew. Only what is missed is waited for, in a flight
with all who miss it (`flights`): until it lands, or the cache's `load_wait` or the caller's deadline ends the wait.

When a flight fails, or takes longer than the soft time-out, an entry that is kept for that is served as stale. It is
read then, and not before, so that it is no older than any entry that a call may be given.

A miss therefore says that the origin has none. Whether an entry is written through to the origin is decided in
`writing`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.flights import Flights, timed_out
from sidecar.cache.loads import FOR_THE_WAY, Loaded, LoadOutcome, fitting
from sidecar.cache.near.policy import ANY
from sidecar.cache.policy import MISS, Lookup, Outcome, Strategy, named
from sidecar.cache.refresh import is_due, is_early
from sidecar.clock import after, remaining
from sidecar.errors import Reason, SidecarError
from sidecar.store.plans import Plan, answer_too_large
from sidecar.store.replies import again

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from sidecar.cache.flights import Landing, LoadMetrics, Ticket
    from sidecar.cache.loads import Filled
    from sidecar.cache.near.policy import Freshness
    from sidecar.cache.origin import Origin
    from sidecar.cache.policy import CachePolicy, Counted, Found, Limits, Written
    from sidecar.cache.request import WriteOptions
    from sidecar.cache.served import Waiting
    from sidecar.cache.values import NewValue, ValueCache
    from sidecar.call import Call
    from sidecar.clock import Deadline
    from sidecar.store.base import Reply
    from sidecar.store.plans import Planned, Reads

    Pause = Callable[[Call], AbstractContextManager[None]]
    """Makes what a call is within while it waits on purpose."""


class Through(NamedTuple):
    """What a cache with an origin is made of."""

    policy: CachePolicy
    limits: Limits
    origin: Origin
    entries: ValueCache
    """The cache without its origin."""
    flights: Flights
    metrics: LoadMetrics
    pause: Pause
    """What a call waits for its origin within."""
    draw: Callable[[], float]
    """Chance: a number in [0, 1)."""


class ReadThrough:
    """A cache of values, and who loads them."""

    def __init__(self, through: Through) -> None:
        policy, metrics = through.policy, through.metrics
        self._policy = policy
        self._limits = through.limits
        self._origin = through.origin
        self._entries = through.entries
        self._flights = through.flights
        self._pause = through.pause
        self._draw = through.draw
        self._share = policy.refresh_at if policy.strategy is Strategy.REFRESH_AHEAD else None
        self._looks_ahead = self._share is not None or policy.early_refresh > 0
        self._waits = metrics.waits.cell(policy.name)
        self._refreshes = {why: metrics.refreshes.cell(policy.name, why) for why in ("stale", "ahead", "early")}
        self._stale = {
            why: metrics.stale.cell(policy.name, why) for why in ("stale_while_revalidate", "soft_timeout", "fail_safe")
        }

    async def drain(self, seconds: float) -> None:
        """Let what is loaded be kept, within that time."""
        await self._flights.drain(seconds)

    # --- reading ---

    async def get(self, key: str, call: Call, fresh: Freshness = ANY) -> Lookup:
        """Read one entry, from the origin where there is none; raises as the origin does, and ORIGIN_TIMED_OUT."""
        return await self._answer(key, await self._entries.get(key, call, fresh), call)

    def plan_get(self, key: str, call: Call, fresh: Freshness = ANY) -> Planned[Lookup]:
        """Return the plan of `get`; what is missed by plans that run together is loaded together."""
        planned = self._entries.plan_get(key, call, fresh)
        if isinstance(planned, Plan):
            return self._loading_plan(key, planned)

        async def plan() -> Plan[Lookup]:
            return self._loading_plan(key, await planned)

        return plan()

    def _loading_plan(self, key: str, plan: Plan[Lookup]) -> Plan[Lookup]:
        tickets: list[Ticket] = []

        def read(replies: Sequence[Reply]) -> Lookup:
            lookup = plan.read(replies)
            if lookup.outcome is Outcome.MISS:
                tickets.append(self._flights.begin(key))
            return lookup

        async def opened(lookup: Lookup, call: Call) -> Lookup:
            if plan.open is not None:
                lookup = await plan.open(lookup, call)
            return await self._answer(key, lookup, call, tickets[0] if tickets else None)

        return plan._replace(read=read, open=opened)

    async def get_many(self, keys: Sequence[str], call: Call, fresh: Freshness = ANY) -> Sequence[Found | SidecarError]:
        """Read several entries, with one question to the origin for all that are missed."""
        return await self._complete(keys, await self._entries.get_many(keys, call, fresh), call)

    def plan_gets(self, keys: Sequence[str]) -> Reads[Found] | None:
        """Return what does the same as the plans of a `get` of each key; None where only those will do."""
        reads = self._entries.plan_gets(keys)
        if reads is None:
            return None

        async def opened(found: Sequence[Found | SidecarError], call: Call) -> Sequence[Found | SidecarError]:
            return await self._complete(keys, found, call)

        return reads._replace(open=opened)

    async def get_or_load(self, key: str, wait_ms: int | None, call: Call, *, waiting: Waiting) -> Loaded:
        """Read one entry as `get` does, or say that it is still being loaded; nobody is given a lease."""
        lookup = await self._entries.get(key, call)
        if lookup.outcome is not Outcome.MISS:
            self._see(key, lookup)
            return _told(lookup)
        ends = self._ends(wait_ms, call)
        with waiting():
            return await self._load_or_tell(key, ends, call)

    async def get_or_load_many(
        self, keys: Sequence[str], wait_ms: int | None, call: Call, *, waiting: Waiting
    ) -> list[Loaded | SidecarError]:
        """Read several entries as `get_or_load` does each."""
        found = await self._entries.get_many(keys, call)
        ends = self._ends(wait_ms, call)
        told: dict[str, Loaded | SidecarError] = {}
        missed: list[str] = []
        for key, one in zip(keys, found, strict=True):
            if isinstance(one, SidecarError):
                told[key] = one
            elif one[0] is Outcome.MISS:
                missed.append(key)
            else:
                self._see(key, one)
                told[key] = _told(named(one))
        if missed:
            with waiting():
                loads = [self._load_or_tell(key, ends, call) for key in dict.fromkeys(missed)]
                told.update(zip(dict.fromkeys(missed), await _all(loads), strict=True))
        return fitting([told[key] for key in keys], self._limits.max_answer_bytes)

    async def fill(self, *_: object, **_options: object) -> Filled:
        """Refuse: nobody but the sidecar loads; raises UNSUPPORTED_BY_CACHE."""
        raise self._loads_itself()

    async def end(self, *_: object, **_options: object) -> Filled:
        """Refuse: nobody but the sidecar loads; raises UNSUPPORTED_BY_CACHE."""
        raise self._loads_itself()

    def _loads_itself(self) -> SidecarError:
        return self._unsupported("the sidecar loads its entries itself, and gives no leases", "cache")

    def _unsupported(self, why: str, field: str) -> SidecarError:
        text = f"cache {self._policy.name!r} is {self._policy.strategy.value}: {why}"
        return SidecarError(Reason.UNSUPPORTED_BY_CACHE, text, field=field)

    def hot_keys(self, count: int) -> list[tuple[str, int]]:
        """Return the keys that this process is asked for most, and about how often lately."""
        return self._entries.hot_keys(count)

    # --- what follows from what was found ---

    async def _answer(self, key: str, lookup: Lookup, call: Call, ticket: Ticket | None = None) -> Lookup:
        if lookup.outcome is not Outcome.MISS:
            self._see(key, lookup)
            return lookup
        with self._pause(call):
            return await self._loaded(key, call, ticket)

    def _see(self, key: str, found: Found) -> None:
        """Take notice of an entry that is served as it is: have it loaded anew if it is time to."""
        outcome, _, version, left_ms, age_ms = found
        if outcome is Outcome.STALE:
            self._stale["stale_while_revalidate"].value += 1
            self._refresh(key, "stale")
        elif left_ms is None or age_ms is None or not self._looks_ahead:
            return
        elif self._share is not None and is_due(age_ms, left_ms, self._share):
            self._refresh(key, "ahead", str(version))
        elif is_early(left_ms, self._flights.mean_ms, self._policy.early_refresh, self._draw()):
            self._refresh(key, "early", str(version))

    def _refresh(self, key: str, why: str, version: str = "") -> None:
        if self._flights.refresh(key, version):
            self._refreshes[why].value += 1

    async def _complete(
        self, keys: Sequence[str], found: Sequence[Found | SidecarError], call: Call
    ) -> Sequence[Found | SidecarError]:
        """Return what was found, with what was loaded in the place of each miss."""
        missed: dict[str, None] = {}
        for key, one in zip(keys, found, strict=True):
            if isinstance(one, SidecarError):
                continue
            if one[0] is Outcome.MISS:
                missed[key] = None
            else:
                self._see(key, one)
        if not missed:
            return found
        with self._pause(call):
            loaded = dict(zip(missed, await _all([self._loaded(key, call) for key in missed]), strict=True))
        completed: list[Found | SidecarError] = []
        left = self._limits.max_answer_bytes
        for key, one in zip(keys, found, strict=True):
            there = one if isinstance(one, SidecarError) or one[0] is not Outcome.MISS else loaded[key]
            if not isinstance(there, SidecarError):
                left -= len(there[1])
                if left < 0:
                    there = answer_too_large()
            completed.append(there)
        return completed

    # --- what is missed ---

    def _ends(self, wait_ms: int | None, call: Call) -> Deadline:
        seconds = (self._policy.load_wait_ms if wait_ms is None else wait_ms) / 1_000
        return after(min(seconds, remaining(call.deadline) * (1 - FOR_THE_WAY)))

    async def _loaded(self, key: str, call: Call, ticket: Ticket | None = None) -> Lookup:
        """Return what there is once it is loaded; raises as the origin does, and ORIGIN_TIMED_OUT after the wait."""
        loaded = await self._load(key, self._ends(None, call), call, ticket)
        if loaded is None:
            raise timed_out(self._origin.name)
        return loaded.lookup

    async def _load_or_tell(self, key: str, ends: Deadline, call: Call) -> Loaded:
        loaded = await self._load(key, ends, call)
        return loaded or Loaded(LoadOutcome.WAIT, left_ms=self._policy.hard_timeout_ms)

    async def _load(self, key: str, ends: Deadline, call: Call, ticket: Ticket | None = None) -> Loaded | None:
        """Return what there is once it is loaded, None after the wait; raises as the origin does."""
        if self._policy.fail_safe_for_ms and self._flights.rests(key):
            kept = await self._kept(key, "fail_safe", call)
            if kept is not None:
                return kept
        patient = not self._policy.fail_safe_for_ms
        soft_ms = self._policy.soft_timeout_ms
        until = min(ends, after(soft_ms / 1_000)) if soft_ms else ends
        counted = False
        while True:
            flight, _ = ticket = ticket or self._flights.begin(key)
            landing = await self._flights.wait(flight, max(0.0, remaining(until)))
            if flight.slow and not counted:
                counted = True
                self._waits.value += 1
            if landing is None:
                if patient:
                    return None
                kept = await self._kept(key, "soft_timeout", call)
                if kept is not None:
                    return kept
                patient, until = True, ends
                continue
            loaded = await self._landed(key, landing, ticket, call)
            if loaded is not None:
                return loaded
            ticket = None

    async def _landed(self, key: str, landing: Landing | SidecarError, ticket: Ticket, call: Call) -> Loaded | None:
        """Return what a flight has brought that is young enough, or what is there; None where there is nothing."""
        if isinstance(landing, SidecarError):
            kept = await self._kept(key, "fail_safe", call) if self._policy.fail_safe_for_ms else None
            if kept is None:
                raise again(landing)
            return kept
        if ticket.is_for(landing):
            return _told(landing.lookup, landing.left_ms)
        lookup = await self._entries.look(key, call)
        return None if lookup.outcome is Outcome.MISS else _told(lookup)

    async def _kept(self, key: str, why: str, call: Call) -> Loaded | None:
        """Return what may be served in place of what cannot be loaded, if there is such a thing."""
        lookup = await self._entries.look(key, call, kept=True)
        if lookup.outcome is Outcome.MISS:
            return None
        if lookup.outcome is Outcome.STALE:
            self._stale[why].value += 1
        return _told(lookup)

    # --- writing, which is as in any cache ---

    async def set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Written:
        """Write one entry."""
        return await self._entries.set(key, value, options, call)

    async def plan_set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `set`."""
        return await self._entries.plan_set(key, value, options, call)

    async def delete(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Remove one entry."""
        return await self._entries.delete(key, options, call)

    async def plan_delete(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `delete`."""
        return await self._entries.plan_delete(key, options, call)

    async def touch(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Give an entry a new TTL."""
        return await self._entries.touch(key, options, call)

    async def plan_touch(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `touch`."""
        return await self._entries.plan_touch(key, options, call)

    async def increment(self, key: str, delta: int, initial: int, options: WriteOptions, call: Call) -> Counted:
        """Add to a counter."""
        return await self._entries.increment(key, delta, initial, options, call)

    async def plan_increment(
        self, key: str, delta: int, initial: int, options: WriteOptions, call: Call
    ) -> Plan[Counted]:
        """Return the plan of `increment`."""
        return await self._entries.plan_increment(key, delta, initial, options, call)

    async def set_many(self, values: Sequence[NewValue], call: Call) -> list[Written | SidecarError]:
        """Write several entries."""
        return await self._entries.set_many(values, call)

    async def delete_many(self, keys: Sequence[str], options: WriteOptions, call: Call) -> list[Written | SidecarError]:
        """Remove several entries."""
        return await self._entries.delete_many(keys, options, call)


def _told(lookup: Lookup, left_ms: int = 0) -> Loaded:
    if lookup.outcome is Outcome.MISS:
        return Loaded(LoadOutcome.ABSENT, MISS, left_ms=left_ms)
    return Loaded(LoadOutcome.HIT if lookup.outcome is Outcome.HIT else LoadOutcome.STALE, lookup)


async def _all(works: Sequence[Any]) -> list[Any]:
    """Return what each comes to, side by side; what fails with a `SidecarError` is in its place."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, SidecarError):
            raise result
    return results
