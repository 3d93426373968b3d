"""Envoy's front end of a sidecar, made of its settings and of the files of Envoy's limits; both may change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.ratelimit.envoy.limiter import EnvoyLimiter
from sidecar.rpc.envoy import EnvoyServicer
from sidecar.rpc.envoy_messages import messages
from sidecar.translate_envoy import envoy_files, envoy_policy, envoy_rules

if TYPE_CHECKING:
    from sidecar.clock import StoreClock
    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics


class EnvoyFront:
    """Envoy's rate limit service over a store. What the files hold is read here, unless it is given.

    Raises `ConfigError` with every problem of the files.
    """

    def __init__(
        self,
        settings: Settings,
        files: tuple[EnvoyFile, ...] | None,
        *,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        metrics: Metrics,
    ) -> None:
        self._settings = settings.envoy
        self.files = files if files is not None else envoy_files(settings) or ()
        """What the files hold that are in force."""
        rules = envoy_rules(self.files, self._settings)
        self.warnings = rules.warnings
        """What they say without effect, a sentence each."""
        self._limiter = EnvoyLimiter(
            store=store, keys=keys, clock=clock, metrics=metrics, domains=rules.domains, policy=envoy_policy(settings)
        )
        self.service = messages().service
        self.servicer = EnvoyServicer(self._limiter)

    async def reload(self, settings: Settings, files: tuple[EnvoyFile, ...]) -> None:
        """Have these in force from the next call on, all at once; raises `ConfigError` if the files are not right.

        A large folder takes a second to read, which calls need not wait for.
        """
        if (settings.envoy, files) == (self._settings, self.files):
            return
        rules = await asyncio.to_thread(envoy_rules, files, settings.envoy)
        self._limiter.replace(rules.domains, envoy_policy(settings))
        self._settings, self.files = settings.envoy, files
