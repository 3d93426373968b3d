"""The configured caches, by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from sidecar.cache.records import RecordCache
from sidecar.cache.values import ValueCache
from sidecar.errors import InvalidArgumentError, Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.clock import StoreClock
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

# Characters. A name that is not configured may be of any length; of a longer one neither the error's metadata, which
# travel in a header, nor the search for the nearest name, which takes quadratic time, see more.
_MAX_NAME_ECHO = 64


class Caches:
    """Finds the cache that a request names."""

    def __init__(self, values: Mapping[str, ValueCache], records: Mapping[str, RecordCache]) -> None:
        self._values = values
        self._records = records

    def values(self, name: str) -> ValueCache:
        """Return the cache of values `name`; raises CACHE_UNKNOWN."""
        cache = self._values.get(name)
        if cache is None:
            raise self._unknown(name)
        return cache

    def records(self, name: str) -> RecordCache:
        """Return the cache of records `name`; raises CACHE_UNKNOWN, or UNSUPPORTED_BY_CACHE for a raw cache."""
        cache = self._records.get(name)
        if cache is not None:
            return cache
        if name in self._values:
            raise SidecarError(
                Reason.UNSUPPORTED_BY_CACHE, f"cache {name!r} has the format raw, which holds no records", field="cache"
            )
        raise self._unknown(name)

    def _unknown(self, name: str) -> InvalidArgumentError:
        name = name[:_MAX_NAME_ECHO]
        near = get_close_matches(name, self._values, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        metadata = {"cache": name, **({"nearest": near[0]} if near else {})}
        return InvalidArgumentError(
            Reason.CACHE_UNKNOWN, f"no cache of that name is configured{hint}", field="cache", metadata=metadata
        )


def build_caches(
    policies: Sequence[CachePolicy],
    *,
    limits: Limits,
    store: Store,
    keys: KeySpace,
    clock: StoreClock,
    sealer_for: Callable[[CachePolicy], FieldSealer | None],
    metrics: Metrics,
) -> Caches:
    """Make the caches of the configuration; `sealer_for` gives a PHI cache its sealer and others None."""
    reads = metrics.counter("sidecar_cache_reads", "Reads by cache and by what they found.", "cache", "outcome")
    values: dict[str, ValueCache] = {}
    records: dict[str, RecordCache] = {}
    for policy in policies:
        sealer = sealer_for(policy)
        values[policy.name] = ValueCache(
            policy=policy, limits=limits, store=store, keys=keys, clock=clock, sealer=sealer, reads=reads
        )
        if policy.raw_prefix is None:
            records[policy.name] = RecordCache(
                policy=policy, limits=limits, store=store, keys=keys, clock=clock, sealer=sealer, reads=reads
            )
    return Caches(values, records)
