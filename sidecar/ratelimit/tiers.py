"""Tiers: other numbers for the callers of a policy, by what they are: free, paying, one's own staff.

The configuration has the numbers of each tier, and each call names the tier of its caller. Whoever makes the call knows
that anyhow, from a token or an account; the sidecar neither stores it nor believes anybody but its own callers. A call
that names none is held to the policy's own numbers. One that names a tier that the policy does not have ends with
TIER_UNKNOWN, and not with the policy's own numbers: a tier that is misspelt would else never be noticed.

**What comes first.** Of all that is said about a key the narrowest decides: an override, which is for this one key
until a time; then the policy's lists, denied before unlimited; then the tier; then the policy itself, with its
`unlimited`, its limit of 0, and its numbers.

**One state.** A key has one state, whichever tier it is asked for with. A window's count is the same for all. A bucket
keeps its whole tokens up to the burst of who asks, and fills at the rate of who asks for the time since it was asked
before. So a caller whose tier goes up has the tokens that it had, and not a new burst. What is no state, a full bucket
or an empty window, is so for every tier. docs/adr/0019-buckets-keep-tokens-not-shares.md says why, and what follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason, unknown_name
from sidecar.ratelimit.exceptions import Exempted, Why
from sidecar.ratelimit.limits import renumbered
from sidecar.ratelimit.overrides import Effect, Numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sidecar.ratelimit.limits import Limit
    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.ratelimit.stand_in import StandIns

_EXEMPTS = {Effect.UNLIMITED: Why.TIER_UNLIMITED, Effect.DENIED: Why.TIER_DENIED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """What holds for the callers of one tier in place of the policy's own numbers."""

    name: str
    effect: Effect
    numbers: tuple[Numbers, ...] = ()


class Ready(NamedTuple):
    """A tier, made ready for its calls."""

    limit: Limit
    exempted: Exempted | None
    """What decides in the limit's place; None where the limit does."""


class Tiers:
    """The tiers of one policy."""

    __slots__ = ("_ready",)

    def __init__(self, ready: Mapping[str, Ready]) -> None:
        self._ready = ready

    def find(self, name: str) -> Ready:
        """Return a tier; raises TIER_UNKNOWN."""
        found = self._ready.get(name)
        if found is None:
            raise tier_unknown(name, self._ready)
        return found


def made_ready(
    policy: Policy | CombinedPolicy, tiers: Iterable[Tier], limit: Limit, stand_ins: StandIns | None
) -> Tiers:
    """Return the tiers of a policy whose own limit is ready; raises OVERRIDE_INVALID where numbers do not fit."""
    ready: dict[str, Ready] = {}
    for tier in tiers:
        if tier.effect is not Effect.NUMBERS:
            ready[tier.name] = Ready(limit, Exempted(_EXEMPTS[tier.effect], ""))
            continue
        own = renumbered(policy, tier.numbers, limit, Why.TIER_LIMITS, stand_ins)
        # Of several limits one may be 0, and the tier leaves it so.
        ready[tier.name] = Ready(own, None) if own.most else Ready(limit, Exempted(Why.TIER_DENIED, ""))
    return Tiers(ready)


def tier_unknown(name: str, known: Iterable[str] = ()) -> InvalidArgumentError:
    """Return the error for a tier that a policy does not have."""
    metadata = unknown_name("tier", name, known)
    return InvalidArgumentError(
        Reason.TIER_UNKNOWN, "the policy has no tier of that name", field="tier", metadata=metadata
    )
