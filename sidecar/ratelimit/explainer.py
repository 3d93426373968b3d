"""Asks the store what `explain.py` puts into words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import SidecarError
from sidecar.ratelimit.charges import LOOK
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.description import limit_described
from sidecar.ratelimit.exceptions import BY_TIER, Why, exempt
from sidecar.ratelimit.explain import Explanation, Looks, Outcome, costs_for, states
from sidecar.ratelimit.tiers import tier_unknown
from sidecar.store.keys import HOLDS_SUFFIX

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.ratelimit.policy_book import PolicyBook
    from sidecar.ratelimit.slots import Slots
    from sidecar.store.base import Store


class Explainer:
    """Explains what decides on a key."""

    def __init__(self, *, store: Store, clock: StoreClock, policies: PolicyBook) -> None:
        self._store = store
        self._clock = clock
        self._policies = policies

    async def explain(self, policy_name: str, key: str, call: Call, tier: str = "") -> Explanation:
        """Say what decides on a key, asked for by a tier, and what would become of calls, and take nothing.

        Raises SidecarError: POLICY_UNKNOWN, TIER_UNKNOWN, KEY_EMPTY, KEY_TOO_LONG, and what the store raises.
        """
        slots = self._policies.any_slots(policy_name)
        if slots is not None:
            if tier:
                raise tier_unknown(tier)
            return await self._explain_slots(slots, key, call)
        limit, state_key, exempted = self._policies.find(policy_name, key, tier)
        why, entry = (limit.why, "") if exempted is None else exempted
        tier = tier if why in BY_TIER else ""
        override = self._policies.override_of(policy_name, key)
        policy = self._policies.description(policy_name)
        if exempted is not None:
            decision = limit.told(exempt(exempted.why, limit.most), LOOK)
            outcomes = [Outcome(cost, decision) for cost in costs_for(max(limit.most, 1))]
            return Explanation(policy, why, entry, override, self._clock.micros(), (), tuple(outcomes), tier)
        costs = costs_for(limit.most)
        keys = [state_key + suffix for suffix in limit.suffixes]
        holds_key = None if limit.reservations is None else state_key + HOLDS_SUFFIX
        looks = Looks(limit.policies, keys, costs, self._clock.micros(), holds_key=holds_key)
        store_us, decided = looks.read(await self._store.run(looks.script_call, call))
        outcomes = [
            Outcome(cost, limit.told(limit.combined(decisions), LOOK))
            for cost, decisions in zip(costs, decided, strict=True)
        ]
        limits = [limit_described(one, "" if limit.terms else one.name) for one in limit.policies]
        return Explanation(policy, why, entry, override, store_us, states(limits, decided[0]), tuple(outcomes), tier)

    async def _explain_slots(self, slots: Slots, key: str, call: Call) -> Explanation:
        policy = self._policies.description(slots.policy.name)
        costs = costs_for(slots.policy.limit)
        plans = [slots.plan_peek(key, cost, Decision) for cost in costs]
        replies = await self._store.call_many([plan.requests[0] for plan in plans], call)
        decisions: list[Decision] = []
        store_us = 0
        for plan, reply in zip(plans, replies, strict=True):
            if isinstance(reply, SidecarError):
                raise reply
            decisions.append(plan.read((reply,)))
            store_us = reply[-1]
        outcomes = [Outcome(cost, decision) for cost, decision in zip(costs, decisions, strict=True)]
        limits = states(policy.limits, decisions[:1])
        return Explanation(policy, Why.LIMITS, "", None, store_us, limits, tuple(outcomes))
