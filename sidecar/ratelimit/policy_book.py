"""The policies in force: what is configured, with the overrides of single keys, made ready for the calls that come."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import Reason, SidecarError, unknown_name
from sidecar.ratelimit.description import described
from sidecar.ratelimit.exceptions import NO_RULES, Outcomes, Ruled, needed
from sidecar.ratelimit.limits import Overriding, ready
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.overrides import Effect, by_policy, overridden
from sidecar.ratelimit.slots import Slots, use_acquire, use_check
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
from sidecar.ratelimit.tiers import made_ready, tier_unknown
from sidecar.store.keys import check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.description import PolicyDescription
    from sidecar.ratelimit.exceptions import Exempted, Rules
    from sidecar.ratelimit.lease_book import LeaseBook
    from sidecar.ratelimit.limits import Limit
    from sidecar.ratelimit.observations import Observations
    from sidecar.ratelimit.overrides import Override
    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.ratelimit.refusals import Refusals
    from sidecar.ratelimit.stand_in import StandIns
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

    AnyPolicy = Policy | CombinedPolicy | ConcurrencyPolicy


class Found(NamedTuple):
    """What holds for a key."""

    limit: Limit
    """The policy's, an override's or a tier's."""
    state_key: bytes
    exempted: Exempted | None
    """What decides in the limit's place; None where the limit does."""


