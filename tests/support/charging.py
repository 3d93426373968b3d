"""Charges of policies that are not configured, made in a store as the limiter would make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import SidecarError
from sidecar.ratelimit.charges import LOOK, TAKE, Together, decision_of_one, script_of_one
from sidecar.ratelimit.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.charges import Charge
    from sidecar.ratelimit.decision import Decision
    from sidecar.store.base import Store


async def decide(store: Store, charges: Sequence[Charge], *, take: bool = True, together: bool) -> list[Decision]:
    """Decide on charges, `together` in the one script, or each in its own; return a decision for each, in order."""
    call = Call("/test", deadline=after(30.0))
    clock = StoreClock()
    mode = TAKE if take else LOOK
    if together:
        all_of_them = Together(charges, mode, clock.micros())
        return all_of_them.decisions(await store.run(all_of_them.script_call, call))
    all_terms = [terms_of(charge.policy) for charge in charges]
    scripts = [
        script_of_one(terms, charge.key, charge.cost, mode, clock)
        for terms, charge in zip(all_terms, charges, strict=True)
    ]
    decided: list[Decision] = []
    for terms, reply in zip(all_terms, await store.call_many(scripts, call), strict=True):
        if isinstance(reply, SidecarError):
            raise reply
        decided.append(decision_of_one(terms, reply))
    return decided
