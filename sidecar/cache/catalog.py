"""The configured caches, by name."""

from __future__ import annotations

import asyncio
import random
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.background import Background
from sidecar.cache.flights import Flights, LoadMetrics
from sidecar.cache.inspection import Inspection
from sidecar.cache.invalidation import Invalidation
from sidecar.cache.loads import Loads
from sidecar.cache.origin_writes import OriginWrites
from sidecar.cache.policy import Strategy
from sidecar.cache.records import RecordCache
from sidecar.cache.through import ReadThrough, Through
from sidecar.cache.values import ValueCache, native_format
from sidecar.cache.waits import Waits
from sidecar.cache.warming import Warming
from sidecar.cache.writing import WriteThrough
from sidecar.errors import InvalidArgumentError, Reason, SidecarError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sidecar.cache.origin import Origin
    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.cache.served import Loading, Values
    from sidecar.cache.through import Pause
    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.store.tracking import Tracking
    from sidecar.telemetry.metrics import Metrics

# So many caches are named to who asks for one that there is not.
_MOST_NAMES = 5


class NearStore(NamedTuple):
    """What the near caches of a process share."""

    tracking: Tracking
    tracked: Store
    """The store by the tracked connection."""
    max_bytes: int


class Caches:
    """Finds the cache that a request names."""

    def __init__(
        self,
        values: Mapping[str, Values],
        records: Mapping[str, RecordCache],
        loads: Mapping[str, Loading],
        invalidations: Mapping[str, Invalidation],
        through: Sequence[ReadThrough] = (),
        *,
        inspections: Mapping[str, Inspection],
    ) -> None:
        self._values = values
        self._records = records
        self._loads = loads
        self._invalidations = invalidations
        self._through = through
        self._inspections = inspections

    async def drain(self, seconds: float) -> None:
        """Let what is on its way from origins and to them end, within that time."""
        await asyncio.gather(*(cache.drain(seconds) for cache in self._through))

    def values(self, name: str) -> Values:
        """Return the cache of values `name`; raises CACHE_UNKNOWN."""
        cache = self._values.get(name)
        if cache is None:
            raise self._unknown(name)
        return cache

    def records(self, name: str) -> RecordCache:
        """Return the cache of records `name`; raises CACHE_UNKNOWN, or UNSUPPORTED_BY_CACHE where there are none."""
        cache = self._records.get(name)
        if cache is None:
            if name in self._loads:
                raise SidecarError(
                    Reason.UNSUPPORTED_BY_CACHE,
                    f"cache {name!r} has tags, generations or an origin, and holds no records",
                    field="cache",
                )
            raise self._raw_or_unknown(name, "holds no records")
        return cache

    def loads(self, name: str) -> Loading:
        """Return what loads the values of cache `name`; raises CACHE_UNKNOWN, or UNSUPPORTED_BY_CACHE for a raw one."""
        loads = self._loads.get(name)
        if loads is None:
            raise self._raw_or_unknown(name, "does not know who loads an entry")
        return loads

    def invalidation(self, name: str) -> Invalidation:
        """Return what invalidates entries of cache `name`; raises as `loads` does."""
        invalidation = self._invalidations.get(name)
        if invalidation is None:
            raise self._raw_or_unknown(name, "is written by others too: delete its entries by their keys")
        return invalidation

    def inspection(self, name: str) -> Inspection:
        """Return what looks at the entries of cache `name`; raises CACHE_UNKNOWN."""
        inspection = self._inspections.get(name)
        if inspection is None:
            raise self._unknown(name)
        return inspection

    def warming(self, name: str) -> Warming:
        """Return what warms cache `name`; raises CACHE_UNKNOWN."""
        inspection = self.inspection(name)
        return Warming(inspection.policy, inspection.limits, self.values(name))

    def policies(self, name: str = "") -> list[CachePolicy]:
        """Return the policy of cache `name`, or all if it is empty; raises CACHE_UNKNOWN."""
        if name:
            return [self.inspection(name).policy]
        return [inspection.policy for inspection in self._inspections.values()]

    def _raw_or_unknown(self, name: str, what_raw_lacks: str) -> SidecarError:
        if name not in self._values:
            return self._unknown(name)
        return SidecarError(
            Reason.UNSUPPORTED_BY_CACHE, f"cache {name!r} has the format raw, which {what_raw_lacks}", field="cache"
        )

    def _unknown(self, name: str) -> InvalidArgumentError:
        metadata = unknown_name("cache", name, self._values)
        if "nearest" in metadata:
            hint = f"; did you mean {metadata['nearest']!r}?"
        else:
            others = ", ..." if len(self._values) > _MOST_NAMES else ""
            hint = f"; there are {', '.join(list(self._values)[:_MOST_NAMES])}{others}"
        return InvalidArgumentError(
            Reason.CACHE_UNKNOWN, f"no cache of that name is configured{hint}", field="cache", metadata=metadata
        )


def _no_pause(_call: Call) -> AbstractContextManager[None]:
    return nullcontext()