class PolicyBook:
    """The policies by their names; what has changed holds from the next call on."""

    def __init__(
        self,
        *,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        metrics: Metrics,
        max_key_bytes: int,
        stand_ins: StandIns | None,
        refusals: Refusals | None,
        leases: LeaseBook | None,
        observations: Observations,
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._max_key_bytes = max_key_bytes
        self._stand_ins = stand_ins
        self._refusals = refusals
        self._leases = leases
        self._observations = observations
        self._decisions = metrics.counter(
            "sidecar_ratelimit_decisions", "Checks of rate limits by policy and outcome", "policy", "outcome"
        )
        self._near_limit = metrics.counter(
            "sidecar_ratelimit_near_limit", "Checks that were allowed near the limit, by policy", "policy"
        )
        self._limits: dict[str, Limit] = {}
        self._slots: dict[str, Slots] = {}
        self._descriptions: dict[str, PolicyDescription] = {}
        self._policies: dict[str, AnyPolicy] = {}
        self._rules: Mapping[str, Rules] = {}
        self._overrides: Sequence[Override] = ()

    # --- changes ---

    def replace(self, policies: Iterable[AnyPolicy], rules: Mapping[str, Rules] | None = None) -> None:
        """Limit by these policies and rules from now on; what keys have used stays, as far as the models say."""
        self._policies = {policy.name: policy for policy in policies}
        self._rules = rules or {}
        self._observations.keep(self._policies)
        self._make_ready()

    def override(self, overrides: Sequence[Override]) -> None:
        """Have these overrides hold from now on, and no others."""
        changed = frozenset(self._overrides) ^ frozenset(overrides)
        self._overrides = overrides
        self._make_ready()
        # What a key has used may have changed under an override, or will.
        for override in changed:
            limit = self._limits.get(override.policy)
            if limit is not None and limit.refusals is not None:
                limit.refusals.drop(self._keys.limit(limit.letter, limit.name, override.key.encode()))
            if limit is not None and limit.leases is not None:
                limit.leases.drop_key(override.key)

    # --- what there is ---

    @property
    def overrides(self) -> list[tuple[Override, int]]:
        """The overrides that have not ended, by policy and key, and how long each still holds, in microseconds."""
        now_us = self._clock.micros()
        held = [(override, override.ends_us - now_us) for override in self._overrides if override.ends_us > now_us]
        return sorted(held, key=lambda one: (one[0].policy, one[0].key))

    def override_of(self, policy_name: str, key: str) -> tuple[Override, int] | None:
        """Return the override of a key that has not ended, and how long it still holds, in microseconds."""
        return next((one for one in self.overrides if (one[0].policy, one[0].key) == (policy_name, key)), None)

    def descriptions(self, policy_name: str = "") -> list[PolicyDescription]:
        """Return what a policy says, or for an empty name each, in the order of their names; raises POLICY_UNKNOWN."""
        if not policy_name:
            return [description for _, description in sorted(self._descriptions.items())]
        return [self.description(policy_name)]

    def description(self, policy_name: str) -> PolicyDescription:
        """Return what a policy says; raises POLICY_UNKNOWN."""
        description = self._descriptions.get(policy_name)
        if description is None:
            raise _unknown(policy_name, self._descriptions)
        return description

    # --- lookups ---

    def limit(self, policy_name: str) -> Limit:
        """Return a policy that a Check is made of; raises POLICY_UNKNOWN, or WRONG_ALGORITHM for one of slots."""
        limit = self._limits.get(policy_name)
        if limit is None:
            if policy_name in self._slots:
                raise use_acquire()
            raise _unknown(policy_name, {**self._limits, **self._slots})
        return limit

    def slots(self, policy_name: str) -> Slots:
        """Return the slots of a concurrency policy; raises POLICY_UNKNOWN, or WRONG_ALGORITHM for another policy."""
        slots = self._slots.get(policy_name)
        if slots is None:
            self.limit(policy_name)
            raise use_check()
        return slots

    def any_slots(self, policy_name: str) -> Slots | None:
        """Return the slots of a policy, if it is one of slots."""
        return self._slots.get(policy_name)

    def state_key(self, limit: Limit, key: str) -> bytes:
        """Return the key of a state in the store; raises KEY_EMPTY or KEY_TOO_LONG."""
        return self._keys.limit(limit.letter, limit.name, check_name(key, self._max_key_bytes))

    def find(self, policy_name: str, key: str, tier: str = "") -> Found:
        """Return what holds for a key of a policy; raises what `limit` and `ruling` do."""
        return self.ruling(self.limit(policy_name), key, tier)

    def ruling(self, limit: Limit, key: str, tier: str = "") -> Found:
        """Return what holds for a key of a limit, asked for by a tier; raises TIER_UNKNOWN, and what `state_key` does.

        An override comes first, then the policy's lists, then the tier, then the policy itself.
        """
        state_key = self.state_key(limit, key)
        tiered = None
        if tier:
            if limit.tiers is None:
                raise tier_unknown(tier)
            tiered = limit.tiers.find(tier)
        if limit.ruled is None:
            return Found(limit, state_key, None)
        held = None if limit.overriding is None else limit.overriding.find(key, self._clock)
        if held is not None:
            return Found(held[0], state_key, held[1])
        if tiered is None:
            return Found(limit, state_key, limit.ruled.exempted(key))
        listed = limit.ruled.listed(key)
        if listed is not None:
            return Found(limit, state_key, listed)
        return Found(tiered.limit, state_key, tiered.exempted)

    # --- checks of what a caller names ---

    def check_key(self, key: str) -> None:
        """Raise KEY_EMPTY or KEY_TOO_LONG for what no key can be."""
        check_name(key, self._max_key_bytes)

    def check_override(self, override: Override) -> None:
        """Raise SidecarError for an override that could have no effect.

        That is POLICY_UNKNOWN, WRONG_ALGORITHM, KEY_EMPTY, KEY_TOO_LONG or OVERRIDE_INVALID.
        """
        self.limit(override.policy)
        self.check_key(override.key)
        policy = self._policies[override.policy]
        if override.effect is Effect.NUMBERS and not isinstance(policy, ConcurrencyPolicy):
            overridden(policy, override.numbers)

    # --- making ready ---

    def _make_ready(self) -> None:
        limits: dict[str, Limit] = {}
        slots: dict[str, Slots] = {}
        overrides = by_policy(self._overrides)
        descriptions: dict[str, PolicyDescription] = {}
        for policy in self._policies.values():
            own_rules = self._rules.get(policy.name, NO_RULES)
            descriptions[policy.name] = self._described(policy, own_rules)
            if isinstance(policy, ConcurrencyPolicy):
                slots[policy.name] = Slots(
                    policy=policy,
                    store=self._store,
                    keys=self._keys,
                    max_key_bytes=self._max_key_bytes,
                    allowed=self._decisions.cell(policy.name, "allowed"),
                    denied=self._decisions.cell(policy.name, "denied"),
                    refused=partial(self._observations.refused, policy.name),
                )
            else:
                limits[policy.name] = self._limit(policy, own_rules, overrides.get(policy.name, ()))
        self._limits, self._slots, self._descriptions = limits, slots, descriptions

    def _described(self, policy: AnyPolicy, rules: Rules) -> PolicyDescription:
        return described(
            policy,
            rules,
            on_failure=OnFailure.ERROR if self._stand_ins is None else self._stand_ins.mode(policy.name),
            cache_refusals=self._refusals is not None and self._refusals.remembers(policy.name),
            lease=None if self._leases is None else self._leases.policy_of(policy.name),
            personal=self._observations.is_personal(policy.name),
        )

    def _limit(self, policy: Policy | CombinedPolicy, rules: Rules, overrides: Sequence[Override]) -> Limit:
        allowed = self._decisions.cell(policy.name, "allowed")
        denied = self._decisions.cell(policy.name, "denied")
        ruled = None
        if overrides or needed(rules, policy.limit):
            outcomes = Outcomes(
                allowed=allowed,
                denied=denied,
                shadow_denied=self._decisions.cell(policy.name, "shadow_denied"),
                near_limit=self._near_limit.cell(policy.name),
            )
            ruled = Ruled(rules, limit=policy.limit, outcomes=outcomes)
        # One that refuses nothing has nothing to remember.
        refusals = None if self._refusals is None or rules.shadow else self._refusals.of(policy.name)
        limit = ready(
            policy,
            allowed=allowed,
            denied=denied,
            ruled=ruled,
            stand_in=None if self._stand_ins is None else self._stand_ins.of(policy),
            refusals=refusals,
        )
        trial = self._observations.trial(policy.name, rules.candidate)
        if trial is not None:
            limit = replace(limit, trial=trial)
        if rules.tiers:
            limit = replace(limit, tiers=made_ready(policy, rules.tiers, limit, self._stand_ins))
        # One that refuses nothing saves nothing by it, and has to count exactly what it would refuse.
        if self._leases is not None and not rules.shadow:
            limit = replace(limit, leases=self._leases.of(policy))
        if not overrides:
            return limit
        return replace(limit, overriding=Overriding(policy, limit, overrides, self._stand_ins))


def _unknown(policy_name: str, known: Iterable[str]) -> SidecarError:
    return SidecarError(
        Reason.POLICY_UNKNOWN,
        "no rate limit policy of that name is configured",
        field="policy",
        metadata=unknown_name("policy", policy_name, known),
    )
