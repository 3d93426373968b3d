"""The rate limiter: names and bounds are checked here, the decision is the store's.

Check and Peek are one script, told to take or only to look. A Check is not repeatable: a second run would take the cost
twice. A Reset is not either: a copy left in a hung server's buffer could wipe out what was counted since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import SidecarError
from sidecar.ratelimit.beside_holds import BesideHolds, Part
from sidecar.ratelimit.charges import LOOK, TAKE, Together, script_of_one
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.exceptions import exempt
from sidecar.ratelimit.explainer import Explainer
from sidecar.ratelimit.leased_checks import LeasedChecks
from sidecar.ratelimit.limits import NOW_OF_SEVERAL
from sidecar.ratelimit.observations import Observations
from sidecar.ratelimit.policy_book import PolicyBook
from sidecar.ratelimit.reservations import Reserver
from sidecar.ratelimit.tiers import tier_unknown
from sidecar.ratelimit.together import TogetherChecker
from sidecar.store import commands
from sidecar.store.keys import HOLDS_SUFFIX
from sidecar.store.plans import Plan, run_alone, run_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.ratelimit.exceptions import Rules
    from sidecar.ratelimit.explain import Explanation
    from sidecar.ratelimit.lease_book import LeaseBook
    from sidecar.ratelimit.limits import Limit
    from sidecar.ratelimit.policy_book import AnyPolicy
    from sidecar.ratelimit.refusals import Refusals
    from sidecar.ratelimit.stand_in import StandIns
    from sidecar.ratelimit.together import Asked
    from sidecar.store.base import Reply, ScriptCall, Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

# Decisions hold no values, and a batch of them has a bound of its own.
_ANY_SIZE = 0


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
        leases: LeaseBook | None = None,
        observations: Observations | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._observations = observations or Observations(keys=keys, clock=clock, metrics=metrics)
        self.policies = PolicyBook(
            store=store,
            keys=keys,
            clock=clock,
            metrics=metrics,
            max_key_bytes=max_key_bytes,
            stand_ins=stand_ins,
            refusals=refusals,
            leases=leases,
            observations=self._observations,
        )
        """The policies in force."""
        self.policies.replace(policies, rules)
        self._leased = LeasedChecks(self.policies)
        self._together = TogetherChecker(store=store, clock=clock, policies=self.policies)
        self._explainer = Explainer(store=store, clock=clock, policies=self.policies)
        self.reservations = Reserver(
            store=store, clock=clock, metrics=metrics, policies=self.policies, observations=self._observations
        )
        """What holds costs that are known only afterwards."""

    async def check(self, policy_name: str, key: str, cost: int, call: Call, tier: str = "") -> Decision:
        """Take `cost` from the key's allowance if that much is left by the tier's numbers; a refusal costs nothing.

        Raises SidecarError: POLICY_UNKNOWN, WRONG_ALGORITHM, TIER_UNKNOWN, KEY_EMPTY, KEY_TOO_LONG, COST_ABOVE_LIMIT,
        and what the store raises.
        """
        limit = self.policies.limit(policy_name)
        leases = limit.leases
        borrower = None
        if leases is not None and not tier:
            # The path of every call of a hot key.
            spent = leases.spend(key, cost)
            if spent is not None:
                return limit.told(spent, TAKE)
            borrower = self._leased.borrower(limit, leases, key, cost)
        if leases is not None and borrower is not None:
            decision = await self._leased.borrow(limit, leases, borrower, cost, call)
        elif (script := self._plain_script(limit, key, cost, tier)) is not None:
            # The most frequent of all that ask the store: what needs no plan is not planned.
            decision = limit.counted((await self._store.run(script, call),))
        else:
            decision = await run_alone(self._plan_check(limit, key, cost, tier), self._store, call)
        if not decision.allowed:
            self._observations.decided(policy_name, key, decision)
        return decision

    def plan_check(self, policy_name: str, key: str, cost: int, tier: str = "") -> Plan[Decision]:
        """Return the plan of `check`. Beside it a lease may be refilled, for those that come later."""
        limit = self.policies.limit(policy_name)
        leases = limit.leases
        if leases is not None and not tier:
            spent = leases.spend(key, cost)
            if spent is not None:
                return Plan((), lambda _: limit.told(spent, TAKE))
            borrower = self._leased.borrower(limit, leases, key, cost)
            if borrower is not None:
                leases.refill(borrower)
        script = self._plain_script(limit, key, cost, tier)
        if script is not None:
            return Plan((script,), self._watched(limit.counted, policy_name, key))
        plan = self._plan_check(limit, key, cost, tier)
        read = self._watched(plan.read, policy_name, key)
        instead = None if plan.instead is None else self._watched_alone(plan.instead, policy_name, key)
        return Plan(plan.requests, read, plan.open, instead, plan.beside)

    def _plan_check(self, limit: Limit, key: str, cost: int, tier: str) -> Plan[Decision]:
        if limit.ruled is not None or tier:
            return self._plan_ruled(limit, key, cost, TAKE, tier)
        return self._plan_limited(limit, self.policies.state_key(limit, key), cost, TAKE)

    def _plain_script(self, limit: Limit, key: str, cost: int, tier: str) -> ScriptCall | None:
        """Return the whole of a Check of a policy that is no more than its limit; None for one that is.

        As most are: what they do without costs them nothing.
        """
        terms = limit.terms
        if terms is None or limit.ruled is not None or tier or limit.stand_in is not None or limit.refusals is not None:
            return None
        return script_of_one(terms, self.policies.state_key(limit, key), cost, TAKE, self._clock)

    def _watched(
        self, read: Callable[[Sequence[Reply]], Decision], policy_name: str, key: str
    ) -> Callable[[Sequence[Reply]], Decision]:
        """Return what reads the same, and has a refusal seen."""
        decided = self._observations.decided

        def watched(replies: Sequence[Reply]) -> Decision:
            decision = read(replies)
            if not decision.allowed:
                decided(policy_name, key, decision)
            return decision

        return watched

    def _watched_alone(self, decide: Callable[[], Decision], policy_name: str, key: str) -> Callable[[], Decision]:
        """Do that with what decides without the store."""

        def watched() -> Decision:
            decision = decide()
            self._observations.decided(policy_name, key, decision)
            return decision

        return watched

    async def check_many(self, asked: Sequence[Asked], call: Call, *, together: bool) -> list[Decision | SidecarError]:
        """Make several checks; return the decision on each, in order, or the error that it ends with.

        `together` they are made all or nothing, in one script: each decision then says what its own policy does, and
        nothing was taken unless all allow. What is wrong with one is then raised, with the path of its field.
        """
        if together:
            decisions = await self._together.check(asked, call)
            for one, decision in zip(asked, decisions, strict=True):
                self._observations.decided(one.policy_name, one.key, decision)
            return [*decisions]
        plans: list[Plan[Decision] | SidecarError] = []
        for policy_name, key, cost, tier in asked:
            try:
                plans.append(self.plan_check(policy_name, key, cost, tier))
            except SidecarError as error:
                plans.append(error)
        return await run_together(plans, self._store, call, max_answer_bytes=_ANY_SIZE)

    async def peek(self, policy_name: str, key: str, cost: int, call: Call, tier: str = "") -> Decision:
        """Return what `check` would, and take nothing; raises the same."""
        return await run_alone(self.plan_peek(policy_name, key, cost, tier), self._store, call)

    def plan_peek(self, policy_name: str, key: str, cost: int, tier: str = "") -> Plan[Decision]:
        """Return the plan of `peek`."""
        slots = self.policies.any_slots(policy_name)
        if slots is None:
            return self._plan_ruled(self.policies.limit(policy_name), key, cost, LOOK, tier)
        if tier:
            raise tier_unknown(tier)
        return slots.plan_peek(key, cost, Decision)

    async def explain(self, policy_name: str, key: str, call: Call, tier: str = "") -> Explanation:
        """Say what decides on a key and what would become of calls, and take nothing; raises what `peek` does."""
        return await self._explainer.explain(policy_name, key, call, tier)

    async def reset(self, policy_name: str, key: str, call: Call) -> bool:
        """Give the key its whole allowance back; return whether anything was recorded for it.

        Raises SidecarError: POLICY_UNKNOWN, KEY_EMPTY, KEY_TOO_LONG, and what the store raises.
        """
        return await run_alone(self.plan_reset(policy_name, key), self._store, call)

    def plan_reset(self, policy_name: str, key: str) -> Plan[bool]:
        """Return the plan of `reset`."""
        slots = self.policies.any_slots(policy_name)
        if slots is not None:
            return slots.plan_reset(key)
        limit = self.policies.limit(policy_name)
        state_key = self.policies.state_key(limit, key)
        # A Check behind it in the same batch is planned before it is made.
        if limit.refusals is not None:
            limit.refusals.drop(state_key)
        if limit.leases is not None:
            limit.leases.void_key(key)

        def read(replies: Sequence[Reply]) -> bool:
            limit.forget(state_key)
            if limit.leases is not None:
                limit.leases.void_key(key)
            return _existed(replies)

        state_keys = [state_key + suffix for suffix in limit.suffixes]
        if limit.trial is not None:
            state_keys += limit.trial.state_keys(key)
        if limit.reservations is not None:
            state_keys.append(state_key + HOLDS_SUFFIX)
        return Plan((commands.delete(*state_keys),), read)

    def _plan_ruled(self, limit: Limit, key: str, cost: int, mode: int, tier: str) -> Plan[Decision]:
        limit, state_key, exempted = self.policies.ruling(limit, key, tier)
        if exempted is None:
            plan = self._plan_limited(limit, state_key, cost, mode)
            return plan if limit.trial is None or mode == LOOK else limit.trial.beside(plan, key, cost)
        decision = exempt(exempted.why, limit.most)
        return Plan((), lambda _: limit.told(decision, mode))

    def _plan_limited(self, limit: Limit, state_key: bytes, cost: int, mode: int) -> Plan[Decision]:
        known = limit.known(state_key, cost) if mode == TAKE else None
        if known is not None:
            return Plan((), lambda _: limit.told(known, mode))
        if limit.terms is None or limit.reservations is not None:
            return self._plan_several(limit, state_key, cost, mode)
        script = script_of_one(limit.terms, state_key, cost, mode, self._clock)
        return Plan((script,), limit.reader(state_key, cost, mode), None, limit.instead(state_key, cost, mode))

    def _plan_several(self, limit: Limit, state_key: bytes, cost: int, mode: int) -> Plan[Decision]:
        charges = limit.charges(state_key, cost)
        if limit.reservations is None:
            together: Together | BesideHolds = Together(charges, mode, self._clock.micros())
        else:
            together = BesideHolds([Part(limit, state_key, charges)], mode, self._clock.micros())
        note = limit.noting(state_key, cost, mode)

        def read(replies: Sequence[Reply]) -> Decision:
            decision = limit.combined(together.decisions(replies[0]))
            if note is not None:
                note(decision, replies[0][NOW_OF_SEVERAL])
            return limit.told(decision, mode)

        return Plan((together.script_call,), read, None, limit.instead(state_key, cost, mode))


def _existed(replies: Sequence[Reply]) -> bool:
    removed: int = replies[0]
    return removed > 0