def build_caches(
    policies: Sequence[CachePolicy],
    *,
    limits: Limits,
    store: Store,
    keys: KeySpace,
    clock: StoreClock,
    sealer_for: Callable[[CachePolicy], FieldSealer | None],
    metrics: Metrics,
    origins: Mapping[str, Origin] | None = None,
    pause: Pause = _no_pause,
    near: NearStore | None = None,
    confirming: Mapping[str, Store] | None = None,
) -> Caches:
    """Make the caches of the configuration; `sealer_for` gives a PHI cache its sealer and others None.

    `origins` are those of the caches, by the caches' names; each whose strategy asks one has one. A call waits for its
    origin within what `pause` returns. `near` is what the near caches need; None where no cache has one. `confirming`
    are the stores of the caches whose writes are to be confirmed.
    """
    reads = metrics.counter("sidecar_cache_reads", "Reads by cache and by what they found.", "cache", "outcome")
    loaded = metrics.counter(
        "sidecar_cache_loads", "What became of the loads of caches' entries, by cache and outcome", "cache", "outcome"
    )
    written = metrics.counter(
        "sidecar_cache_origin_writes",
        "What became of writes that went to origins, by cache and outcome.",
        "cache",
        "outcome",
    )
    make_values = ValueCache if near is None else _near_values(near, store, metrics)
    waits = Waits(store)
    values: dict[str, Values] = {}
    records: dict[str, RecordCache] = {}
    loads: dict[str, Loading] = {}
    invalidations: dict[str, Invalidation] = {}
    through: list[ReadThrough] = []
    inspections: dict[str, Inspection] = {}
    load_metrics = LoadMetrics(metrics)
    for policy in policies:
        bounds = _limits_of(policy, limits)
        sealer = sealer_for(policy)
        entries = values[policy.name] = (ValueCache if policy.near is None else make_values)(
            policy=policy,
            limits=bounds,
            store=(confirming or {}).get(policy.name, store),
            keys=keys,
            clock=clock,
            sealer=sealer,
            reads=reads,
        )
        native = native_format(policy, keys, bounds.max_unpacked_bytes)
        inspections[policy.name] = Inspection(policy, bounds, entries=entries, native=native, store=store, clock=clock)
        if policy.raw_prefix is not None:
            continue
        aside = policy.strategy is Strategy.CACHE_ASIDE
        if aside and not policy.dated:
            records[policy.name] = RecordCache(
                policy=policy, limits=bounds, store=store, keys=keys, clock=clock, sealer=sealer, reads=reads
            )
        # What is invalidated goes from the cache; no origin hears of it.
        invalidations[policy.name] = Invalidation(policy, bounds, entries, entries.dating)
        own_loads = loads[policy.name] = Loads(
            policy=policy,
            limits=bounds,
            store=store,
            values=entries,
            native=native,
            waits=waits,
            draw=random.random,
            loads=loaded,
        )
        if aside:
            continue
        origin = (origins or {})[policy.name]
        flights = Flights(
            policy=policy,
            origin=origin,
            entries=entries,
            loads=own_loads,
            waits=waits,
            metrics=load_metrics,
            most_keys=limits.max_batch_keys,
        )
        parts = Through(policy, bounds, origin, entries, flights, load_metrics, pause, random.random)
        cache = ReadThrough(parts)
        if policy.strategy is Strategy.WRITE_THROUGH:
            background = Background(f"writes of {policy.name}")
            writes = OriginWrites(
                policy=policy,
                origin=origin,
                entries=entries,
                loads=own_loads,
                store=store,
                native=native,
                waits=waits,
                background=background,
                writes=written,
            )
            cache = WriteThrough(parts, own_loads, writes, background)
        values[policy.name] = loads[policy.name] = cache
        through.append(cache)
    return Caches(values, records, loads, invalidations, through, inspections=inspections)


def _limits_of(policy: CachePolicy, limits: Limits) -> Limits:
    """Return the bounds of a cache's requests."""
    if policy.max_value_bytes is None:
        return limits
    return replace(limits, max_value_bytes=min(policy.max_value_bytes, limits.max_value_bytes))


def _near_values(near: NearStore, store: Store, metrics: Metrics) -> Callable[..., ValueCache]:
    """Return what makes caches with copies in the process."""
    # A sidecar without them has not the modules in memory.
    from sidecar.cache.near.copies import Copies  # noqa: PLC0415
    from sidecar.cache.near.store_share import StoreShare  # noqa: PLC0415
    from sidecar.cache.near.uses import Uses  # noqa: PLC0415
    from sidecar.cache.near.values import NearCounters, NearValueCache  # noqa: PLC0415

    share = StoreShare(store)
    copies = Copies(max_bytes=near.max_bytes, tracking=near.tracking, share=share, metrics=metrics)
    counters = NearCounters(
        metrics.counter("sidecar_l1_hits", "Reads that a copy in the process has answered, by cache.", "cache"),
        metrics.counter("sidecar_l1_misses", "Reads for which there was no copy of use, by cache.", "cache"),
    )
    uses = Uses(copies.items, store=store, share=share, metrics=metrics)
    return partial(NearValueCache, copies=copies, uses=uses, tracked=near.tracked, counters=counters)
