"""Caches with an origin over a real store, as several sidecars would have them, without the sidecars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.cache.catalog import Caches, build_caches
from sidecar.cache.policy import CachePolicy, Limits, Strategy
from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    from sidecar.cache.origin import Origin
    from sidecar.store.base import Store

CACHE = "c"


def a_call(seconds: float = 60.0) -> Call:
    """Return a call with that much time."""
    return Call("/test", deadline=after(seconds))


class Process:
    """The caches of one process, one of them the cache `c` of a policy, and what they count."""

    def __init__(
        self,
        store: Store,
        origin: Origin,
        strategy: Strategy = Strategy.READ_THROUGH,
        *,
        tenant: str = "test",
        **policy: Any,
    ) -> None:
        self.store = store
        self.metrics = Metrics()
        words = {"ttl_ms": 60_000, **policy}
        self.caches: Caches = build_caches(
            [CachePolicy(name=CACHE, strategy=strategy, **words)],
            limits=Limits(),
            store=store,
            keys=KeySpace(tenant),
            clock=StoreClock(),
            sealer_for=lambda _policy: None,
            metrics=self.metrics,
            origins={CACHE: origin},
        )
        self.cache = self.caches.values(CACHE)
        self.loads = self.caches.loads(CACHE)

    def count(self, name: str, *labels: str) -> int:
        """Return what a counter of the cache says."""
        family = self.metrics.families[name]
        assert isinstance(family, Counter)
        return family.cell(CACHE, *labels).value

    async def invalidate(self, *keys: str) -> None:
        """Invalidate keys."""
        await self.caches.invalidation(CACHE).by_keys(list(keys), a_call())
