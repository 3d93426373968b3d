"""The metrics page, in Prometheus' text format, from a thread of its own."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from sidecar.errors import StartupError
from sidecar.telemetry.metrics import Counter, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import Metric

    from sidecar.telemetry.metrics import Gauge, Metrics


class MetricsCollector(Collector):
    """Renders `Metrics` when it is asked. Runs in another thread than the one that counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every family as it is now. A dict's copy is atomic: the counting thread may add cells meanwhile."""
        for family in self._metrics.families.copy().values():
            if isinstance(family, Counter):
                yield _counter(family)
            elif isinstance(family, Histogram):
                yield _histogram(family)
            else:
                yield _gauge(family)


def _counter(family: Counter) -> Metric:
    rendered = CounterMetricFamily(family.name, family.help, labels=family.label_names)
    for labels, cell in family.cells.copy().items():
        rendered.add_metric(labels, cell.value)
    return rendered


def _histogram(family: Histogram) -> Metric:
    rendered = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
    bounds = [*(str(bound) for bound in family.bounds), "+Inf"]
    for labels, cell in family.cells.copy().items():
        totals = list(accumulate(cell.buckets))
        rendered.add_metric(labels, list(zip(bounds, totals, strict=True)), cell.sum_seconds)
    return rendered


def _gauge(family: Gauge) -> Metric:
    rendered = GaugeMetricFamily(family.name, family.help, labels=family.label_names)
    for labels, value in family.read().items():
        rendered.add_metric(labels, value)
    return rendered


class MetricsServer:
    """Serves `/metrics` at `host:port`."""

    def __init__(self, metrics: Metrics, address: str) -> None:
        self._metrics = metrics
        self._address = address
        self._running: tuple[WSGIServer, Thread] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, once started; it differs from the address's where that is 0."""
        return 0 if self._running is None else self._running[0].server_port

    def start(self) -> None:
        """Listen and serve; raises `StartupError` if the address cannot be bound."""
        registry = CollectorRegistry()
        registry.register(MetricsCollector(self._metrics))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        host, _, port = self._address.rpartition(":")
        try:
            self._running = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
        except OSError as error:
            raise StartupError(
                f"cannot serve metrics on {self._address}: {error.strerror}; set telemetry.metrics.address "
                "(SIDECAR_TELEMETRY__METRICS__ADDRESS) to another, or to null to turn them off"
            ) from None

    def close(self) -> None:
        """Stop, and free the port."""
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
            self._running = None
