"""All that limits rates in a sidecar, made of its settings: the limiter, and what keeps it right beside the calls.

That is the book of overrides, the heartbeats that say how large a local share is, the charging of local shares once the
store is back, the memory of refusals, what is borrowed, and what is seen and told of whom the limits refuse. They
begin, change and end together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.ratelimit.heartbeats import Heartbeats
from sidecar.ratelimit.lease_book import LeaseBook
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.observations import Observations
from sidecar.ratelimit.override_book import OverrideBook
from sidecar.ratelimit.reconcile import Reconciler
from sidecar.ratelimit.refusals import Refusals
from sidecar.ratelimit.reporter import Reporter
from sidecar.ratelimit.stand_in import StandIns
from sidecar.translate_limits import (
    failure_modes,
    lease_policies,
    personal_limits,
    rate_limit_policy,
    rate_limit_rules,
    remembered_refusals,
)

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from sidecar.clock import StoreClock
    from sidecar.config.model import Settings
    from sidecar.ratelimit.policy_book import AnyPolicy
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.store.probe import StoreProbe
    from sidecar.telemetry.metrics import Metrics


class RateLimits:
    """The rate limits of a sidecar."""

    def __init__(
        self, settings: Settings, *, store: Store, keys: KeySpace, clock: StoreClock, metrics: Metrics
    ) -> None:
        self._heartbeats = Heartbeats(store=store, keys=keys)
        self._stand_ins = StandIns(
            clock=clock, metrics=metrics, modes=failure_modes(settings), live=self._heartbeats.live
        )
        self._leases = LeaseBook(
            store=store,
            clock=clock,
            metrics=metrics,
            policies=lease_policies(settings),
            live=self._heartbeats.live,
        )
        self._count_the_living()
        self._reconciler = Reconciler(store=store, states=self._stand_ins.states, metrics=metrics)
        self._refusals = Refusals(clock=clock, metrics=metrics, names=remembered_refusals(settings))
        self._observations = Observations(
            keys=keys, clock=clock, metrics=metrics, personal=personal_limits(settings)
        )  # fmt: skip
        self.limiter = RateLimiter(
            store=store,
            keys=keys,
            clock=clock,
            metrics=metrics,
            policies=_policies(settings),
            rules=rate_limit_rules(settings),
            max_key_bytes=settings.limits.max_key_bytes,
            stand_ins=self._stand_ins,
            refusals=self._refusals,
            leases=self._leases,
            observations=self._observations,
        )
        self.reporter = Reporter(
            store=store, keys=keys, clock=clock, tenant=settings.tenant, observations=self._observations
        )
        self.overrides = OverrideBook(store, keys, self.limiter.policies.override)

    async def start(self, probe: StoreProbe, stack: AsyncExitStack) -> None:
        """Begin what goes on in the background; `stack` ends it, and `probe` says whether the store serves."""
        await self.overrides.start()
        stack.push_async_callback(self.overrides.stop)
        # What a limit does without the store must be known before, and is made good after.
        await self._heartbeats.start()
        stack.push_async_callback(self._heartbeats.stop)
        probe.on_change(self._reconciler.on_serving)
        self._reconciler.on_serving(probe.serving)
        self._reconciler.start()
        stack.push_async_callback(self._reconciler.stop)
        stack.push_async_callback(self._leases.close)
        self.reporter.start()
        stack.push_async_callback(self.reporter.stop)

    def reload(self, settings: Settings) -> None:
        """Have these limits in force from the next call on."""
        self._stand_ins.replace(failure_modes(settings))
        self._refusals.replace(remembered_refusals(settings))
        self._leases.replace(lease_policies(settings))
        self._count_the_living()
        self._observations.replace(personal_limits(settings))
        self.limiter.policies.replace(_policies(settings), rate_limit_rules(settings))

    def _count_the_living(self) -> None:
        """Have the live sidecars counted where anybody has to know how many there are."""
        self._heartbeats.want(wanted=self._stand_ins.shares or self._leases.lends)


def _policies(settings: Settings) -> list[AnyPolicy]:
    return [rate_limit_policy(name, limit) for name, limit in settings.rate_limits.items()]
