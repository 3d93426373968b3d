"""A circuit breaker: it leaves alone what fails, and tries now and then whether it is back. Pure; time is an argument.

Problem. An origin that is down or hangs costs each caller the time-out, and the callers' number keeps it down.

Algorithm (M. Nygard, "Release It!", 2007). *Closed*, all calls pass; so many failures in a row, the first and the last
within a window, open it. *Open*, none passes, for a pause, longer at random so that the workers of a fleet do not come
back in step. Then, *half-open*, one call passes, the probe: its success closes the breaker, its failure opens it anew.

In a row: a success between them clears the count. An origin that fails one call in a hundred is served by the error
that its caller gets; to be cut off for that would turn one error into hundreds. What answers wrongly or refuses is
there, and counts as a success. A call that nobody waits for any more counts as neither.

A call that began before the breaker last changed says nothing about the origin now. Each call's leave is the number of
the breaker's changes when it began, and what comes with another number is not heard.

Rejected: a share of failures over a sliding window. It needs a second number, the fewest calls that a share is taken
of, and opens no sooner in an outage, where all calls fail.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# The pause is up to this share longer.
_JITTER: Final = 0.5
# While the probe is under way its end is not known; who asks again so soon finds out.
_PROBE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When to leave an origin alone, and for how long; times in seconds."""

    failures: int = 5
    window: float = 10.0
    pause: float = 2.0


class State(Enum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """The breaker of one origin. `now` is monotonic seconds and never goes back; `draw` gives numbers in [0, 1)."""

    __slots__ = ("_changes", "_draw", "_failures", "_is_probed", "_opens_until", "_policy", "state")

    def __init__(self, policy: BreakerPolicy, draw: Callable[[], float]) -> None:
        self._policy = policy
        self._draw = draw
        self._failures: deque[float] = deque(maxlen=policy.failures)
        self._opens_until = 0.0
        self._is_probed = False
        self._changes = 0
        self.state = State.CLOSED

    def wait(self, now: float) -> float:
        """Return the seconds until it is worth while to ask again; 0 if a call may pass now."""
        if self.state is State.OPEN and now >= self._opens_until:
            self._change(State.HALF_OPEN)
        if self.state is State.OPEN:
            return self._opens_until - now
        return _PROBE_SECONDS if self._is_probed else 0.0

    def begin(self, now: float) -> int | None:
        """Let a call pass, and return its leave; None if it may not."""
        if self.wait(now) > 0:
            return None
        self._is_probed = self.state is State.HALF_OPEN
        return self._changes

    def succeed(self, leave: int) -> None:
        """Hear that the call of a leave was answered."""
        if leave != self._changes:
            return
        self._failures.clear()
        if self.state is State.HALF_OPEN:
            self._change(State.CLOSED)

    def fail(self, leave: int, now: float) -> None:
        """Hear that it was not."""
        if leave != self._changes:
            return
        if self.state is State.CLOSED:
            self._failures.append(now)
            if len(self._failures) < self._policy.failures or now - self._failures[0] > self._policy.window:
                return
        self._failures.clear()
        self._opens_until = now + self._policy.pause * (1 + _JITTER * self._draw())
        self._change(State.OPEN)

    def abandon(self, leave: int) -> None:
        """Hear that nobody waited for its end; if it was the probe, another may be."""
        if leave == self._changes:
            self._is_probed = False

    def _change(self, state: State) -> None:
        self.state = state
        self._is_probed = False
        self._changes += 1
