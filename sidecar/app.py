"""The one place where concrete classes meet: it makes a sidecar of its settings, starts it and stops it.

Nothing here decides anything about a call; what is served, and the order of the interceptors, is in `services.py`.

What only some settings ask for is imported in the method that makes it, and there alone: a sidecar without it has none
of its modules in memory.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.internal import api_implementation

from sidecar.caching import Caching
from sidecar.clock import StoreClock, after
from sidecar.crypto.kek import KeyEncryptionKeys, create_development_file, load_environment, load_file
from sidecar.errors import StartupError
from sidecar.interceptors.admission import AdmissionPolicy
from sidecar.interceptors.shedding import Admission
from sidecar.rate_limits import RateLimits
from sidecar.rpc.health import HealthServicer
from sidecar.server.engine import Listener
from sidecar.server.fast_engine import FastEngine
from sidecar.services import method_table, names_of, served_methods
from sidecar.store.embedded import EmbeddedValkey
from sidecar.store.keys import KeySpace
from sidecar.store.pool import Pool, PoolCounters
from sidecar.store.probe import StoreProbe
from sidecar.store.standalone import StandaloneStore
from sidecar.store.traced import TracedStore
from sidecar.telemetry.log import log_loop_error
from sidecar.telemetry.loop_lag import LoopLag
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.page import Page
from sidecar.telemetry.prometheus import one_process
from sidecar.telemetry.reloads import ReloadCounter
from sidecar.telemetry.snapshot import Gathered, take
from sidecar.telemetry.tracing import Tracing
from sidecar.translate import (
    development_key,
    embedded_policy,
    engine_policy,
    pool_policy,
    seals,
    store_address,
    tracking_interval,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sidecar.cache.catalog import NearStore
    from sidecar.call import MethodTable
    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.envoy_front import EnvoyFront
    from sidecar.server.engine import Engine, EnginePolicy
    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Store
    from sidecar.store.embedded import RunningValkey
    from sidecar.telemetry.reloads import ReloadOutcome
    from sidecar.telemetry.snapshot import FamilySnapshot

_log = logging.getLogger("sidecar")

# A young object that survives 10,000 allocations is no part of a call; the default of 700 would scan several times
# per call.
_GC_YOUNG = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """What a worker finds in place, and leaves to its supervisor: it makes none of this itself, and no metrics page."""

    listeners: Sequence[Listener]
    embedded: RunningValkey | None
    """The embedded store; None where the settings name another."""
    envoy_files: tuple[EnvoyFile, ...] | None = None
    """What the files of Envoy's limits held when they were last taken in; None where there are none."""
    listens: bool = True
    """Whether this one of the workers listens to events."""
    gather: Callable[[], Awaitable[Gathered | None]] | None = None
    """What asks what all workers have counted; it returns None if that is not known."""


