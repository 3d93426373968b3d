"""All that caches in a sidecar, made of its settings: the caches, and what seals their entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.cache.bounding import Bounding
from sidecar.cache.catalog import build_caches
from sidecar.cache.policy import DataClass
from sidecar.cache.warm_start import WarmStart
from sidecar.cache.watches import Watches
from sidecar.crypto.keyring import KeyRing, KeyRingPolicy
from sidecar.crypto.sealing import CryptoCounters, FieldSealer
from sidecar.store.subscription import Subscription
from sidecar.translate import cache_policy, memory_bounds, request_limits, subscription_policy, warm_policies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AsyncExitStack

    from sidecar.cache.catalog import NearStore
    from sidecar.cache.policy import CachePolicy
    from sidecar.cache.through import Pause
    from sidecar.clock import StoreClock
    from sidecar.config.model import Settings
    from sidecar.crypto.kek import KeyEncryptionKeys
    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics


class Caching:
    """The caches of a sidecar."""

    def __init__(
        self,
        settings: Settings,
        *,
        address: StoreAddress,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        keks: KeyEncryptionKeys | None,
        metrics: Metrics,
        pause: Pause,
        near: NearStore | None = None,
    ) -> None:
        self._grace_seconds = settings.shutdown_grace.seconds
        ring = None
        if keks is not None:
            ring = KeyRing(
                store=store,
                keys=keys,
                tenant=settings.tenant,
                keks=keks,
                clock=clock,
                policy=KeyRingPolicy(epoch_seconds=max(1, settings.encryption.key_epoch.ms // 1000)),
            )
        counters = CryptoCounters(metrics)

        def sealer_for(policy: CachePolicy) -> FieldSealer | None:
            if ring is None or policy.data_class is not DataClass.PHI:
                return None
            life_ms = policy.max_ttl_ms + policy.kept_ms
            return FieldSealer(ring=ring, cache=policy.name, max_life_ms=life_ms, counters=counters)

        policies = [cache_policy(name, cache) for name, cache in settings.caches.items()]
        self.caches = build_caches(
            policies,
            limits=request_limits(settings.limits),
            store=store,
            keys=keys,
            clock=clock,
            sealer_for=sealer_for,
            metrics=metrics,
            pause=pause,
            near=near,
        )

        subscribing = subscription_policy(settings.store)

        def subscribe(
            name: str,
            prefixes: Sequence[bytes],
            *,
            on_push: Callable[[list[Any]], None],
            on_up: Callable[[], None],
            on_down: Callable[[], None],
            on_beat: Callable[[int], None],
        ) -> Subscription:
            words = [word for prefix in prefixes for word in ("PREFIX", prefix)]
            return Subscription(
                address,
                subscribing,
                name=f"to the changes of cache {name!r}",
                set_up=[("CLIENT", "TRACKING", "ON", "BCAST", *words)],
                on_push=on_push,
                on_up=on_up,
                on_down=on_down,
                on_beat=on_beat,
            )

        self.watches = Watches(
            policies,
            limits=request_limits(settings.limits),
            subscribe=subscribe,
            store=store,
            keys=keys,
            clock=clock,
            metrics=metrics,
        )
        self.warm_start = WarmStart(
            warm_policies(settings), caches=self.caches, store=store, keys=keys, metrics=metrics
        )
        self._bounding = Bounding(memory_bounds(settings), store=store, keys=keys, metrics=metrics)

    async def start(self, stack: AsyncExitStack) -> None:
        """Begin what goes on in the background; `stack` ends it."""
        stack.push_async_callback(self.watches.close)
        stack.push_async_callback(self.caches.drain, self._grace_seconds)
        self.warm_start.start()
        stack.push_async_callback(self.warm_start.stop)
        self._bounding.start()
        stack.push_async_callback(self._bounding.stop)
