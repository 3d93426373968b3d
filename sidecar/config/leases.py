"""Rules about leases: which limits can be lent from, and when it is of use."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from sidecar.config.findings import Finding
from sidecar.config.policies import CombinedSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.policies import CheckedSettings
    from sidecar.config.problems import Path

_WINDOW = "a call counts from when it is made, and what was lent would count from when it was lent"
_SEVERAL = "is not for several `limits`: a call takes its cost from all of them or from none, in one step"

_WHY_NOT = {
    "sliding_window": f"is not for a sliding window: {_WINDOW}",
    "sliding_log": f"is not for a sliding log: {_WINDOW}",
    "combined": _SEVERAL,
}


def lease_rules(path: Path, policy: CheckedSettings) -> Iterator[Finding]:
    """Return what is wrong with a policy's lease."""
    if isinstance(policy, CombinedSettings):
        for name, part in policy.limits.items():
            if part.lease is not None:
                yield Finding((*path, "limits", name, "lease"), _SEVERAL)
    lease = policy.lease
    if lease is None:
        return
    algorithm: str = getattr(policy, "algorithm", "")
    if algorithm in _WHY_NOT:
        yield Finding((*path, "lease"), _WHY_NOT[algorithm], ((*path, "algorithm"),))
        return
    if policy.shadow:
        yield Finding(
            (*path, "lease"),
            "is not for a policy in shadow mode: what is lent is refused to others, and would be counted so",
            ((*path, "shadow"),),
        )
    if policy.unlimited:
        yield Finding((*path, "lease"), "has no use where all keys are `unlimited`", ((*path, "unlimited"),))
    size = "burst" if algorithm in {"token_bucket", "gcra"} else "limit"
    limit: int = getattr(policy, size)
    if Fraction(str(lease.max_fraction)) * limit < 1:
        yield Finding(
            (*path, "lease", "max_fraction"),
            f"{lease.max_fraction:g} of {limit} is less than one token, so nothing could be lent",
            ((*path, size),),
        )
