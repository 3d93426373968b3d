"""From charges to scripts, and from their replies to decisions: pure, but for the time that it is given.

A charge alone is its algorithm's own script. Charges that are made together, all or nothing, are one run of a script
that knows every algorithm; they share a slot, or a store of one node. What is charged twice there is charged once with
the sum, since both would else be decided on the same state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.terms import terms_of
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.policy import Policy
    from sidecar.ratelimit.terms import Terms
    from sidecar.store.base import Reply

TAKE, LOOK = 1, 0

# The script of several limits, and what it returns for each.
_SCRIPT = "check_limits"
_VALUES = 4


class Charge(NamedTuple):
    """A cost to be taken from one limit."""

    policy: Policy
    key: bytes
    """The key of its state in the store."""
    cost: int


def script_of_one(terms: Terms, key: bytes, cost: int, mode: int, clock: StoreClock) -> ScriptCall:
    """Return the run of a limit's own script; raises COST_ABOVE_LIMIT. Only a calendar has the clock looked at."""
    check_cost(terms, cost)
    constants = terms.constants if terms.windows is None else terms.constants_at(clock.micros())
    words = (*constants, cost, mode)
    return ScriptCall(terms.script, (key,), words, mode == LOOK, mode == TAKE)


def check_cost(terms: Terms, cost: int) -> None:
    """Raise COST_ABOVE_LIMIT for a cost that no wait could pay, unless it is to be charged all the same."""
    if cost > terms.most and not terms.takes_any_cost:
        raise cost_above_limit(terms.most)


def cost_above_limit(most: int) -> InvalidArgumentError:
    """Return the error for a cost that no wait could pay."""
    return InvalidArgumentError(
        Reason.COST_ABOVE_LIMIT,
        f"the cost is above the policy's limit of {most}, so it could never be allowed",
        field="cost",
        metadata={"limit": str(most)},
    )


def decision_of_one(terms: Terms, reply: Reply) -> Decision:
    """Read what a limit's own script answered."""
    allowed, remaining, retry_after_us, reset_after_us, _ = reply
    return Decision(allowed == 1, terms.most, remaining, retry_after_us, reset_after_us)


class Together:
    """Charges that are made all or nothing, by the script `check_limits`. The constructor raises COST_ABOVE_LIMIT."""

    __slots__ = ("_places", "_terms", "script_call")

    def __init__(self, charges: Sequence[Charge], mode: int, now_us: int) -> None:
        merged: dict[bytes, Charge] = {}
        for charge in charges:
            before = merged.get(charge.key)
            merged[charge.key] = charge if before is None else before._replace(cost=before.cost + charge.cost)
        places = {key: place for place, key in enumerate(merged)}
        self._places = [places[charge.key] for charge in charges]
        self._terms = [terms_of(charge.policy) for charge in merged.values()]
        words: list[int] = [mode]
        for terms, charge in zip(self._terms, merged.values(), strict=True):
            check_cost(terms, charge.cost)
            words += (terms.number, charge.cost, *terms.constants_at(now_us))
        self.script_call = ScriptCall(load(_SCRIPT), tuple(merged), tuple(words), mode == LOOK, mode == TAKE)

    def decisions(self, reply: Reply) -> list[Decision]:
        """Read what the script answered: a decision for each charge, as if it had been the only one."""
        answers = []
        for place, terms in enumerate(self._terms):
            start = 1 + place * _VALUES
            allowed, remaining, retry_after_us, reset_after_us = reply[start : start + _VALUES]
            answers.append(Decision(allowed == 1, terms.most, remaining, retry_after_us, reset_after_us))
        return [answers[place] for place in self._places]
