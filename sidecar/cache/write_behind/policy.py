"""What is configured of a write-behind cache."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sidecar.store.keys import BEHIND_PARTITIONS

CHANGE_LIFE_MS = 31 * 24 * 3600 * 1000
"""For how long a change can be made.

Until then it can be opened where it is sealed; for a day longer an origin keeps its token (`origins/applied.py`).
"""


class Safety(Enum):
    """What the store must have done with a write before it is acknowledged."""

    MEMORY = "memory"
    """It is in the store's memory, and on disk when the store next writes there."""
    FSYNC = "fsync"
    """It is on the store's disk."""
    REPLICAS = "replicas"
    """It is in the memory of so many replicas too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """How safe a write must be, and how long to wait for that."""

    safety: Safety = Safety.MEMORY
    replicas: int = 0
    """How many, with `REPLICAS`."""
    timeout_ms: int = 2_000

    @property
    def waits(self) -> bool:
        """Whether there is anything to wait for."""
        return self.safety is not Safety.MEMORY


@dataclass(frozen=True, slots=True, kw_only=True)
class BehindPolicy:
    """How changes reach the origin."""

    flush_after_ms: int = 1_000
    """For how long a change waits for others, to go in a batch with them, or to be replaced by one of its name."""
    batch: int = 100
    """The most changes that one call of the origin is given."""
    concurrency: int = 4
    """The most calls of the origin at a time, of one process."""
    coalesce: bool = True
    """Whether of the changes of a name that wait only the newest is sent."""
    max_pending: int = 100_000
    max_attempts: int = 10
    """How often the origin may fail at one change, while it does not at others."""
    retry_base_ms: int = 100
    retry_cap_ms: int = 30_000
    lease_ms: int = 10_000
    """For how long a partition stays with an owner that is not heard of."""
    store_timeout_ms: int = 5_000
    """The longest that one call of the origin may take; less than the lease."""
    max_lag_ms: int = 60_000
    """The age of a change that is not stored yet from which on that is a fault, as the metrics say."""
    durability: Durability = Durability()
    change_life_ms: int = CHANGE_LIFE_MS
    """The age from which on a change is not made any more, but a dead letter."""

    @property
    def most_in_partition(self) -> int:
        """The most changes that may be pending in one partition."""
        return -(-self.max_pending // BEHIND_PARTITIONS)
