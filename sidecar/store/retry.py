"""When to try again, and how often: back-off for connections, a budget for commands. Pure; time is an argument.

Back-off is exponential with full jitter: the n-th wait is uniform between 0 and min(cap, base * 2^n). Without the
jitter all sidecars of a cluster would come back in step and knock the restarted server over again (M. Brooker,
"Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

A retry budget caps what retries add to the load, whatever the callers do: each call earns a fraction of a retry, and a
small steady rate keeps single retries possible on a quiet sidecar. A per-call maximum alone multiplies the load exactly
when the store is weakest.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The waits between attempts to connect."""

    base_ms: int = 10
    cap_ms: int = 500

    def delay_seconds(self, attempt: int, draw: float | None = None) -> float:
        """Return the wait after the failed `attempt` (0, 1, ...), for a `draw` in [0, 1) or a random one."""
        share = random.random() if draw is None else draw  # noqa: S311 (spreading load, no secret)
        # 2^20 ms is 17 minutes: beyond any cap, and the shift stays small.
        return share * min(self.cap_ms, self.base_ms << min(attempt, 20)) / 1000


class RetryBudget:
    """A token bucket of retries, filled by calls and by time."""

    # Ten seconds' worth of the steady rate may gather: enough for a burst after a failover, soon spent in an outage.
    _RESERVE_SECONDS = 10

    __slots__ = ("_calls", "_per_second", "_ratio", "_seen_at", "_tokens")

    def __init__(self, *, ratio: float, per_second: float, now: float) -> None:
        self._ratio = ratio
        self._per_second = per_second
        self._seen_at = now
        self._calls = 0
        self._tokens = per_second

    def withdraw(self, *, calls: int, now: float) -> bool:
        """Take one retry if there is one; `calls` counts all calls so far, `now` is monotonic seconds."""
        earned = (calls - self._calls) * self._ratio + (now - self._seen_at) * self._per_second
        # What calls earn may gather too, but no further than one reserve: an hour of good weather buys no storm.
        reserve = self._per_second * self._RESERVE_SECONDS
        self._tokens = min(max(reserve, 1.0), self._tokens + earned)
        self._calls = calls
        self._seen_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
