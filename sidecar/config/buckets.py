"""The settings of buckets: their rate, and how long they may take to fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from sidecar.config.findings import Finding
from sidecar.config.quantities import Duration, Rate
from sidecar.config.words import AfterValidator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.problems import Path

# A bucket that takes longer to fill is a slip of the pen; and all times stay below 2^53 microseconds.
_MAX_REFILL = Duration.parse("3650d")


def _check_rate(rate: Rate) -> Rate:
    # The script counts in millionths of a token and microseconds; beyond a token a microsecond it has no finer step.
    if rate.amount < 1:
        raise ValueError(f"{rate} is below the least allowed, 1/d")
    if rate.amount * 1000 > 1_000_000 * rate.per_ms:
        raise ValueError(f"{rate} is above the most allowed, 1000000/s")
    return rate


TokenRate = Annotated[Rate, AfterValidator(_check_rate)]


def slow_refill(path: Path, rate: Rate, burst: int) -> Iterator[Finding]:
    """Return what is wrong with a bucket that takes too long to fill."""
    refill = Duration(burst * rate.per_ms // rate.amount)
    if refill > _MAX_REFILL:
        yield Finding(
            (*path, "burst"),
            f"at {rate} the bucket takes {refill.ms // 86_400_000} days to fill, above the most "
            f"allowed ({_MAX_REFILL})",
            ((*path, "rate"),),
        )
