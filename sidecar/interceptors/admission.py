"""How many calls may be in flight: a bound that falls while calls come too late, and rises again when they do not.

Problem. Whatever a sidecar waits for (a store that is slow today, a busy machine) works off so many calls a second.
When more come, they queue, and a fixed bound on their number is right for one speed alone: 1,000 calls in flight are a
twentieth of a second's wait in front of a store that serves 20,000 a second, and five seconds' in front of one that
serves 200. Then every call is begun, and none is finished before its caller has gone.

Algorithm. Calls carry their own measure of what is too late: the deadline. A call is *late* when it took more than a
quarter of the time that it had, and more than 50 ms: a deadline of a few milliseconds, which some callers set for a
cache and now and then miss, tells of their hopes and not of a queue. Ten times a second the calls that ended since are
judged:

- more than one in ten late, and more than `least` were in flight, so that there was a queue: the bound falls to 0.7 of
  what was in flight at most, but not below `least`;
- otherwise, if the bound was reached: it rises by a quarter, at most to `most`.

That is congestion control as TCP has it, but that the rise is a share too: a bound has a range of 1 to 1,000 to cross
within two seconds after a store has recovered. A quarter of the time and not all of it: when the first call is late,
three times as many as that one met have been admitted behind it, and are to end in time too.

How it fails. A store that hangs makes every call late, and the bound falls to `least`: what is refused is told to come
back, which is true, and what is admitted finds out. Calls that wait on purpose are late by design, and must be exempt.
Callers with long deadlines get long queues: they asked for them. Callers who all have deadlines below 50 ms are
protected by `most` alone.

Rejected. A bound on the time that a call spent queueing (CoDel) needs one queue in one place; here calls queue in a
kernel, an event loop, a pool and a store. Little's law (in flight, divided by completions a second, against the
deadline) takes a burst after a quiet minute for overload, since completions then say how little was asked. Limits by
the gradient of latency (Netflix's concurrency-limits) take a mix of cheap and dear calls for congestion.
"""

from __future__ import annotations

from dataclasses import dataclass

# Ten judgements a second: each sees some calls even at a hundred a second, and a bound recovers within two seconds.
WINDOW_SECONDS = 0.1
_LATE_AFTER = 0.25
# As long as 1,000 calls take in front of a store that serves 20,000 a second.
_LATE_SECONDS = 0.05
_LATE_SHARE = 0.1
_FALL = 0.7
_RISE = 1.25
# A call that waits, for an origin that hangs perhaps, takes no time, but its request and a task. Without a bound there
# would be as many as come in the time for which they are ready to wait.
_WAITING = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionPolicy:
    """Between which bounds the number of calls in flight is held."""

    most: int
    least: int = 64
    """64 calls are a third of a second's work of a store so slow that it serves 200 a second."""

    @property
    def most_waiting(self) -> int:
        """The most calls that may wait on purpose, beside those in flight."""
        return _WAITING * self.most


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened between two judgements."""

    ended: int
    """Calls that ended, refused ones left out."""
    late: int
    """Those of them that were late."""
    peak: int
    """The most that were in flight at once."""
    refused: bool
    """Whether any was refused."""


def is_late(taken: float, allowed: float) -> bool:
    """Say whether a call took more of the time that it was allowed than it should; both in seconds."""
    return taken > _LATE_SECONDS and taken > allowed * _LATE_AFTER


def next_bound(bound: int, window: Window, policy: AdmissionPolicy) -> int:
    """Return the bound that follows."""
    least = min(policy.least, policy.most)
    if window.late > window.ended * _LATE_SHARE:
        return max(least, min(bound, int(window.peak * _FALL))) if window.peak > least else bound
    if window.refused:
        return min(policy.most, int(bound * _RISE) + 1)
    return bound
