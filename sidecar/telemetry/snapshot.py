"""Metrics as plain data, to be rendered here or carried to another process; and several processes' metrics in one.

Counters and histograms of workers are summed, since only the sum means anything to who asks: a call went to whichever
worker the kernel chose. A worker that dies takes its numbers with it, and a total that falls looks to Prometheus like a
restart of everything; so what a worker last told stays in the totals. What it counted after that is lost with it.

Gauges are not summed but labelled with their worker. A state is a state of one process (a queue that grows in one of
four workers is the sign of one that is stuck), whoever wants the sum writes `sum without (worker)`, and a dead worker
has no state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import add
from typing import TYPE_CHECKING, Literal

from sidecar.telemetry.metrics import Counter, Histogram, Labels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sidecar.telemetry.metrics import Gauge, Metrics

WORKER_LABEL = "worker"
Numbers = tuple[float, ...]
"""A counter's or gauge's one value; a histogram's buckets, not added up, and then the sum of what was observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySnapshot:
    """One metric at one moment, with all its label values."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    label_names: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets but the last, which has none."""
    rows: tuple[tuple[Labels, Numbers], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the processes of a sidecar have counted, as one."""

    families: tuple[FamilySnapshot, ...]
    since_us: int
    """When they began to, in microseconds of the Unix time."""
    processes: int
    """How many of those that run now it is from."""
    workers: int
    """How many there should be."""


def take(metrics: Metrics) -> tuple[FamilySnapshot, ...]:
    """Return every family as it is now. May run in another thread than the one that counts: a dict's copy is atomic."""
    return tuple(_take(family) for family in metrics.families.copy().values())


def _take(family: Counter | Histogram | Gauge) -> FamilySnapshot:
    kind: Literal["counter", "gauge", "histogram"]
    rows: list[tuple[Labels, Numbers]]
    if isinstance(family, Counter):
        kind = "counter"
        rows = [(labels, (cell.value,)) for labels, cell in family.cells.copy().items()]
    elif isinstance(family, Histogram):
        kind = "histogram"
        rows = [(labels, (*cell.buckets, cell.sum_seconds)) for labels, cell in family.cells.copy().items()]
    else:
        kind = "gauge"
        rows = [(labels, (value,)) for labels, value in family.read().items()]
    return FamilySnapshot(
        kind=kind,
        name=family.name,
        help=family.help,
        label_names=family.label_names,
        bounds=family.bounds if isinstance(family, Histogram) else (),
        rows=tuple(rows),
    )


class Totals:
    """The metrics of several workers, some of them gone, as one."""

    def __init__(self) -> None:
        self._gone: tuple[FamilySnapshot, ...] = ()
        self._latest: dict[int, tuple[FamilySnapshot, ...]] = {}

    def observe(self, worker: int, families: tuple[FamilySnapshot, ...]) -> None:
        """Take in what a worker says of itself now."""
        self._latest[worker] = families

    def retire(self, worker: int) -> None:
        """Keep what a worker counted; its number may go to a new one, which counts from nought."""
        self._gone = tuple(_summed([self._gone, self._latest.pop(worker, ())]))

    def families(self, present: Collection[int]) -> list[FamilySnapshot]:
        """Return the sums of all counters and histograms, and the gauges of the workers that are `present`."""
        gauges = {worker: families for worker, families in self._latest.items() if worker in present}
        return [*_summed([self._gone, *self._latest.values()]), *_by_worker(gauges)]


def _summed(snapshots: Iterable[tuple[FamilySnapshot, ...]]) -> Iterator[FamilySnapshot]:
    kinds: dict[str, FamilySnapshot] = {}
    sums: dict[str, dict[Labels, Numbers]] = {}
    for families in snapshots:
        for family in families:
            if family.kind == "gauge":
                continue
            kinds.setdefault(family.name, family)
            rows = sums.setdefault(family.name, {})
            for labels, numbers in family.rows:
                rows[labels] = tuple(map(add, rows[labels], numbers)) if labels in rows else numbers
    for name, family in kinds.items():
        yield replace(family, rows=tuple(sums[name].items()))


def _by_worker(snapshots: dict[int, tuple[FamilySnapshot, ...]]) -> Iterator[FamilySnapshot]:
    kinds: dict[str, FamilySnapshot] = {}
    rows: dict[str, list[tuple[Labels, Numbers]]] = {}
    for worker, families in sorted(snapshots.items()):
        for family in families:
            if family.kind == "gauge":
                kinds.setdefault(family.name, family)
                labelled = [((*labels, str(worker)), numbers) for labels, numbers in family.rows]
                rows.setdefault(family.name, []).extend(labelled)
    for name, family in kinds.items():
        yield replace(family, label_names=(*family.label_names, WORKER_LABEL), rows=tuple(rows[name]))
