"""The settings of tiers, and the rules that tie them to the limits of their policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.buckets import TokenRate, slow_refill
from sidecar.config.findings import Finding
from sidecar.config.section import Count, Name, Section, Switch
from sidecar.config.words import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.policies import CheckedSettings
    from sidecar.config.problems import Path

# A log takes 14 bytes for each call.
_MOST_LOGGED = 10_000


class TierNumbers(Section):
    """Other numbers for one limit; what is null is the policy's."""

    limit: Count | None = Field(
        None, ge=1, le=1_000_000_000, description="Most that a window may hold. 1 to 1000000000. Null: the policy's."
    )
    rate: TokenRate | None = Field(
        None, description="Tokens gained per s, m, h or d by a bucket. 1/d to 1000000/s. Null: the policy's."
    )
    burst: Count | None = Field(
        None, ge=1, le=1_000_000_000, description="Most tokens a bucket holds. 1 to 1000000000. Null: the policy's."
    )


class TierSettings(TierNumbers):
    """What holds for the callers of one tier in place of the policy's own numbers."""

    limit: Count | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        description="Most that a window may hold; 0 refuses everything, whatever the algorithm. 0 to 1000000000. "
        "Null: the policy's.",
    )
    unlimited: Switch = Field(False, description="Let every key through, without asking the store.")
    limits: dict[Name, TierNumbers] = Field(
        {},
        json_schema_extra={"additionalProperties": False},
        description="Other numbers for some of the `limits` of a policy that has these, by name.",
    )

    @property
    def denied(self) -> bool:
        """Whether the tier refuses everything."""
        return self.limit == 0


def tier_rules(path: Path, policy: CheckedSettings) -> Iterator[Finding]:
    """Return what is wrong with a policy's tiers."""
    if policy.tiers and policy.cache_refusals:
        yield Finding(
            (*path, "cache_refusals"),
            "cannot be with tiers: what one of them is refused says nothing of another",
            ((*path, "tiers"),),
        )
    for name, tier in policy.tiers.items():
        yield from _tier((*path, "tiers", name), tier, policy)


def _tier(path: Path, tier: TierSettings, policy: CheckedSettings) -> Iterator[Finding]:
    given = [key for key in ("limit", "rate", "burst", "limits") if getattr(tier, key) not in (None, {})]
    if tier.unlimited or tier.denied:
        others = [key for key in given if key != "limit" or not tier.denied]
        if tier.unlimited and tier.denied:
            yield Finding((*path, "unlimited"), "contradicts a limit of 0, which refuses everything")
        why = "is unlimited" if tier.unlimited else "has a limit of 0"
        for key in others:
            yield Finding((*path, key), f"has no use where the tier {why}")
    elif not given:
        yield Finding(path, "says nothing; give other numbers, `unlimited`, or a `limit` of 0")
    else:
        yield from _numbers(path, tier, policy, given)


def _numbers(path: Path, tier: TierSettings, policy: CheckedSettings, given: list[str]) -> Iterator[Finding]:
    parts: dict[str, CheckedSettings] = getattr(policy, "limits", {})
    if not parts:
        if tier.limits:
            yield Finding((*path, "limits"), "the policy has one limit, without a name")
        yield from _of_one(path, tier, policy)
        return
    for key in given:
        if key != "limits":
            yield Finding((*path, key), "the policy has several limits; name them below `limits`")
    for name, numbers in tier.limits.items():
        part = parts.get(name)
        if part is None:
            yield Finding((*path, "limits", name), "the policy has no limit of that name")
        else:
            yield from _of_one((*path, "limits", name), numbers, part)


def _of_one(path: Path, numbers: TierNumbers, policy: CheckedSettings) -> Iterator[Finding]:
    rate, burst = getattr(policy, "rate", None), getattr(policy, "burst", None)
    if rate is None or burst is None:
        for key in ("rate", "burst"):
            if getattr(numbers, key) is not None:
                yield Finding((*path, key), "is for buckets; the limit of the policy has a window: give `limit`")
        if getattr(policy, "algorithm", "") == "sliding_log" and (numbers.limit or 0) > _MOST_LOGGED:
            yield Finding((*path, "limit"), f"is above the most for a sliding log ({_MOST_LOGGED})")
        return
    if numbers.limit:
        yield Finding((*path, "limit"), "is for windows; the limit of the policy is a bucket: give `rate` and `burst`")
    yield from slow_refill(path, numbers.rate or rate, numbers.burst or burst)
