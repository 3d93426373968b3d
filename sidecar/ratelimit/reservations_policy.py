"""What a policy says of reservations: for how long a cost is held, and how many holds a key may have."""

from __future__ import annotations

from dataclasses import dataclass

# A hold must outlive the way to the store and back, also on a bad day.
MIN_TTL_MS = 10

# What a dead caller holds stays taken for so long: work that takes longer than a day reserves it in parts.
MAX_TTL_MS = 86_400_000

DEFAULT_TTL_MS = 30_000

# Each hold is an entry or two of 100 to 200 bytes in one key of the store, and a refusal reads as many as have to end
# before there is room: ten thousand are two megabytes, and a hundredth of a second or two that others wait for.
MAX_HELD = 10_000

DEFAULT_HELD = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationsPolicy:
    """How costs may be held. Raises ValueError with a sentence."""

    ttl_ms: int = DEFAULT_TTL_MS
    """How long a hold is if the caller does not say."""
    max_ttl_ms: int = DEFAULT_TTL_MS
    """The most that a caller may ask for."""
    max_held: int = DEFAULT_HELD
    """The most holds that a key may have at a time."""

    def __post_init__(self) -> None:
        if not MIN_TTL_MS <= self.ttl_ms <= MAX_TTL_MS:
            raise ValueError(f"ttl must be from {MIN_TTL_MS} to {MAX_TTL_MS} ms, not {self.ttl_ms}")
        if not self.ttl_ms <= self.max_ttl_ms <= MAX_TTL_MS:
            raise ValueError(f"max_ttl must be from the ttl ({self.ttl_ms}) to {MAX_TTL_MS} ms, not {self.max_ttl_ms}")
        if not 1 <= self.max_held <= MAX_HELD:
            raise ValueError(f"max_held must be from 1 to {MAX_HELD}, not {self.max_held}")
