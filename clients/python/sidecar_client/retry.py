"""When a failed call is repeated, and after how long.

A call is *repeatable* when a second execution does no harm: a read, or a write with an idempotency key. Of the
failures, only those pass by themselves:

- UNAVAILABLE: the sidecar restarts, or its store fails over;
- OVERLOADED: the sidecar refused the call before it began;
- OUTCOME_UNKNOWN: whether the write was applied is unknown, and with its key the question does not matter.

A call that is not repeatable is never sent twice, even where the failure itself says that nothing was written:
whether it arrived, a broken connection does not tell. `check` of a rate limit is such a call: sent twice, it may take
its cost twice.

The wait doubles with each attempt and is drawn at random from nothing to that ("full jitter": Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015), so that callers who failed together do not return together. A
RetryInfo from the sidecar is waited for in full, with the drawn time on top. A wait that would outlast the call's
deadline is not begun: the caller gets the error now and not later.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from sidecar_client.durations import ZERO
from sidecar_client.errors import OUTCOME_UNKNOWN, OVERLOADED, SidecarError

_PASSING_REASONS = frozenset({OVERLOADED, OUTCOME_UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently to repeat; `max_attempts=1` repeats nothing."""

    # The first call and two more: a failure that outlives three is an outage, and more calls would only feed it.
    max_attempts: int = 3
    # About the time that the sidecar's pool takes to connect anew on the same host.
    first_backoff_s: float = 0.05
    max_backoff_s: float = 1.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts must be at least 1: the call itself is one")


def passes_by_itself(error: SidecarError) -> bool:
    """Say whether the same call may well succeed a little later."""
    return error.code is grpc.StatusCode.UNAVAILABLE or error.reason in _PASSING_REASONS


def next_wait(
    error: SidecarError, *, policy: RetryPolicy, attempts: int, repeatable: bool, remaining_s: float, draw: float
) -> float | None:
    """Return the seconds to wait before the next attempt, None to give up.

    `attempts` is how many were made, `remaining_s` the time until the deadline, `draw` a random number in [0, 1).
    """
    if not repeatable or attempts >= policy.max_attempts or not passes_by_itself(error):
        return None
    ceiling_s = min(policy.max_backoff_s, policy.first_backoff_s * 2 ** (attempts - 1))
    wait_s = (error.retry_after or ZERO).total_seconds() + draw * ceiling_s
    return wait_s if wait_s < remaining_s else None
