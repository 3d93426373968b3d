"""Metrics in the words of prometheus_client, which writes the page: the sidecar's own, and those of its processes."""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.telemetry.snapshot import WORKER_LABEL, FamilySnapshot, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sidecar.telemetry.metrics import Metrics


def one_process(metrics: Metrics) -> CollectorRegistry:
    """Return the page of a sidecar that is one process."""
    registry = CollectorRegistry()
    registry.register(_Families(lambda: take(metrics)))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def several_processes(
    families: Callable[[], Iterable[FamilySnapshot]], process_ids: Callable[[], Mapping[str, int]]
) -> CollectorRegistry:
    """Return the page of a sidecar of several processes: what all together count, and each one by its name."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    registry.register(_Processes(process_ids))
    PlatformCollector(registry=registry)
    return registry


def garbage_collection() -> tuple[FamilySnapshot, ...]:
    """Return what prometheus_client tells of this process's garbage collector."""
    return tuple(
        FamilySnapshot(
            kind="counter",
            name=family.name,
            help=family.documentation,
            label_names=("generation",),
            rows=tuple((tuple(sample.labels.values()), (sample.value,)) for sample in family.samples),
        )
        for family in GCCollector(registry=CollectorRegistry()).collect()
    )


class _Families(Collector):
    """Renders plain families when it is asked, in the page's thread."""

    def __init__(self, families: Callable[[], Iterable[FamilySnapshot]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families():
            yield _render(family)


def _render(family: FamilySnapshot) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
        bounds = [*(str(bound) for bound in family.bounds), "+Inf"]
        for labels, (*buckets, total) in family.rows:
            histogram.add_metric(labels, list(zip(bounds, accumulate(buckets), strict=True)), total)
        return histogram
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    rendered = make(family.name, family.help, labels=family.label_names)
    for labels, (value,) in family.rows:
        rendered.add_metric(labels, value)
    return rendered


class _Processes(Collector):
    """Memory, CPU and descriptors of several processes, by the usual names, labelled with each one's own."""

    def __init__(self, process_ids: Callable[[], Mapping[str, int]]) -> None:
        self._process_ids = process_ids

    def collect(self) -> Iterator[Metric]:
        labelled: dict[str, Metric] = {}
        for name, process_id in self._process_ids().items():
            for family in ProcessCollector(pid=partial(int, process_id), registry=None).collect():
                same = labelled.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    same.add_sample(sample.name, {**sample.labels, WORKER_LABEL: name}, sample.value)
        yield from labelled.values()
