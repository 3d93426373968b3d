"""What to do about a worker that ended. Pure: facts in, decisions out.

A worker that dies is started again after a wait that doubles with each early death (full jitter, as for connections),
so a worker that crashes at once does not take the machine's CPU from those that serve. A death is early when the worker
never became ready, or had not served for long; one that had served for long begins a new count. Too many early deaths
in a row and the sidecar gives up: who runs it (Kubernetes, systemd) sees an exit code, whereas a sidecar that limps on
with half of its workers is seen by nobody.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from sidecar.store.retry import Backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a worker is started again, and when no more."""

    backoff: Backoff = field(default_factory=lambda: Backoff(base_ms=200, cap_ms=10_000))
    # Long enough for a worker to have met its usual callers, so that what kills it at once does not pass for service.
    settled_seconds: float = 10.0
    # Waits of at most 0.2, 0.4, 0.8 and 1.6 s lie between them: whatever passes by itself has passed by then.
    most_early_deaths: int = 5


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the worker again after a wait."""

    after_seconds: float
    early_deaths: int
    """The count to judge the next death by."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the whole sidecar."""

    early_deaths: int


def judge_death(
    early_deaths: int, served_seconds: float | None, policy: RestartPolicy, draw: float | None = None
) -> Restart | GiveUp:
    """Decide about a worker that died.

    `early_deaths` is how often it did so before, `served_seconds` for how long it was ready, None if it never was;
    `draw` in [0, 1) takes the place of chance.
    """
    if served_seconds is not None and served_seconds >= policy.settled_seconds:
        return Restart(policy.backoff.delay_seconds(0, draw), 0)
    count = early_deaths + 1
    if count >= policy.most_early_deaths:
        return GiveUp(count)
    return Restart(policy.backoff.delay_seconds(early_deaths, draw), count)


def describe_exit(code: int) -> str:
    """Say how a process ended: `code` is its exit code, or a signal's number below zero."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
