"""Policies, made ready for the calls that come: what each needs of keys, scripts, counters and who decides beside it.

That is worked out once, when the policies change, or for a key with an override when it is first asked about, so that
a call only looks it up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sidecar.errors import InvalidArgumentError
from sidecar.ratelimit.charges import LOOK, TAKE, Charge, cost_above_limit
from sidecar.ratelimit.decision import Decision, combined
from sidecar.ratelimit.exceptions import Exempted, Why
from sidecar.ratelimit.overrides import Effect, overridden
from sidecar.ratelimit.policy import CombinedPolicy
from sidecar.ratelimit.terms import LETTERS, Terms, parts_of, terms_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.candidate import Trial
    from sidecar.ratelimit.exceptions import Ruled
    from sidecar.ratelimit.overrides import Numbers, Override
    from sidecar.ratelimit.policy import Policy
    from sidecar.ratelimit.policy_leases import PolicyLeases
    from sidecar.ratelimit.refusals import PolicyRefusals
    from sidecar.ratelimit.reservations_policy import ReservationsPolicy
    from sidecar.ratelimit.stand_in import StandIn, StandIns
    from sidecar.ratelimit.tiers import Tiers
    from sidecar.store.base import Reply
    from sidecar.telemetry.metrics import Cell

_SEVERAL = b"m"

# Where a limit's own script, and the one of several, say what time it is.
_NOW, NOW_OF_SEVERAL = 4, 0

_EXEMPTS = {Effect.UNLIMITED: Why.OVERRIDE_UNLIMITED, Effect.DENIED: Why.OVERRIDE_DENIED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A policy, made ready for its calls."""

    name: str
    policies: tuple[Policy, ...]
    """Its limits."""
    letter: bytes
    """What stands for its algorithm in the keys of its states."""
    suffixes: tuple[bytes, ...]
    """What follows the policy's key in that of each of its limits."""
    terms: Terms | None
    """Those of the only limit; None for a policy of several."""
    most: int
    allowed: Cell
    denied: Cell
    ruled: Ruled | None
    """What it says beside its limits; None if that is nothing, and no key has an override."""
    stand_in: StandIn | None
    """What decides while the store cannot; None where that is an error."""
    refusals: PolicyRefusals | None
    """What is remembered of those by the store; None where they are not."""
    leases: PolicyLeases | None = None
    """What this process has borrowed of it; None where it is not lent from."""
    overriding: Overriding | None = None
    """What holds for single keys instead; None where no key has an override."""
    trial: Trial | None = None
    """What is tried beside them; None where nothing is."""
    tiers: Tiers | None = None
    """What holds for callers of a tier instead; None where there are no tiers."""
    why: Why = Why.LIMITS
    """Why these limits decide: they are the policy's, an override's or a tier's."""

    @property
    def reservations(self) -> ReservationsPolicy | None:
        """How costs may be held; None: not at all."""
        return None if self.ruled is None else self.ruled.reservations

    def decision(self, replies: Sequence[Reply]) -> Decision:
        """Read what the script of the only limit answered."""
        allowed, remaining, retry_after_us, reset_after_us, _ = replies[0]
        return Decision(allowed == 1, self.most, remaining, retry_after_us, reset_after_us)

    def counted(self, replies: Sequence[Reply]) -> Decision:
        """Read the same, and count it."""
        decision = self.decision(replies)
        (self.allowed if decision.allowed else self.denied).value += 1
        return decision

    def told(self, decision: Decision, mode: int) -> Decision:
        """Return what a caller is told of what the limits decided, and count it if anything was to be taken."""
        if self.ruled is not None:
            decision = self.ruled.told(decision._replace(why=self.why) if self.why else decision)
        if mode == TAKE:
            self.count(decision)
        return decision

    def count(self, told: Decision) -> None:
        """Count what a caller was told."""
        if self.ruled is not None:
            self.ruled.count(told)
        else:
            (self.allowed if told.allowed else self.denied).value += 1

    def reader(self, state_key: bytes, cost: int, mode: int) -> Callable[[Sequence[Reply]], Decision]:
        """Return what reads the answer of the script of the only limit, and counts it if anything was to be taken."""
        if mode == LOOK and self.ruled is None:
            return self.decision
        note = self.noting(state_key, cost, mode)

        def read(replies: Sequence[Reply]) -> Decision:
            decision = self.decision(replies)
            if note is not None:
                note(decision, replies[0][_NOW])
            return self.told(decision, mode)

        return read

    def noting(self, state_key: bytes, cost: int, mode: int) -> Callable[[Decision, int], None] | None:
        """Return what is to be told of the store's decision, with its time; None where it is not to be remembered."""
        return self.refusals.noting(state_key, cost) if mode == TAKE and self.refusals is not None else None

    def known(self, state_key: bytes, cost: int) -> Decision | None:
        """Return the refusal of a Check, if it is remembered."""
        return None if self.refusals is None or cost > self.most else self.refusals.find(state_key, cost)

    def instead(self, state_key: bytes, cost: int, mode: int) -> Callable[[], Decision] | None:
        """Return what decides on a call that the store has not answered, and counts what is a Check."""
        stand_in = self.stand_in
        if stand_in is None:
            return None
        return lambda: self.told(stand_in.decide(state_key, cost, take=mode == TAKE), mode)

    def forget(self, state_key: bytes) -> None:
        """Forget what is kept here of a key, whose allowance has come back."""
        if self.stand_in is not None:
            self.stand_in.forget(state_key)
        if self.refusals is not None:
            self.refusals.drop(state_key)

    def charges(self, key: bytes, cost: int) -> list[Charge]:
        """Return what a call is to take from each limit, of a policy's key; raises COST_ABOVE_LIMIT."""
        if cost > self.most:
            raise cost_above_limit(self.most)
        return [Charge(policy, key + suffix, cost) for policy, suffix in zip(self.policies, self.suffixes, strict=True)]

    def combined(self, decisions: Sequence[Decision]) -> Decision:
        """Return what its limits decide together."""
        if self.terms is not None:
            return decisions[0]
        return combined([policy.name for policy in self.policies], decisions)


