"""What events have come, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.events.rules import Reach
    from sidecar.telemetry.metrics import Counter, Histogram, Metrics


class EventMetrics:
    """The metrics of all sources."""

    def __init__(self, metrics: Metrics) -> None:
        self.up: dict[tuple[str, ...], float] = {}
        self.events: Counter = metrics.counter(
            "sidecar_events",
            "Events by source and by what became of them: handled, ignored by all rules, or fitting no rule.",
            "event",
            "outcome",
        )
        self.invalidations: Counter = metrics.counter(
            "sidecar_event_invalidations",
            "What events have invalidated: keys, tags, prefixes and whole caches.",
            "event",
            "cache",
            "what",
        )
        self.failures: Counter = metrics.counter(
            "sidecar_event_invalidation_failures", "Invalidations by events that failed; they are tried again.", "event"
        )
        self.lost: Counter = metrics.counter(
            "sidecar_event_invalidations_lost", "Invalidations by events that were given up.", "event"
        )
        self.gaps: Counter = metrics.counter(
            "sidecar_event_gaps", "How often events of a source may have been missed.", "event"
        )
        self.lag: Histogram = metrics.histogram(
            "sidecar_event_lag_seconds",
            "Time from when an event was added to its stream until what it concerns was invalidated.",
            "event",
        )
        metrics.gauge(
            "sidecar_event_source_up", "Whether a source of events is listened to.", lambda: dict(self.up), "event"
        )


class EventCounters:
    """The metrics of one source."""

    def __init__(self, metrics: EventMetrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self.handled = metrics.events.cell(name, "handled")
        self.ignored = metrics.events.cell(name, "ignored")
        self.unfit = metrics.events.cell(name, "unfit")
        self.failed = metrics.failures.cell(name)
        self.lost = metrics.lost.cell(name)
        self.gaps = metrics.gaps.cell(name)
        self.lag = metrics.lag.cell(name)
        self.set_up(is_up=False)

    def set_up(self, *, is_up: bool) -> None:
        """Say whether the source is listened to."""
        self._metrics.up[(self._name,)] = float(is_up)

    def invalidated(self, cache: str, reach: Reach, count: int) -> None:
        """Count what was invalidated."""
        self._metrics.invalidations.cell(self._name, cache, reach.value).value += count
