"""Counters, gauges and histograms that cost an addition.

A metric library's `labels(...)` hashes strings, takes a lock and allocates; at ten thousand calls a second that is more
than the store's work. Here a component asks for its cells once, when it is wired, and then adds to a plain attribute.
The event loop's thread writes, the metrics page's thread reads: with integers under the GIL a reader sees each cell at
some recent value, which is all that a scrape promises. `telemetry/snapshot.py` makes plain data of
them, `telemetry/prometheus.py` and `telemetry/page.py` a page.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Seconds. Dense below 10 ms, where the promises lie (P95 < 5 ms, P99 < 10 ms); sparse above, up to the longest
# deadline.
LATENCY_BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip

Labels = tuple[str, ...]
F = TypeVar("F", "Counter", "Histogram", "Gauge")


class Cell:
    """One number that a component adds to."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: int = 0


class Distribution:
    """Counts of observations by upper bound, in seconds; the last bucket has no bound."""

    __slots__ = ("bounds", "buckets", "sum_seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.sum_seconds += seconds


@dataclass(frozen=True, slots=True)
class Counter:
    """A family of numbers that only grow, one for each set of label values."""

    name: str
    help: str
    label_names: tuple[str, ...] = ()
    cells: dict[Labels, Cell] = field(default_factory=dict)

    def cell(self, *labels: str) -> Cell:
        """Return the cell of these label values, made on first use. Keep it; do not ask per call."""
        if len(labels) != len(self.label_names):
            raise ValueError(f"{self.name} takes the labels {self.label_names}")
        return self.cells.setdefault(labels, Cell())


@dataclass(frozen=True, slots=True)
class Histogram:
    """A family of distributions, one for each set of label values."""

    name: str
    help: str
    label_names: tuple[str, ...] = ()
    bounds: tuple[float, ...] = LATENCY_BOUNDS
    cells: dict[Labels, Distribution] = field(default_factory=dict)

    def cell(self, *labels: str) -> Distribution:
        """Return the distribution of these label values, made on first use."""
        if len(labels) != len(self.label_names):
            raise ValueError(f"{self.name} takes the labels {self.label_names}")
        return self.cells.setdefault(labels, Distribution(self.bounds))


@dataclass(frozen=True, slots=True)
class Gauge:
    """A family of numbers read when the page is asked for."""

    name: str
    help: str
    label_names: tuple[str, ...]
    read: Callable[[], Mapping[Labels, float]]


class Metrics:
    """All metrics of one process; each name is registered once."""

    def __init__(self) -> None:
        self.families: dict[str, Counter | Histogram | Gauge] = {}

    def counter(self, name: str, text: str, *label_names: str) -> Counter:
        """Register a counter; its name lacks the `_total` that the page appends."""
        return self._add(Counter(name, text, label_names))

    def histogram(self, name: str, text: str, *label_names: str) -> Histogram:
        """Register a histogram of seconds."""
        return self._add(Histogram(name, text, label_names))

    def gauge(self, name: str, text: str, read: Callable[[], Mapping[Labels, float]], *label_names: str) -> Gauge:
        """Register a gauge that `read` gives the values of, by label values."""
        return self._add(Gauge(name, text, label_names, read))

    def _add(self, family: F) -> F:
        if family.name in self.families:
            raise ValueError(f"the metric {family.name} is registered twice")
        self.families[family.name] = family
        return family