class Overriding:
    """The overrides of a policy's keys, each made ready when its key is first asked about: there may be a thousand."""

    __slots__ = ("_limit", "_overrides", "_policy", "_ready", "_stand_ins")

    def __init__(
        self,
        policy: Policy | CombinedPolicy,
        limit: Limit,
        overrides: Iterable[Override],
        stand_ins: StandIns | None,
    ) -> None:
        self._policy = policy
        self._limit = limit
        self._overrides = {override.key: override for override in overrides}
        self._stand_ins = stand_ins
        self._ready: dict[str, tuple[Limit, Exempted | None] | None] = {}

    def find(self, key: str, clock: StoreClock) -> tuple[Limit, Exempted | None] | None:
        """Return the limit that holds for a key and what decides in its place, if anything; None for no override."""
        override = self._overrides.get(key)
        if override is None or override.ends_us <= clock.micros():
            return None
        if key not in self._ready:
            self._ready[key] = self._made(override)
        return self._ready[key]

    def _made(self, override: Override) -> tuple[Limit, Exempted | None] | None:
        """Return what an override makes of the policy's limit; None if the policy has changed and it fits no more."""
        limit = self._limit
        if override.effect is not Effect.NUMBERS:
            return limit, Exempted(_EXEMPTS[override.effect], "")
        try:
            return renumbered(self._policy, override.numbers, limit, Why.OVERRIDE_LIMITS, self._stand_ins), None
        except InvalidArgumentError:
            return None


def renumbered(
    policy: Policy | CombinedPolicy, numbers: Sequence[Numbers], limit: Limit, why: Why, stand_ins: StandIns | None
) -> Limit:
    """Return what other numbers make of a policy whose own limit is ready; raises OVERRIDE_INVALID."""
    numbered = overridden(policy, numbers)
    own = ready(
        numbered,
        allowed=limit.allowed,
        denied=limit.denied,
        ruled=limit.ruled,
        stand_in=None if stand_ins is None else stand_ins.of(numbered),
        refusals=None,  # an override may end before they do, and another tier may be asked for
    )
    return replace(own, why=why)


def ready(
    policy: Policy | CombinedPolicy,
    *,
    allowed: Cell,
    denied: Cell,
    ruled: Ruled | None,
    stand_in: StandIn | None,
    refusals: PolicyRefusals | None,
) -> Limit:
    """Return a policy, made ready; no key has an override."""
    several = isinstance(policy, CombinedPolicy)
    policies, suffixes = parts_of(policy)
    return Limit(
        name=policy.name,
        policies=policies,
        letter=_SEVERAL if several else LETTERS[type(policies[0])],
        suffixes=suffixes,
        terms=None if several else terms_of(policies[0]),
        most=policy.limit,
        allowed=allowed,
        denied=denied,
        ruled=ruled,
        stand_in=stand_in,
        refusals=refusals,
    )
