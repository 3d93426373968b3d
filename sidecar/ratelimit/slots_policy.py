"""What a concurrency limit is: how many slots there are, and how long a silent holder may keep one."""

from __future__ import annotations

from dataclasses import dataclass

# Each lease is an entry of 100 to 200 bytes in one key of the store. When all end at once, one call drops all of them,
# and a refusal reads as many as slots are missing: at ten thousand that is two megabytes, and a hundredth of a second
# in which the store serves nobody else.
MAX_SLOTS = 10_000

# A lease must outlive the way to the store and back, also on a bad day.
MIN_LEASE_MS = 10

# What a dead holder had stays taken for as long as its lease: after a day, something else is needed than a lease.
MAX_LEASE_MS = 86_400_000

DEFAULT_LEASE_MS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyPolicy:
    """At most `limit` slots leased at a time. Raises ValueError with a sentence."""

    name: str
    limit: int
    lease_ms: int = DEFAULT_LEASE_MS
    """How long a lease is if the caller does not say."""
    max_lease_ms: int = DEFAULT_LEASE_MS
    """The most that a caller may ask for."""

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_SLOTS:
            raise ValueError(f"limit must be from 1 to {MAX_SLOTS}, not {self.limit}")
        if not MIN_LEASE_MS <= self.lease_ms <= MAX_LEASE_MS:
            raise ValueError(f"lease must be from {MIN_LEASE_MS} to {MAX_LEASE_MS} ms, not {self.lease_ms}")
        if not self.lease_ms <= self.max_lease_ms <= MAX_LEASE_MS:
            raise ValueError(
                f"max_lease must be from the lease ({self.lease_ms}) to {MAX_LEASE_MS} ms, not {self.max_lease_ms}"
            )