class App:
    """A sidecar, or one of its workers: made of settings, started once, stopped once."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], berth: Berth | None = None) -> None:
        self._settings = settings
        self._environ = environ
        self._berth = berth
        self._stack = AsyncExitStack()
        self._since_us = time.time_ns() // 1000
        self._metrics = Metrics()
        self._clock = StoreClock()
        self._admission = Admission(AdmissionPolicy(most=settings.limits.max_concurrent_calls))
        self._reloads = ReloadCounter(self._metrics) if berth is None else None
        self._rate_limits: RateLimits | None = None
        self._caching: Caching | None = None
        self._pool_counters: PoolCounters | None = None
        self._envoy: EnvoyFront | None = None
        self._health: HealthServicer | None = None
        self._engines: list[Engine] = []
        self.warnings: list[str] = []
        """What is not safe for production, a sentence each; complete once started."""
        self.store_name = ""
        self.addresses: tuple[str, ...] = ()
        """Where calls are taken, once started, with the port that was found for a port 0."""
        self.metrics_address: str | None = None
        """Where the metrics page is, once started."""
        self.worker_ids: list[int] = []
        """The processes that take calls in its stead; there are none."""

    async def start(self) -> None:
        """Bring everything up; raises `StartupError`, with all that was started stopped again."""
        asyncio.get_running_loop().set_exception_handler(log_loop_error)
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Say NOT_SERVING, let the calls under way end, stop everything in reverse order."""
        if self._health is not None:
            await self._health.stop()
        if self._caching is not None:
            self._caching.watches.stop()
        grace = self._settings.shutdown_grace.seconds
        deadline = after(grace)
        await asyncio.gather(*(engine.stop(grace) for engine in self._engines))
        if self._caching is not None:
            # What the last calls wrote, too, is to reach its origins.
            await self._caching.drain(deadline)
        await self._stack.aclose()

    async def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Have these rate limits, and Envoy's as these files say, in force from now on, once started."""
        if self._envoy is not None and envoy_files is not None:
            await self._envoy.reload(settings, envoy_files)
        if self._rate_limits is not None and settings != self._settings:
            self._rate_limits.reload(settings)
        self._settings = settings

    def count_reload(self, outcome: ReloadOutcome) -> None:
        """Count an attempt to reload the configuration; a worker leaves that to its supervisor."""
        if self._reloads is not None:
            self._reloads.count(outcome)

    @property
    def envoy_files(self) -> tuple[EnvoyFile, ...] | None:
        """What the files of Envoy's limits held that are in force, once started; None where there are none."""
        return None if self._envoy is None else self._envoy.files

    @property
    def serving(self) -> bool:
        """Whether calls can be served now."""
        return self._health is not None and self._health.serving

    def on_serving(self, listener: Callable[[bool], None]) -> None:
        """Have `listener` called whenever `serving` may have changed, once started."""
        if self._health is not None:
            self._health.on_change(listener)

    def snapshot(self) -> tuple[FamilySnapshot, ...]:
        """Return all metrics as they are now."""
        return take(self._metrics)

    async def gather(self) -> Gathered:
        """Return what the whole sidecar has counted; what this process has, if nobody says what its siblings have."""
        alone = self._berth is None or self._berth.gather is None
        told = None if self._berth is None or self._berth.gather is None else await self._berth.gather()
        if told is not None:
            return told
        return Gathered(families=self.snapshot(), since_us=self._since_us, processes=1, workers=int(alone))

    async def _start(self) -> None:
        settings = self._settings
        if api_implementation.Type() == "python":
            raise StartupError("protobuf runs on its slow pure Python implementation; install a binary wheel of it")
        keks = self._load_keks()
        tracing = Tracing(
            service_name=settings.telemetry.traces.service_name,
            sample_ratio=settings.telemetry.traces.sample_ratio,
            otlp_endpoint=settings.telemetry.traces.otlp_endpoint,
        )
        self._stack.callback(tracing.shutdown)
        address = await self._store_address()
        store = self._connect(address, tracing)
        envoy = self._envoy = self._envoy_front(store)
        self._health = HealthServicer(names_of(settings, envoy))
        probe = StoreProbe(store, self._clock, interval=settings.store.probe_interval.seconds)
        probe.on_change(self._health.set_serving)
        await probe.start()
        self._stack.push_async_callback(probe.stop)
        rate_limits = self._rate_limits = RateLimits(
            settings, store=store, keys=KeySpace(settings.tenant), clock=self._clock, metrics=self._metrics
        )
        caching = self._caching = Caching(
            settings,
            address=address,
            store=store,
            keys=KeySpace(settings.tenant),
            clock=self._clock,
            keks=keks,
            metrics=self._metrics,
            pause=self._admission.pause,
            near=self._near_store(address, tracing),
            open_pool=lambda reply_timeout: self._open_pool(address, connections=1, reply_timeout=reply_timeout),
            environ=self._environ,
        )
        self.warnings.extend(caching.warnings)
        methods = served_methods(
            settings,
            store=store,
            caching=caching,
            rate_limits=rate_limits,
            health=self._health,
            envoy=envoy,
            admission=self._admission,
            gather=self.gather,
        )
        table = method_table(
            methods, limits=settings.limits, admission=self._admission, metrics=self._metrics, tracing=tracing
        )
        await rate_limits.start(probe, self._stack)
        self.warnings.extend(await caching.start(self._stack))
        await self._start_eventing(caching, address)
        if self._berth is None or self._berth.listens:
            # Not before: what was loaded until then, a gap in the events would put out of date.
            caching.warm_start.start()
        self._serve_metrics()
        await self._start_engines(table)
        lag = LoopLag(self._metrics)
        lag.start()
        self._stack.push_async_callback(lag.stop)
        # What start-up made stays for good: no collection need look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_YOUNG)

    # --- engines ---

    async def _start_engines(self, table: MethodTable) -> None:
        """Serve each listener on its engine; one engine has all of its listeners."""
        policy = engine_policy(self._settings.limits)
        listeners = self._listeners()
        chosen = [item.chosen_engine for item in self._settings.listen]
        served: dict[int, str] = {}
        for name in dict.fromkeys(chosen):
            places = [place for place, engine_name in enumerate(chosen) if engine_name == name]
            engine = _engine_named(name)(table, [listeners[place] for place in places], policy)
            await engine.start()
            self._engines.append(engine)
            self._stack.push_async_callback(engine.stop, 0.0)
            served |= zip(places, engine.addresses, strict=True)
        self.addresses = tuple(served[place] for place in range(len(listeners)))

    def _listeners(self) -> Sequence[Listener]:
        """Return one listener for each address of the settings, in their order."""
        if self._berth is not None:
            return self._berth.listeners
        return [Listener(address=listener.address) for listener in self._settings.listen]

    # --- the store ---

    async def _store_address(self) -> StoreAddress:
        settings = self._settings.store
        if settings.url is not None:
            address = store_address(settings, self._environ)
            self.store_name = str(address)
            if not address.path and address.tls is None:
                self.warnings.append("the connection to the store is not encrypted; use rediss://")
            if not address.password:
                self.warnings.append("the store is used without a password")
            return address
        policy = embedded_policy(self._settings, self._environ)
        running = self._berth.embedded if self._berth is not None else None
        if running is None:
            embedded = EmbeddedValkey(policy)
            running = await embedded.start()
            self._stack.push_async_callback(embedded.stop)
        self.store_name = f"embedded Valkey (process {running.process_id}) in {policy.directory}"
        self.warnings.append("the store is embedded: one server, on this machine alone; set store.url")
        return running.address

    def _open_pool(self, address: StoreAddress, **changes: Any) -> Pool:
        """Return connections to the store, as the settings have them but for `changes`."""
        if self._pool_counters is None:
            self._pool_counters = PoolCounters(self._metrics)
        policy = pool_policy(self._settings.store, busy_wait=self._settings.limits.busy_wait)
        pool = Pool(address, replace(policy, **changes), self._pool_counters)
        pool.start()
        self._stack.push_async_callback(pool.close)
        return pool

    def _connect(self, address: StoreAddress, tracing: Tracing) -> Store:
        pool = self._open_pool(address)
        self._metrics.gauge(
            "sidecar_store_connections",
            "Connections to the store that are ready.",
            lambda: {(): pool.ready_connections},
        )
        self._metrics.gauge(
            "sidecar_store_in_flight", "Requests that wait for the store.", lambda: {(): pool.in_flight}
        )
        return TracedStore(StandaloneStore(pool), tracing, address)

    async def _start_eventing(self, caching: Caching, address: StoreAddress) -> None:
        """Listen to events, in one of a sidecar's processes."""
        if not self._settings.events or (self._berth is not None and not self._berth.listens):
            return
        # A sidecar without it has no use for the modules.
        from sidecar.eventing import Eventing  # noqa: PLC0415

        eventing = Eventing(
            self._settings,
            self._environ,
            address=address,
            clock=self._clock,
            caches=caching.caches,
            metrics=self._metrics,
        )
        self.warnings.extend(eventing.warnings)
        await eventing.start(self._stack)

    def _near_store(self, address: StoreAddress, tracing: Tracing) -> NearStore | None:
        """Return what the near caches need; None where no cache has one."""
        interval = tracking_interval(self._settings)
        if interval is None:
            return None
        # A sidecar without near caches has neither the modules nor the connection.
        from sidecar.cache.catalog import NearStore  # noqa: PLC0415
        from sidecar.store.tracking import Tracking  # noqa: PLC0415

        policy = pool_policy(self._settings.store, busy_wait=self._settings.limits.busy_wait)
        tracking = Tracking(address, policy, interval=interval)
        tracking.start()
        self._stack.push_async_callback(tracking.close)
        tracked = TracedStore(StandaloneStore(tracking), tracing, address)
        return NearStore(tracking, tracked, self._settings.l1.max_bytes)

    # --- services ---

    def _envoy_front(self, store: Store) -> EnvoyFront | None:
        """Return Envoy's front end; None where it is not served."""
        settings = self._settings
        if settings.envoy.config_dir is None:
            return None
        # A sidecar without it has neither the modules nor the messages in memory.
        from sidecar.envoy_front import EnvoyFront  # noqa: PLC0415

        front = EnvoyFront(
            settings,
            None if self._berth is None else self._berth.envoy_files,
            store=store,
            keys=KeySpace(settings.tenant),
            clock=self._clock,
            metrics=self._metrics,
        )
        self.warnings.extend(front.warnings)
        return front

    def _serve_metrics(self) -> None:
        address = self._settings.telemetry.metrics.address
        if address is not None and self._berth is None:
            page = Page(address, one_process(self._metrics), is_serving=lambda: self.serving)
            page.start()
            self.metrics_address = page.address
            self._stack.callback(page.close)

    # --- keys ---

    def _load_keks(self) -> KeyEncryptionKeys | None:
        """Return the key-encryption keys, a development key if none is configured, None where nothing is sealed."""
        settings = self._settings
        if not seals(settings):
            return None
        path = development_key(settings, self._environ)
        if path is not None:
            create_development_file(path)
            self.warnings.append(f"PHI is sealed with a development key in {path}; set encryption.keys")
            return KeyEncryptionKeys([load_file(path).kek])
        loaded = [
            load_environment(source.env, self._environ)
            if source.env is not None
            else load_file(Path(source.file or ""))
            for source in settings.encryption.keys
        ]
        self.warnings.extend(problem for key in loaded for problem in key.problems)
        return KeyEncryptionKeys([key.kek for key in loaded])


def _engine_named(name: str) -> Callable[[MethodTable, Sequence[Listener], EnginePolicy], Engine]:
    if name == "fast":
        return FastEngine
    # grpcio takes 20 MB of memory, which a sidecar on the fast engine has no use for.
    from sidecar.server.grpcio_engine import GrpcioEngine  # noqa: PLC0415

    return GrpcioEngine
