"""Several checks made all or nothing: those that the store decides are one script, those of shadowed policies follow.

A shadowed policy must not keep others from being charged. So it is asked once it is known whether they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import SidecarError
from sidecar.ratelimit.beside_holds import Part, charging
from sidecar.ratelimit.charges import LOOK, TAKE
from sidecar.ratelimit.exceptions import exempt
from sidecar.ratelimit.stand_in import decide_together
from sidecar.store.plans import UNANSWERED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.ratelimit.charges import Charge
    from sidecar.ratelimit.decision import Decision
    from sidecar.ratelimit.limits import Limit
    from sidecar.ratelimit.policy_book import PolicyBook
    from sidecar.store.base import Store


class Asked(NamedTuple):
    """One of several checks."""

    policy_name: str
    key: str
    cost: int
    tier: str = ""


class _Charged(NamedTuple):
    """One of several checks, whose policy's limits decide on it."""

    place: int
    limit: Limit
    state_key: bytes
    cost: int
    charges: Sequence[Charge]


class TogetherChecker:
    """Makes checks all or nothing."""

    def __init__(self, *, store: Store, clock: StoreClock, policies: PolicyBook) -> None:
        self._store = store
        self._clock = clock
        self._policies = policies

    async def check(self, asked: Sequence[Asked], call: Call) -> list[Decision]:
        """Take all costs if every check is allowed, else none; return what each one's own policy says.

        What is wrong with one is raised, with the path of its field.
        """
        limits: list[Limit] = []
        decisions: list[Decision | None] = []
        charged: list[_Charged] = []
        shadowed: list[_Charged] = []
        for place, (policy_name, key, cost, tier) in enumerate(asked):
            try:
                limit, state_key, exempted = self._policies.find(policy_name, key, tier)
                charges = () if exempted is not None else limit.charges(state_key, cost)
            except SidecarError as error:
                raise _at(f"checks[{place}].{error.field}", error) from None
            limits.append(limit)
            decisions.append(None if exempted is None else exempt(exempted.why, limit.most))
            if charges:
                kind = shadowed if limit.ruled is not None and limit.ruled.shadow else charged
                kind.append(_Charged(place, limit, state_key, cost, charges))
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

    async def _charge(self, group: Sequence[_Charged], call: Call, *, take: bool, alone: bool) -> list[Decision]:
        """Charge several policies all or nothing, or look at them; return what each decides.

        `alone`: what stands in for the store decides where that has not answered.
        """
        parts = [Part(one.limit, one.state_key, one.charges) for one in group]
        try:
            together = charging(parts, TAKE if take else LOOK, self._clock.micros())
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


def _at(field: str, error: SidecarError) -> SidecarError:
    """Return the same error about a field of one of several checks."""
    return SidecarError(error.reason, error.message, field=field, metadata=error.metadata)
