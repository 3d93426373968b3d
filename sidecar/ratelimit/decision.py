"""What a rate limit answers, and how the answers of several limits are one."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


# What is said to be the overshoot where there is no bound to it: the most that the answer's field holds.
UNBOUNDED = 2**64 - 1


class Enforcement(Enum):
    """What a decision rests on; the value is its number in the API."""

    STORE = 1
    """The store's count of all sidecars."""
    FAILED_OPEN = 2
    """Nothing: the store is gone, and all is allowed."""
    FAILED_CLOSED = 3
    """Nothing: the store is gone, and all is refused."""
    LOCAL_SHARE = 4
    """This process's own count, of a share of the limit: the store is gone."""
    LEASE = 5
    """Tokens that this process has borrowed from the store's count."""


class LimitStatus(NamedTuple):
    """What one of several limits says; durations in microseconds, at most 2^53-1."""

    name: str
    allowed: bool
    limit: int
    remaining: int
    retry_after_us: int
    reset_after_us: int


class Decision(NamedTuple):
    """The answer to a Check or a Peek; durations in microseconds, at most 2^53-1."""

    allowed: bool
    limit: int
    """The most that can be taken at once."""
    remaining: int
    retry_after_us: int
    """How long until the same cost could be allowed; 0 if it was."""
    reset_after_us: int
    """How long until all of the limit is there again, if nothing more is taken."""
    limits: tuple[LimitStatus, ...] = ()
    """What each limit says, of a policy that has several. `limit`, `remaining` and `reset_after_us` are then those of
    the tightest: the one of which least remains."""
    why: int = 0
    """What decided in place of the limits (`exceptions.Why`); 0 where they did."""
    shadow_denied: bool = False
    """Whether it is allowed only because the policy is in shadow mode."""
    enforcement: Enforcement = Enforcement.STORE
    max_overshoot: int = 0
    """The most above the limit that decisions of this kind may have let through; `UNBOUNDED` for no bound."""


def combined(names: Sequence[str], decisions: Sequence[Decision]) -> Decision:
    """Return what several limits decide together: they allow what all allow, after the longest wait of any."""
    tightest = min(decisions, key=_slack)
    return Decision(
        allowed=all(decision.allowed for decision in decisions),
        limit=tightest.limit,
        remaining=tightest.remaining,
        retry_after_us=max(decision.retry_after_us for decision in decisions),
        reset_after_us=tightest.reset_after_us,
        limits=tuple(
            [LimitStatus(name, *decision[:5]) for name, decision in zip(names, decisions, strict=True)],
        ),
    )


def _slack(decision: Decision) -> tuple[int, int]:
    """Order by what remains; of those of which as much does, the one that is whole again last comes first."""
    return decision.remaining, -decision.reset_after_us
