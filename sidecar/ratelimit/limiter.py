"""The rate limiter: names and bounds are checked here, the decision is the store's.

Check and Peek are one script, told to take or only to look. A Check is not repeatable: a second run would take the cost
twice. A Reset is not either: a copy left in a hung server's buffer could wipe out what was counted since.
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import Reason, SidecarError
from sidecar.ratelimit.charges import (
    LOOK,
    TAKE,
    Charge,
    Together,
    decision_of_one,
    script_of_one,
)
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.description import described, limit_described
from sidecar.ratelimit.exceptions import NO_RULES, Outcomes, Ruled, Why, exempt, needed
from sidecar.ratelimit.explain import Explanation, Looks, Outcome, costs_for, states
from sidecar.ratelimit.limits import NOW_OF_SEVERAL, Charged, Limit, Overriding, ready
from sidecar.ratelimit.overrides import Effect, by_policy, overridden
from sidecar.ratelimit.slots import Slots, use_acquire, use_check
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
from sidecar.ratelimit.stand_in import decide_together
from sidecar.ratelimit.terms import terms_of
from sidecar.store import commands
from sidecar.store.keys import check_name
from sidecar.store.plans import UNANSWERED, Plan, run_alone, run_together
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.ratelimit.description import PolicyDescription
    from sidecar.ratelimit.exceptions import Exempted, Rules
    from sidecar.ratelimit.overrides import Override
    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.ratelimit.refusals import Refusals
    from sidecar.ratelimit.stand_in import StandIns
    from sidecar.store.base import Reply, Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

    AnyPolicy = Policy | CombinedPolicy | ConcurrencyPolicy

# Characters. A name that is not configured may be of any length; of a longer one neither the error's metadata, which
# travel in a header, nor the search for the nearest name, which takes quadratic time, see more.
_MAX_NAME_ECHO = 64

# Decisions hold no values, and a batch of them has a bound of its own.
_ANY_SIZE = 0


class Asked(NamedTuple):
    """One of several checks."""

    policy_name: str
    key: str
    cost: int


class RateLimiter:
    """All configured policies over one store."""

    def __init__(
        self,
        *,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        metrics: Metrics,
        policies: Iterable[AnyPolicy],
        rules: Mapping[str, Rules] | None = None,
        max_key_bytes: int,
        stand_ins: StandIns | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._max_key_bytes = max_key_bytes
        self._stand_ins = stand_ins
        self._refusals = refusals
        self._decisions = metrics.counter(
            "sidecar_ratelimit_decisions", "Checks of rate limits by policy and outcome", "policy", "outcome"
        )
        self._several = load("check_limits")
        self._near_limit = metrics.counter(
            "sidecar_ratelimit_near_limit", "Checks that were allowed near the limit, by policy", "policy"
        )
        self._limits: dict[str, Limit] = {}
        self._slots: dict[str, Slots] = {}
        self._descriptions: dict[str, PolicyDescription] = {}
        self._policies: dict[str, AnyPolicy] = {}
        self._rules: Mapping[str, Rules] = {}
        self._overrides: Sequence[Override] = ()
        self.replace(policies, rules)

    def replace(self, policies: Iterable[AnyPolicy], rules: Mapping[str, Rules] | None = None) -> None:
        """Limit by these policies and rules from now on; what keys have used stays, as far as the models say."""
        self._policies = {policy.name: policy for policy in policies}
        self._rules = rules or {}
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

    @property
    def overrides(self) -> list[tuple[Override, int]]:
        """The overrides that have not ended, by policy and key, and how long each still holds, in microseconds."""
        now_us = self._clock.micros()
        held = [(override, override.ends_us - now_us) for override in self._overrides if override.ends_us > now_us]
        return sorted(held, key=lambda one: (one[0].policy, one[0].key))

    def check_policy(self, policy_name: str) -> None:
        """Raise POLICY_UNKNOWN, or WRONG_ALGORITHM for one of slots."""
        self._named(policy_name)

    def check_key(self, key: str) -> None:
        """Raise KEY_EMPTY or KEY_TOO_LONG for what no key can be."""
        check_name(key, self._max_key_bytes)

    def check_override(self, override: Override) -> None:
        """Raise SidecarError for an override that could have no effect.

        That is POLICY_UNKNOWN, WRONG_ALGORITHM, KEY_EMPTY, KEY_TOO_LONG or OVERRIDE_INVALID.
        """
        self.check_policy(override.policy)
        self.check_key(override.key)
        policy = self._policies[override.policy]
        if override.effect is Effect.NUMBERS and not isinstance(policy, ConcurrencyPolicy):
            overridden(policy, override.numbers)

    def _make_ready(self) -> None:
        limits: dict[str, Limit] = {}
        slots: dict[str, Slots] = {}
        overrides = by_policy(self._overrides)
        descriptions: dict[str, PolicyDescription] = {}
        for policy in self._policies.values():
            own_rules = self._rules.get(policy.name, NO_RULES)
            descriptions[policy.name] = described(policy, own_rules)
            if isinstance(policy, ConcurrencyPolicy):
                slots[policy.name] = Slots(
                    policy=policy,
                    store=self._store,
                    keys=self._keys,
                    max_key_bytes=self._max_key_bytes,
                    allowed=self._decisions.cell(policy.name, "allowed"),
                    denied=self._decisions.cell(policy.name, "denied"),
                )
            else:
                limits[policy.name] = self._limit(policy, own_rules, overrides.get(policy.name, ()))
        self._limits, self._slots, self._descriptions = limits, slots, descriptions

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
        if not overrides:
            return limit
        return replace(limit, overriding=Overriding(policy, limit, overrides, self._stand_ins))

    def descriptions(self, policy_name: str = "") -> list[PolicyDescription]:
        """Return what a policy says, or for an empty name each, in the order of their names; raises POLICY_UNKNOWN."""
        if not policy_name:
            return [description for _, description in sorted(self._descriptions.items())]
        if policy_name not in self._descriptions:
            raise _unknown(policy_name, self._descriptions)
        return [self._descriptions[policy_name]]

    def slots(self, policy_name: str) -> Slots:
        """Return the slots of a concurrency policy; raises POLICY_UNKNOWN, or WRONG_ALGORITHM for another policy."""
        slots = self._slots.get(policy_name)
        if slots is None:
            self._named(policy_name)
            raise use_check()
        return slots

    async def check(self, policy_name: str, key: str, cost: int, call: Call) -> Decision:
        """Take `cost` from the key's allowance if that much is left; a refused call costs nothing.

        Raises SidecarError: POLICY_UNKNOWN, WRONG_ALGORITHM, KEY_EMPTY, KEY_TOO_LONG, COST_ABOVE_LIMIT, and what the
        store raises.
        """
        return await run_alone(self.plan_check(policy_name, key, cost), self._store, call)

    def plan_check(self, policy_name: str, key: str, cost: int) -> Plan[Decision]:
        """Return the plan of `check`."""
        limit = self._named(policy_name)
        if limit.ruled is not None:
            return self._plan_ruled(limit, limit.ruled, key, cost, TAKE)
        state_key = self._state_key(limit, key)
        if limit.terms is None or limit.stand_in is not None or limit.refusals is not None:
            return self._plan_limited(limit, state_key, cost, TAKE)
        # As most are: what they do without costs them nothing.
        return Plan((script_of_one(limit.terms, state_key, cost, TAKE, self._clock),), limit.counted)

    async def check_many(self, asked: Sequence[Asked], call: Call, *, together: bool) -> list[Decision | SidecarError]:
        """Make several checks; return the decision on each, in order, or the error that it ends with.

        `together` they are made all or nothing, in one script: each decision then says what its own policy does, and
        nothing was taken unless all allow. What is wrong with one is then raised, with the path of its field.
        """
        if together:
            return [*await self._check_together(asked, call)]
        plans: list[Plan[Decision] | SidecarError] = []
        for policy_name, key, cost in asked:
            try:
                plans.append(self.plan_check(policy_name, key, cost))
            except SidecarError as error:
                plans.append(error)
        return await run_together(plans, self._store, call, max_answer_bytes=_ANY_SIZE)

    async def _check_together(self, asked: Sequence[Asked], call: Call) -> list[Decision]:
        limits: list[Limit] = []
        decisions: list[Decision | None] = []
        charged: list[Charged] = []
        shadowed: list[Charged] = []
        for place, (policy_name, key, cost) in enumerate(asked):
            try:
                limit = self._named(policy_name)
                state_key = self._state_key(limit, key)
                exempted = None
                if limit.ruled is not None:
                    limit, exempted = self._ruling(limit, limit.ruled, key)
                charges = () if exempted is not None else limit.charges(state_key, cost)
            except SidecarError as error:
                raise _at(f"checks[{place}].{error.field}", error) from None
            limits.append(limit)
            decisions.append(None if exempted is None else exempt(exempted.why, limit.most))
            if charges:
                kind = shadowed if limit.ruled is not None and limit.ruled.shadow else charged
                kind.append(Charged(place, limit, state_key, cost, charges))
        # A shadowed policy must not keep others from being charged. So it is asked once it is known whether they are.
        blocked = any(
            decision is not None and not limit.told(decision, LOOK).allowed
            for limit, decision in zip(limits, decisions, strict=True)
        )
        taken = not blocked
        # What the store has not answered is decided here if no policy of the call says that this is an error.
        alone = all(one.limit.stand_in is not None for one in charged + shadowed)
        for group in ([charged] if charged else []) + [[one] for one in shadowed]:
            for (place, *_), decision in zip(
                group, await self._charge(group, call, take=taken, alone=alone), strict=True
            ):
                decisions[place] = decision
                taken &= group is not charged or decision.allowed
        told = [
            limit.told(decision, LOOK)
            for limit, decision in zip(limits, decisions, strict=True)
            if decision is not None
        ]
        for limit, decision in zip(limits, told, strict=True):
            if taken or not decision.allowed:
                limit.count(decision)
        return told

    async def _charge(self, group: Sequence[Charged], call: Call, *, take: bool, alone: bool) -> list[Decision]:
        """Charge several policies all or nothing, or look at them; return what each decides.

        `alone`: what stands in for the store decides where that has not answered.
        """
        charges = [charge for one in group for charge in one.charges]
        try:
            together = Together(self._several, charges, TAKE if take else LOOK, self._clock.micros())
        except SidecarError as error:  # the sum of those of one key
            raise _at("checks", error) from None
        try:
            decided = iter(together.decisions(await self._store.run(together.script_call, call)))
        except SidecarError as error:
            if not alone or error.reason not in UNANSWERED:
                raise
            asked = [(one.limit.stand_in, one.state_key, one.cost) for one in group]
            return decide_together([(by, key, cost) for by, key, cost in asked if by is not None], take=take)
        return [one.limit.combined([next(decided) for _ in one.limit.policies]) for one in group]

    async def peek(self, policy_name: str, key: str, cost: int, call: Call) -> Decision:
        """Return what `check` would, and take nothing; raises the same."""
        return await run_alone(self.plan_peek(policy_name, key, cost), self._store, call)

    def plan_peek(self, policy_name: str, key: str, cost: int) -> Plan[Decision]:
        """Return the plan of `peek`."""
        slots = self._slots.get(policy_name)
        if slots is not None:
            return slots.plan_peek(key, cost, Decision)
        limit = self._named(policy_name)
        if limit.ruled is not None:
            return self._plan_ruled(limit, limit.ruled, key, cost, LOOK)
        return self._plan_limited(limit, self._state_key(limit, key), cost, LOOK)

    async def explain(self, policy_name: str, key: str, call: Call) -> Explanation:
        """Say what decides on a key and what would become of calls, and take nothing; raises what `peek` does."""
        slots = self._slots.get(policy_name)
        if slots is not None:
            return await self._explain_slots(slots, key, call)
        limit = self._named(policy_name)
        state_key = self._state_key(limit, key)
        exempted = None
        if limit.ruled is not None:
            limit, exempted = self._ruling(limit, limit.ruled, key)
        why, entry = (limit.why, "") if exempted is None else exempted
        override = next((one for one in self.overrides if (one[0].policy, one[0].key) == (policy_name, key)), None)
        policy = self._descriptions[policy_name]
        if exempted is not None:
            decision = limit.told(exempt(exempted.why, limit.most), LOOK)
            outcomes = [Outcome(cost, decision) for cost in costs_for(max(limit.most, 1))]
            return Explanation(policy, why, entry, override, self._clock.micros(), (), tuple(outcomes))
        costs = costs_for(limit.most)
        looks = Looks(limit.policies, [state_key + suffix for suffix in limit.suffixes], costs, self._clock.micros())
        store_us, decided = looks.read(await self._store.run(looks.script_call, call))
        outcomes = [
            Outcome(cost, limit.told(limit.combined(decisions), LOOK))
            for cost, decisions in zip(costs, decided, strict=True)
        ]
        limits = [limit_described(one, "" if limit.terms else one.name) for one in limit.policies]
        return Explanation(policy, why, entry, override, store_us, states(limits, decided[0]), tuple(outcomes))

    async def _explain_slots(self, slots: Slots, key: str, call: Call) -> Explanation:
        policy = self._descriptions[slots.policy.name]
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

    async def reset(self, policy_name: str, key: str, call: Call) -> bool:
        """Give the key its whole allowance back; return whether anything was recorded for it.

        Raises SidecarError: POLICY_UNKNOWN, KEY_EMPTY, KEY_TOO_LONG, and what the store raises.
        """
        return await run_alone(self.plan_reset(policy_name, key), self._store, call)

    def plan_reset(self, policy_name: str, key: str) -> Plan[bool]:
        """Return the plan of `reset`."""
        slots = self._slots.get(policy_name)
        if slots is not None:
            return slots.plan_reset(key)
        limit = self._named(policy_name)
        state_key = self._state_key(limit, key)
        if limit.refusals is not None:
            limit.refusals.drop(state_key)  # a Check behind it in the same batch is planned before it is made

        def read(replies: Sequence[Reply]) -> bool:
            limit.forget(state_key)
            return _existed(replies)

        return Plan((commands.delete(*[state_key + suffix for suffix in limit.suffixes]),), read)

    async def decide(self, charges: Sequence[Charge], call: Call, *, take: bool, together: bool) -> list[Decision]:
        """Decide on charges of policies that need not be configured; return a decision for each, in order.

        `take` charges what is allowed; without it nothing changes. `together` charges all or nothing, in one script:
        each decision then says what its own limit does, and nothing was taken unless all allow. All keys are then on
        one node. Apart, each is charged for itself. Nothing is counted in metrics.

        Raises SidecarError: COST_ABOVE_LIMIT (a policy that charges what it refuses takes any cost), and what the store
        raises; charges that are made apart may then have been taken or not.
        """
        if not charges:
            return []
        mode = TAKE if take else LOOK
        if together and len(charges) > 1:
            all_of_them = Together(self._several, charges, mode, self._clock.micros())
            return all_of_them.decisions(await self._store.run(all_of_them.script_call, call))
        all_terms = [terms_of(charge.policy) for charge in charges]
        scripts = [
            script_of_one(terms, charge.key, charge.cost, mode, self._clock)
            for terms, charge in zip(all_terms, charges, strict=True)
        ]
        if len(scripts) == 1:
            return [decision_of_one(all_terms[0], await self._store.run(scripts[0], call))]
        replies = await self._store.call_many(scripts, call)
        for reply in replies:
            if isinstance(reply, SidecarError):
                raise reply
        return [decision_of_one(terms, reply) for terms, reply in zip(all_terms, replies, strict=True)]

    def _plan_ruled(self, limit: Limit, ruled: Ruled, key: str, cost: int, mode: int) -> Plan[Decision]:
        limit, exempted = self._ruling(limit, ruled, key)
        state_key = self._state_key(limit, key)
        if exempted is None:
            return self._plan_limited(limit, state_key, cost, mode)
        decision = exempt(exempted.why, limit.most)
        return Plan((), lambda _: limit.told(decision, mode))

    def _plan_limited(self, limit: Limit, state_key: bytes, cost: int, mode: int) -> Plan[Decision]:
        known = limit.known(state_key, cost) if mode == TAKE else None
        if known is not None:
            return Plan((), lambda _: limit.told(known, mode))
        if limit.terms is None:
            return self._plan_several(limit, state_key, cost, mode)
        script = script_of_one(limit.terms, state_key, cost, mode, self._clock)
        return Plan((script,), limit.reader(state_key, cost, mode), None, limit.instead(state_key, cost, mode))

    def _ruling(self, limit: Limit, ruled: Ruled, key: str) -> tuple[Limit, Exempted | None]:
        """Return the limit that holds for a key, and what decides in its place if anything does."""
        found = None if limit.overriding is None else limit.overriding.find(key, self._clock)
        return (limit, ruled.exempted(key)) if found is None else found

    def _plan_several(self, limit: Limit, state_key: bytes, cost: int, mode: int) -> Plan[Decision]:
        charges = limit.charges(state_key, cost)
        together = Together(self._several, charges, mode, self._clock.micros())
        note = limit.noting(state_key, cost, mode)

        def read(replies: Sequence[Reply]) -> Decision:
            decision = limit.combined(together.decisions(replies[0]))
            if note is not None:
                note(decision, replies[0][NOW_OF_SEVERAL])
            return limit.told(decision, mode)

        return Plan((together.script_call,), read, None, limit.instead(state_key, cost, mode))

    def _named(self, policy_name: str) -> Limit:
        limit = self._limits.get(policy_name)
        if limit is None:
            if policy_name in self._slots:
                raise use_acquire()
            raise _unknown(policy_name, {**self._limits, **self._slots})
        return limit

    def _state_key(self, limit: Limit, key: str) -> bytes:
        return self._keys.limit(limit.letter, limit.name, check_name(key, self._max_key_bytes))


def _at(field: str, error: SidecarError) -> SidecarError:
    """Return the same error about a field of one of several checks."""
    return SidecarError(error.reason, error.message, field=field, metadata=error.metadata)


def _existed(replies: Sequence[Reply]) -> bool:
    removed: int = replies[0]
    return removed > 0


def _unknown(policy_name: str, known: Iterable[str]) -> SidecarError:
    metadata = {"policy": policy_name[:_MAX_NAME_ECHO]}
    nearest = get_close_matches(metadata["policy"], known, n=1)
    if nearest:
        metadata["nearest"] = nearest[0]
    return SidecarError(
        Reason.POLICY_UNKNOWN,
        "no rate limit policy of that name is configured",
        field="policy",
        metadata=metadata,
    )
