"""All that caches in a sidecar, made of its settings: the caches, what seals their entries, and their origins."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sidecar.cache.bounding import Bounding
from sidecar.cache.catalog import build_caches
from sidecar.cache.hot_sets import HotSets
from sidecar.cache.policy import DataClass
from sidecar.cache.warm_list import WarmList
from sidecar.cache.warm_start import WarmStart
from sidecar.cache.watches import Watches
from sidecar.cache.write_behind.policy import Durability, Safety
from sidecar.call import Call
from sidecar.clock import after
from sidecar.crypto.keyring import KeyRing, KeyRingPolicy
from sidecar.crypto.sealing import CryptoCounters, FieldSealer
from sidecar.errors import StartupError
from sidecar.store.confirmed import ConfirmedWrites, ConfirmingStore, on_disk, on_replicas
from sidecar.store.subscription import Subscription
from sidecar.translate import request_limits, subscription_policy
from sidecar.translate_caches import cache_policy, hot_sources, memory_bounds, warm_policies
from sidecar.translate_origins import origin_warnings, origins_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AsyncExitStack

    from sidecar.cache.catalog import NearStore
    from sidecar.cache.origin import Origin
    from sidecar.cache.policy import CachePolicy
    from sidecar.cache.through import Pause
    from sidecar.cache.write_behind.caches import WriteBehind
    from sidecar.clock import Deadline, StoreClock
    from sidecar.config.model import Settings
    from sidecar.crypto.kek import KeyEncryptionKeys
    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.store.pool import Pool
    from sidecar.telemetry.metrics import Metrics

_log = logging.getLogger("sidecar.origins")

# For one question to the store while the sidecar starts.
_CHECK_SECONDS = 2.0
# A connection that waits for a confirmation hears nothing meanwhile.
_BESIDE_WAIT_SECONDS = 2.0


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
        environ: Mapping[str, str],
        open_pool: Callable[[float], Pool],
        near: NearStore | None = None,
    ) -> None:
        self._store = store
        self._grace_seconds = settings.shutdown_grace.seconds
        self._origins = origins_of(settings, environ, metrics)
        self.origins: Mapping[str, Origin] = self._origins.of_caches
        """Where the values of caches are at home, by the cache's name."""
        self.warnings = origin_warnings(settings, environ)
        """What is not safe for production, a sentence each."""
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
            if policy.behind is not None:
                life_ms = max(life_ms, policy.behind.change_life_ms)
            return FieldSealer(ring=ring, cache=policy.name, max_life_ms=life_ms, counters=counters)

        limits = self.limits = request_limits(settings.limits)
        """The bounds of requests."""
        policies = [cache_policy(name, cache) for name, cache in settings.caches.items()]
        self.write_behind: WriteBehind | None = None
        """What write-behind caches have beside their entries; None where there is none."""
        if any(policy.behind is not None for policy in policies):
            # As for all that is heavy: a sidecar without such a cache has none of it in memory.
            from sidecar.cache.write_behind.caches import WriteBehind  # noqa: PLC0415

            self.write_behind = WriteBehind(
                policies,
                origins=self.origins,
                limits=limits,
                store=store,
                keys=keys,
                clock=clock,
                sealer_for=sealer_for,
                metrics=metrics,
            )
        self._confirmed = {
            policy.name: _confirmed(policy.behind.durability, open_pool)
            for policy in policies
            if policy.behind is not None and policy.behind.durability.waits
        }
        self.caches = build_caches(
            policies,
            limits=limits,
            store=store,
            keys=keys,
            clock=clock,
            sealer_for=sealer_for,
            metrics=metrics,
            origins=self.origins,
            pause=pause,
            near=near,
            confirming={name: ConfirmingStore(store, writes) for name, writes in self._confirmed.items()},
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
            limits=limits,
            subscribe=subscribe,
            store=store,
            keys=keys,
            clock=clock,
            metrics=metrics,
        )
        self.warm_list = WarmList(
            warm_policies(settings),
            queries=self._origins.key_queries,
            hot_sets=HotSets(hot_sources(settings), caches=self.caches, store=store, keys=keys),
        )
        """Which keys caches are warmed with."""
        self.warm_start = WarmStart(self.warm_list, caches=self.caches, store=store, keys=keys, metrics=metrics)
        """What warms caches at the start; to be started once what was missed before has been invalidated."""
        self._bounding = Bounding(memory_bounds(settings), store=store, keys=keys, metrics=metrics)

    async def start(self, stack: AsyncExitStack) -> Sequence[str]:
        """Begin what goes on in the background, which `stack` ends; return what is not safe, a sentence each.

        Raises `StartupError` if the store cannot confirm what it is to, and for statements that a database does not
        take. A database that cannot be reached is asked when it is first used.
        """
        stack.push_async_callback(self._origins.close)
        found = await self._origins.check()
        if found.problems:
            raise StartupError("\n".join(found.problems))
        for why in found.unreachable.values():
            _log.warning("%s; its statements are looked at when it is first used", why)
        stack.push_async_callback(self.watches.close)
        stack.push_async_callback(self.caches.drain, self._grace_seconds)
        stack.push_async_callback(self.warm_start.stop)
        self.warm_list.hot_sets.start()
        stack.push_async_callback(self.warm_list.hot_sets.stop)
        self._bounding.start()
        stack.push_async_callback(self._bounding.stop)
        for name, writes in self._confirmed.items():
            stack.push_async_callback(writes.close)
            problem = await writes.problem()
            if problem is not None:
                raise StartupError(f"caches.{name}.write_behind.durability: {problem}")
        if self.write_behind is None:
            return ()
        from sidecar.cache.write_behind.store_check import warnings_of  # noqa: PLC0415 (as above)

        self.write_behind.start()
        stack.push_async_callback(self.write_behind.stop)
        return await warnings_of(self._store, Call("write_behind.check", deadline=after(_CHECK_SECONDS)))

    async def drain(self, deadline: Deadline) -> None:
        """Have the origins get what waits for them, as far as that can be by `deadline`."""
        if self.write_behind is not None:
            await self.write_behind.drain(deadline)


def _confirmed(durability: Durability, open_pool: Callable[[float], Pool]) -> ConfirmedWrites:
    pool = open_pool(durability.timeout_ms / 1_000 + _BESIDE_WAIT_SECONDS)
    if durability.safety is Safety.FSYNC:
        return ConfirmedWrites(pool, on_disk(durability.timeout_ms))
    return ConfirmedWrites(pool, on_replicas(durability.replicas, durability.timeout_ms))
