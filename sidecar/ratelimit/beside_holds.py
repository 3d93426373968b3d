"""Charges of policies with reservations: to scripts that count what is held, and from their replies to decisions.

Pure, but for the time that it is given. What a policy without reservations charges goes by `charges.py`, unless it is
to be charged together with one that has some, all or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.ratelimit.charges import LOOK, TAKE, Together, check_cost
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.terms import terms_of
from sidecar.store.base import ScriptCall
from sidecar.store.keys import HOLDS_SUFFIX
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.charges import Charge
    from sidecar.ratelimit.limits import Limit
    from sidecar.ratelimit.policy import Policy
    from sidecar.store.base import Reply

_CHECK = load("check_reserved")

# What the scripts return for each limit.
_VALUES = 4


class Part(NamedTuple):
    """What is to be taken of one policy's key."""

    limit: Limit
    state_key: bytes
    charges: Sequence[Charge]


def charging(parts: Sequence[Part], mode: int, now_us: int) -> Together | BesideHolds:
    """Return the run of the script that charges these all or nothing, or looks; raises COST_ABOVE_LIMIT."""
    if any(part.limit.reservations is not None for part in parts):
        return BesideHolds(parts, mode, now_us)
    return Together([charge for part in parts for charge in part.charges], mode, now_us)


class BesideHolds:
    """As `Together`, by the script `check_reserved`: what is held counts as taken. Raises COST_ABOVE_LIMIT."""

    __slots__ = ("_places", "_policies", "script_call")

    def __init__(self, parts: Sequence[Part], mode: int, now_us: int) -> None:
        # What is asked of a key twice is one call of the sum, as both would else be decided on the same state.
        merged: dict[bytes, Part] = {}
        sums: dict[bytes, int] = {}
        for part in parts:
            merged.setdefault(part.state_key, part)
            sums[part.state_key] = sums.get(part.state_key, 0) + part.charges[0].cost
        words: list[int] = [mode]
        keys: list[bytes] = []
        self._policies: list[Policy] = []
        starts: dict[bytes, int] = {}
        for state_key, part in merged.items():
            starts[state_key] = len(self._policies)
            reserves = part.limit.reservations is not None
            policies = [charge.policy for charge in part.charges]
            for policy in policies:
                check_cost(terms_of(policy), sums[state_key])
            words += (len(policies), sums[state_key], int(reserves), *limit_words(policies, now_us))
            keys += [charge.key for charge in part.charges]
            keys += [state_key + HOLDS_SUFFIX] * reserves
            self._policies += policies
        self._places = [starts[part.state_key] + place for part in parts for place in range(len(part.charges))]
        self.script_call = ScriptCall(_CHECK, tuple(keys), tuple(words), mode == LOOK, mode == TAKE)

    def decisions(self, reply: Reply) -> list[Decision]:
        """Read what the script answered: a decision for each charge, as if it had been the only one."""
        answers = decisions_of(self._policies, reply[1:])
        return [answers[place] for place in self._places]


def limit_words(policies: Sequence[Policy], now_us: int) -> list[int]:
    """Return what the scripts get of limits: for each its number, and its constants."""
    words: list[int] = []
    for policy in policies:
        terms = terms_of(policy)
        words += (terms.number, *terms.constants_at(now_us))
    return words


def decisions_of(policies: Sequence[Policy], values: Sequence[Any]) -> list[Decision]:
    """Return what the scripts say of each limit."""
    return [
        Decision(values[start] == 1, policy.limit, *values[start + 1 : start + _VALUES])
        for start, policy in zip(range(0, len(values), _VALUES), policies, strict=True)
    ]
