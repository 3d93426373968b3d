"""What would become of a call, and why: the limits' states in words and numbers, and the answer for several costs.

All of it is looked at in one run of the script of several limits, which takes any of them several times where nothing
is taken. So the answers are of one moment, the store's own, and an explanation changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.beside_holds import limit_words
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.description import Algorithm
from sidecar.ratelimit.terms import terms_of
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.description import LimitDescription, PolicyDescription
    from sidecar.ratelimit.overrides import Override
    from sidecar.ratelimit.policy import Policy
    from sidecar.store.base import Reply

# A call, a page of them, and a batch; the limit stands in for those above it.
_COSTS = (1, 10, 100)

# What the script returns for each look.
_VALUES = 4

_LOOK = 0

_UNITS_US = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000))


class Outcome(NamedTuple):
    """What would happen to a call of some cost."""

    cost: int
    decision: Decision


class LimitState(NamedTuple):
    """One limit as it is now."""

    limit: LimitDescription
    """With the numbers of an override or a tier, where one holds."""
    remaining: int
    reset_after_us: int
    words: str


class Explanation(NamedTuple):
    """What decides on a key, and what would."""

    policy: PolicyDescription
    why: int
    """As in a decision."""
    entry: str
    """The entry of the policy's lists that the key is on; empty if it is on none, or that does not matter."""
    override: tuple[Override, int] | None
    """The override that holds, and for how many microseconds more."""
    store_us: int
    """The store's time; an estimate where the store was not asked."""
    limits: tuple[LimitState, ...]
    """None where the limits do not decide."""
    outcomes: tuple[Outcome, ...]
    tier: str = ""
    """The tier that decides; empty where none does."""


def costs_for(limit: int) -> list[int]:
    """Return the costs to explain: those that could ever be allowed, and the limit in place of those that could not."""
    return sorted({min(cost, limit) for cost in _COSTS})


class Looks:
    """Looks at all limits of a policy for several costs, in one script; beside what is held, if any can be."""

    __slots__ = ("_most", "script_call")

    def __init__(
        self,
        policies: Sequence[Policy],
        keys: Sequence[bytes],
        costs: Sequence[int],
        now_us: int,
        *,
        holds_key: bytes | None = None,
    ) -> None:
        all_terms = [terms_of(policy) for policy in policies]
        self._most = [terms.most for terms in all_terms]
        if holds_key is not None:
            limits = limit_words(policies, now_us)
            beside = [word for cost in costs for word in (len(policies), cost, 1, *limits)]
            all_keys = (*keys, holds_key) * len(costs)
            self.script_call = ScriptCall(load("check_reserved"), all_keys, (_LOOK, *beside), True, False)
            return
        words: list[int] = [_LOOK]
        for cost in costs:
            for terms in all_terms:
                words += (terms.number, cost, *terms.constants_at(now_us))
        self.script_call = ScriptCall(load("check_limits"), tuple(keys) * len(costs), tuple(words), True, False)

    def read(self, reply: Reply) -> tuple[int, list[list[Decision]]]:
        """Return the store's time, and for each cost what each limit decides."""
        store_us, *values = reply
        number = len(self._most)
        decisions = [
            Decision(values[start] == 1, self._most[start // _VALUES % number], *values[start + 1 : start + _VALUES])
            for start in range(0, len(values), _VALUES)
        ]
        return store_us, [decisions[start : start + number] for start in range(0, len(decisions), number)]


def states(limits: Sequence[LimitDescription], decisions: Sequence[Decision]) -> tuple[LimitState, ...]:
    """Return the limits' states, by what they decided."""
    return tuple([
        LimitState(limit, decision.remaining, decision.reset_after_us, in_words(limit, decision))
        for limit, decision in zip(limits, decisions, strict=True)
    ])  # fmt: skip


def in_words(limit: LimitDescription, decision: Decision) -> str:
    """Say how a limit stands, in a sentence."""
    used = limit.limit - decision.remaining
    if limit.algorithm in (Algorithm.TOKEN_BUCKET, Algorithm.GCRA):
        rate = f"{limit.rate_tokens} in {duration_in_words(limit.rate_period_us)}"
        state = f"{decision.remaining} of {limit.limit} can be taken at once, and {rate} come back"
        until = "all of them are back"
    elif limit.algorithm is Algorithm.CONCURRENCY:
        state = f"{used} of {limit.limit} slots are leased"
        until = "if none is renewed, the last lease ends"
    elif limit.algorithm is Algorithm.FIXED_WINDOW:
        calendar = limit.calendar and f"calendar {limit.calendar} ({limit.time_zone})"
        window = calendar or f"window of {duration_in_words(limit.window_us)}"
        state = f"{used} of {limit.limit} are used in this {window}"
        until = "the next window begins"
    else:
        state = f"{used} of {limit.limit} are used in the last {duration_in_words(limit.window_us)}"
        until = "the last of them has left the window"
    if not decision.reset_after_us:
        return f"{state}."
    return f"{state}; {until} in {duration_in_words(decision.reset_after_us)}."


def duration_in_words(duration_us: int) -> str:
    """Return a duration by its two largest units, rounded up: `1h 30m`, `2ms`."""
    parts: list[str] = []
    for place, (unit, length_us) in enumerate(_UNITS_US):
        if duration_us < length_us and unit != "ms":
            continue
        if place + 1 < len(_UNITS_US):
            next_unit, next_us = _UNITS_US[place + 1]
            smaller = -(-duration_us // next_us)
            whole, rest = divmod(smaller, length_us // next_us)
            parts = [f"{whole}{unit}"] + ([f"{rest}{next_unit}"] if rest else [])
        else:
            parts = [f"{-(-duration_us // length_us)}{unit}"]
        break
    return " ".join(parts)
