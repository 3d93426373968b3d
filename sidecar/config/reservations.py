"""Reservations of a rate limit policy: settings, and what contradicts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from sidecar.config.findings import Finding
from sidecar.config.quantities import Duration, Lasting
from sidecar.config.section import Count, Section
from sidecar.config.words import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.policies import CheckedSettings
    from sidecar.config.problems import Path


class ReservationSettings(Section):
    """Costs that are known only afterwards: held by Reserve, charged by Commit. Not for one of several `limits`."""

    ttl: Annotated[Duration, Lasting("10ms", "1d")] = Field(
        Duration(30_000),
        description="Time after which a reservation that was neither committed nor cancelled ends, when the caller "
        "names none. 10ms to 1d.",
    )
    max_ttl: Annotated[Duration, Lasting("10ms", "1d")] | None = Field(
        None,
        description="Longest time that a caller may ask for: for so long what a dead caller reserved may stay taken. "
        "10ms to 1d; at least `ttl`. Null: `ttl` itself.",
    )
    max_held: Count = Field(
        1_000,
        ge=1,
        le=10_000,
        description="Most reservations that a key may have at a time; each takes 100 to 200 bytes. 1 to 10000.",
    )

    @property
    def longest_ttl(self) -> Duration:
        """The most that a caller may ask for."""
        return self.ttl if self.max_ttl is None else self.max_ttl


def reservation_rules(path: Path, policy: CheckedSettings) -> Iterator[Finding]:
    """Return what contradicts a policy's reservations."""
    settings = policy.reservations
    if settings is None:
        return
    own = (*path, "reservations")
    if settings.ttl > settings.longest_ttl:
        yield Finding((*own, "ttl"), f"{settings.ttl} is above max_ttl ({settings.longest_ttl})", ((*own, "max_ttl"),))
    if policy.cache_refusals:
        yield Finding(
            (*path, "cache_refusals"),
            "contradicts reservations, which make room before `retry_after` when they are committed or cancelled",
            (own,),
        )
    if policy.lease is not None:
        yield Finding(
            (*path, "lease"),
            "cannot be with reservations: who spends what was lent knows nothing of what is held meanwhile",
            (own,),
        )
    if policy.candidate is not None:
        yield Finding(
            (*path, "candidate"),
            "cannot be with reservations: it would not be charged with what these come to",
            (own,),
        )
    if policy.unlimited:
        yield Finding(own, "has no use where all keys are `unlimited`", ((*path, "unlimited"),))
