"""Overrides: other limits for single keys, set while the sidecars run, for a time.

They are one hash in the store, small and read whole. Every sidecar asks for its version twice a second, and reads it
when that has changed; the one that makes a change reads it at once. So a change is in force everywhere within a second,
and a call pays nothing for it: a policy has its overrides at hand, and one without any looks for none.

An override ends by the store's clock, as the sidecar estimates it, whether or not the store can be reached. While it
cannot, those that are known stay in force until they end. One whose numbers do not fit its policy any more, since that
was changed, has no effect.

Rejected: a message to all (Pub/Sub), which is lost when a connection breaks, so that the version would have to be asked
for all the same; and to have the scripts look the override up, which would cost each call of every policy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason
from sidecar.ratelimit.policy import CombinedPolicy, GcraPolicy, TokenBucketPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.ratelimit.policy import Policy

# All of them are read whole by every sidecar, at 100 to 700 bytes each.
MOST_OVERRIDES = 1_000

# A shorter one would have ended before all sidecars know of it; a longer one belongs into the configuration.
SHORTEST_MS = 1_000
LONGEST_MS = 31 * 86_400 * 1_000


class Effect(Enum):
    """What an override does; the value stands in the store."""

    UNLIMITED = "unlimited"
    DENIED = "denied"
    NUMBERS = "numbers"


class Numbers(NamedTuple):
    """Other numbers for one limit; 0 leaves one as it is."""

    name: str
    """The limit's name in a policy of several; empty for the only one."""
    limit: int
    """A bucket's burst, or what a window may hold."""
    rate_tokens: int = 0
    rate_period_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What holds for one key of a policy in place of its rules and limits."""

    policy: str
    key: str
    effect: Effect
    numbers: tuple[Numbers, ...] = ()
    ends_us: int = 0
    """By the store's clock; 0 for one that has not been stored."""

    @property
    def field(self) -> bytes:
        """Its field in the store's hash: no policy's name holds a colon."""
        return f"{self.policy}:{self.key}".encode()

    @property
    def text(self) -> bytes:
        """What it says, as it is stored."""
        return json.dumps({"effect": self.effect.value, "numbers": self.numbers}, separators=(",", ":")).encode()


def from_stored(field: bytes, value: bytes) -> Override | None:
    """Return a stored override, None for what is none, such as one of a newer sidecar."""
    try:
        policy, _, key = field.decode().partition(":")
        ends_us, _, text = value.decode().partition(":")
        said = json.loads(text)
        numbers = tuple([Numbers(str(name), *map(int, rest)) for name, *rest in said["numbers"]])
        return Override(policy=policy, key=key, effect=Effect(said["effect"]), numbers=numbers, ends_us=int(ends_us))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def overridden(policy: Policy | CombinedPolicy, numbers: Sequence[Numbers]) -> Policy | CombinedPolicy:
    """Return a policy with other numbers; raises OVERRIDE_INVALID where they do not fit its limits."""
    if not numbers:
        raise _invalid("numbers are missing", "numbers.limits")
    if not isinstance(policy, CombinedPolicy):
        if len(numbers) > 1 or numbers[0].name:
            raise _invalid("the policy has one limit, which has no name", "numbers.limits")
        return _renumbered(policy, numbers[0], "numbers.limits[0]")
    limits = {limit.name: limit for limit in policy.limits}
    given: set[str] = set()
    for place, own in enumerate(numbers):
        field = f"numbers.limits[{place}]"
        if own.name not in limits:
            raise _invalid("the policy has no limit of that name", f"{field}.name")
        if own.name in given:
            raise _invalid("the limit is given twice", f"{field}.name")
        given.add(own.name)
        limits[own.name] = _renumbered(limits[own.name], own, field)
    return replace(policy, limits=tuple(limits.values()))


def by_policy(overrides: Sequence[Override]) -> Mapping[str, list[Override]]:
    """Return overrides by the name of their policy."""
    found: dict[str, list[Override]] = {}
    for override in overrides:
        found.setdefault(override.policy, []).append(override)
    return found


def _renumbered(policy: Policy, numbers: Numbers, field: str) -> Policy:
    has_rate = bool(numbers.rate_tokens or numbers.rate_period_us)
    if not (numbers.limit or has_rate):
        raise _invalid("no number is given", field)
    try:
        if isinstance(policy, TokenBucketPolicy | GcraPolicy):
            return replace(
                policy,
                burst=numbers.limit or policy.burst,
                tokens=numbers.rate_tokens or policy.tokens,
                period_us=numbers.rate_period_us or policy.period_us,
            )
        if has_rate:
            raise _invalid("the limit has a window, and no rate", f"{field}.rate_tokens")
        return replace(policy, limit=numbers.limit or policy.limit)
    except ValueError as error:
        raise _invalid(str(error), field) from None


def check_lasting(lasts_ms: int | None) -> int:
    """Return how long an override lasts, in milliseconds; raises OVERRIDE_EXPIRY, also for None, which is missing."""
    if lasts_ms is None or not SHORTEST_MS <= lasts_ms <= LONGEST_MS:
        raise InvalidArgumentError(
            Reason.OVERRIDE_EXPIRY,
            "an override needs an end, from a second to 31 days from now",
            field="expires_after",
            metadata={"min_ms": str(SHORTEST_MS), "max_ms": str(LONGEST_MS)},
        )
    return lasts_ms


def _invalid(message: str, field: str) -> InvalidArgumentError:
    return InvalidArgumentError(Reason.OVERRIDE_INVALID, message, field=field)
