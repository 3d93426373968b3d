"""What a policy says beside its limits: for whom they do not count, what is never let through, and what is only tried.

Where no override holds for the key (`overrides.py`), three questions are asked in this order, each answered without the
store (a tier that the call names comes between the lists and the rest: `tiers.py`):

1. Is the key on the list of those denied? A person who put it there meant it, also where a prefix lets others through.
2. Is it on the list of those that are unlimited, or is the whole policy?
3. Is the policy's limit 0, which denies all others?

Whoever passes all three is limited as usual. An entry of a list is a key, or a prefix with an asterisk at its end;
a look takes as long for a thousand keys as for one, and about ten microseconds for a thousand prefixes.

**Shadow mode** lets everything through: the policy counts as usual, and its answer says what it would have refused. A
refusal takes nothing, in shadow too, so what a shadowed policy would refuse is what it will refuse when it is no longer
one: if it took the cost of what it let through, a bucket would be in debt that the live one never has.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.decision import Decision, Enforcement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.ratelimit.reservations_policy import ReservationsPolicy
    from sidecar.ratelimit.tiers import Tier
    from sidecar.telemetry.metrics import Cell

# What an entry that is a prefix ends in.
ANY = "*"


class Why(IntEnum):
    """What decided, if not the policy's limits; the value is its number in the protocol."""

    LIMITS = 0
    UNLIMITED = 1
    UNLIMITED_KEY = 2
    DENIED = 3
    DENIED_KEY = 4
    OVERRIDE_UNLIMITED = 5
    OVERRIDE_DENIED = 6
    OVERRIDE_LIMITS = 7
    TIER_UNLIMITED = 8
    TIER_DENIED = 9
    TIER_LIMITS = 10


BY_TIER = frozenset({Why.TIER_UNLIMITED, Why.TIER_DENIED, Why.TIER_LIMITS})
_ALLOWS = frozenset({Why.UNLIMITED, Why.UNLIMITED_KEY, Why.OVERRIDE_UNLIMITED, Why.TIER_UNLIMITED})
_BY_LIMITS = frozenset({Why.LIMITS, Why.OVERRIDE_LIMITS, Why.TIER_LIMITS})
# Of these nobody knows what is used.
_UNCOUNTED = frozenset({Enforcement.FAILED_OPEN, Enforcement.FAILED_CLOSED})


class Exempted(NamedTuple):
    """A key for which the limits do not count."""

    why: Why
    entry: str
    """The entry of the list that it is on, as it is written; empty where the whole policy is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a policy says beside its limits. Lists, not sets: their text is part of the policy's version."""

    unlimited: bool = False
    unlimited_keys: tuple[str, ...] = ()
    denied_keys: tuple[str, ...] = ()
    shadow: bool = False
    near_limit: float | None = None
    """The share of a limit from which on what is allowed counts as near to it."""
    tiers: tuple[Tier, ...] = ()
    candidate: Policy | CombinedPolicy | None = None
    """What is tried beside the policy's own limits (`candidate.py`)."""
    reservations: ReservationsPolicy | None = None
    """How costs may be held that are known only afterwards; None: not at all."""


NO_RULES = Rules()


class KeyList:
    """Keys and prefixes."""

    __slots__ = ("_keys", "_prefixes")

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self._keys = frozenset(entry for entry in entries if not entry.endswith(ANY))
        self._prefixes = tuple(entry.removesuffix(ANY) for entry in entries if entry.endswith(ANY))

    def entry_of(self, key: str) -> str | None:
        """Return the entry that a key is on, the key itself before the first of the prefixes; None if it is on none."""
        if key in self._keys:
            return key
        if not key.startswith(self._prefixes):
            return None
        return next(prefix for prefix in self._prefixes if key.startswith(prefix)) + ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Where a policy's decisions are counted, each once; those near the limit again."""

    allowed: Cell
    denied: Cell
    shadow_denied: Cell
    near_limit: Cell


class Ruled:
    """The rules of one policy, made ready for its calls."""

    __slots__ = ("_denied_keys", "_denies_all", "_near", "_outcomes", "_rules", "_unlimited_keys")

    def __init__(self, rules: Rules, *, limit: int, outcomes: Outcomes) -> None:
        self._rules = rules
        self._denies_all = limit == 0
        self._denied_keys = KeyList(rules.denied_keys)
        self._unlimited_keys = KeyList(rules.unlimited_keys)
        # As it is written: 0.7 of ten is seven, which a float is a little above of.
        self._near = None if rules.near_limit is None else Fraction(str(rules.near_limit))
        self._outcomes = outcomes

    @property
    def shadow(self) -> bool:
        """Whether the policy refuses nothing."""
        return self._rules.shadow

    @property
    def reservations(self) -> ReservationsPolicy | None:
        """How costs may be held; None: not at all."""
        return self._rules.reservations

    def listed(self, key: str) -> Exempted | None:
        """Return what a list says of a key; None if it is on none."""
        entry = self._denied_keys.entry_of(key)
        if entry is not None:
            return Exempted(Why.DENIED_KEY, entry)
        entry = self._unlimited_keys.entry_of(key)
        if entry is not None:
            return Exempted(Why.UNLIMITED_KEY, entry)
        return None

    def exempted(self, key: str) -> Exempted | None:
        """Return what decides on a key in place of the policy's own limits; None if these do."""
        listed = self.listed(key)
        if listed is not None:
            return listed
        if self._rules.unlimited:
            return Exempted(Why.UNLIMITED, "")
        return Exempted(Why.DENIED, "") if self._denies_all else None

    def told(self, decision: Decision) -> Decision:
        """Return what the caller is told: in shadow mode a yes in place of a no."""
        if decision.allowed or not self._rules.shadow:
            return decision
        return decision._replace(allowed=True, retry_after_us=0, shadow_denied=True)

    def count(self, told: Decision) -> None:
        """Count what a caller was told."""
        outcomes = self._outcomes
        if told.shadow_denied:
            outcomes.shadow_denied.value += 1
        elif told.allowed:
            outcomes.allowed.value += 1
            if self._near is not None and is_near(told, self._near):
                outcomes.near_limit.value += 1
        else:
            outcomes.denied.value += 1


def exempt(why: Why, limit: int) -> Decision:
    """Return the decision on a key for which the limits do not count: nothing was taken, and no wait changes it."""
    allows = why in _ALLOWS
    return Decision(allows, limit, limit if allows else 0, 0, 0, why=why)


def is_near(decision: Decision, share: Fraction) -> bool:
    """Return whether so large a share of a limit is used, or more; of several limits, of any."""
    if decision.why not in _BY_LIMITS or decision.enforcement in _UNCOUNTED:
        return False
    each = decision.limits or (decision,)
    return any(one.limit - one.remaining >= share * one.limit for one in each)


def needed(rules: Rules, limit: int) -> bool:
    """Return whether a policy's calls need look at its rules at all."""
    return rules != NO_RULES or limit == 0
