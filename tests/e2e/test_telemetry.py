"""What a running sidecar tells Prometheus and an OTLP collector about the calls it served."""

from __future__ import annotations

import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from sidecar_client.gen.sidecar.v1 import cache_pb2, rate_limit_pb2, record_pb2
from support.api import refusal_of
from support.metrics_page import MetricsPage
from support.programs import HOSPITAL, SidecarProgram, wait_until
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.api import Api

_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_PARENT_ID = "00f067aa0ba902b7"
_KEY = "telemetry-key-canary"
_HITS, _CHECKS = 7, 12


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsPage]:
    """Return the page of a sidecar after traffic that is known."""
    with SidecarProgram(tmp_path_factory.mktemp("metrics"), config=HOSPITAL) as program:
        with program.api() as api:
            _traffic(api)
        # It is measured ten times a second, and all this may have taken less.
        wait_until(
            lambda: MetricsPage(program.metrics_address)("sidecar_event_loop_lag_seconds_count") > 0,
            "the lag has been measured",
        )
        yield MetricsPage(program.metrics_address)


def _traffic(api: Api) -> None:
    api.cache.Set(cache_pb2.SetRequest(cache="balances", key=_KEY, value=b"telemetry-value-canary"), timeout=30)
    for _ in range(_HITS):
        api.cache.Get(cache_pb2.GetRequest(cache="balances", key=_KEY), timeout=30)
    api.cache.Get(cache_pb2.GetRequest(cache="balances", key="nothing"), timeout=30)
    refusal_of(lambda: api.cache.Get(cache_pb2.GetRequest(cache="balances"), timeout=30))
    for _ in range(_CHECKS):
        api.limits.Check(rate_limit_pb2.CheckRequest(policy="auth", key=_KEY), timeout=30)
    fields = {name: record_pb2.FieldValue(text="telemetry-value-canary") for name in ("name", "ssn", "ward")}
    api.records.PutRecord(record_pb2.PutRecordRequest(cache="patients", key=_KEY, fields=fields), timeout=30)
    api.records.GetRecord(record_pb2.GetRecordRequest(cache="patients", key=_KEY), timeout=30)


def test_calls_by_method_and_code(page: MetricsPage) -> None:
    """Calls are counted by method and status code."""
    counted = [
        page("sidecar_calls_total", method="sidecar.v1.CacheService/Get", code=code)
        for code in ("OK", "INVALID_ARGUMENT")
    ]
    assert [_HITS + 1, 1] == counted


def test_latency_by_method(page: MetricsPage) -> None:
    """Every call is in the histogram of its method, within a sensible bucket, with its time in the sum."""
    labels = {"method": "sidecar.v1.CacheService/Get"}
    assert _HITS + 2 == page("sidecar_call_duration_seconds_count", **labels)
    assert _HITS + 2 == page("sidecar_call_duration_seconds_bucket", **labels, le="5.0")
    assert 0 < page("sidecar_call_duration_seconds_sum", **labels) < _HITS + 2


def test_nothing_is_in_flight_afterwards(page: MetricsPage) -> None:
    """Neither calls nor requests to the store seem to be under way when none are."""
    assert 0 == page("sidecar_calls_in_flight")
    assert 1 >= page("sidecar_store_in_flight")  # the health probe's own


def test_hits_and_misses_by_cache(page: MetricsPage) -> None:
    """Reads are counted by cache and by what they found."""
    reads = [page("sidecar_cache_reads_total", cache="balances", outcome=outcome) for outcome in ("hit", "miss")]
    assert [_HITS, 1] == reads


def test_decisions_by_policy(page: MetricsPage) -> None:
    """Checks are counted by policy and by what was decided."""
    decisions = [
        page("sidecar_ratelimit_decisions_total", policy="auth", outcome=outcome) for outcome in ("allowed", "denied")
    ]
    assert [10, _CHECKS - 10] == decisions


def test_sealed_and_opened_fields(page: MetricsPage) -> None:
    """Fields that are sealed, opened and rejected are counted by cache; clear ones are none of these."""
    fields = [
        page("sidecar_crypto_fields_total", cache="patients", operation=operation)
        for operation in ("sealed", "opened", "rejected")
    ]
    assert [2, 2, 0] == fields


def test_state_of_the_pool(page: MetricsPage) -> None:
    """The page tells how many connections are ready, were opened and lost, and how many commands went over them."""
    assert 4 == page("sidecar_store_connections")
    assert 4 == page("sidecar_store_connections_opened_total")
    assert 0 == page("sidecar_store_connections_lost_total")
    assert page("sidecar_store_commands_total") >= _HITS + _CHECKS


def test_lag_of_the_event_loop(page: MetricsPage) -> None:
    """The event loop's lag is measured."""
    assert page("sidecar_event_loop_lag_seconds_count") > 0


def test_no_key_and_no_value_on_the_page(page: MetricsPage) -> None:
    """The page has no text of keys and values."""
    assert "canary" not in page.text


class _Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps the spans it is sent."""

    def __init__(self) -> None:
        self.spans: list[trace_pb2.Span] = []
        self.services: set[str] = set()
        self.has_spans = threading.Event()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 (the generated servicer's name)
        """Take spans."""
        for resource in request.resource_spans:
            self.services |= {
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        self.has_spans.set()
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Collector]:
    """Return what a collector got from a sidecar that served one call of a trace, one not sampled, and stopped."""
    collector = _Collector()
    port = free_port()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_to_server: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # generated without types
    add_to_server(collector, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    environ = {
        "SIDECAR_TELEMETRY__TRACES__OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "SIDECAR_TELEMETRY__TRACES__SAMPLE_RATIO": "0",
    }
    program = SidecarProgram(tmp_path_factory.mktemp("traced"), config=HOSPITAL, environ=environ)
    try:
        api = program.start().api()
        put = record_pb2.PutRecordRequest(cache="patients", key=_KEY)
        put.fields["name"].text = "telemetry-value-canary"
        for sampled in ("00", "01"):
            traceparent = f"00-{_TRACE_ID}-{_PARENT_ID}-{sampled}"
            api.records.PutRecord(put, timeout=30, metadata=(("traceparent", traceparent),))
        api.records.PutRecord(put, timeout=30)
        assert 0 == program.terminate()
        wait_until(collector.has_spans.is_set, "the collector has spans")
        yield collector
    finally:
        program.stop()
        server.stop(None).wait()


def test_spans_continue_the_callers_trace(collected: _Collector) -> None:
    """The spans of a sampled call carry the caller's trace id, and the call's span its parent's id."""
    assert {bytes.fromhex(_TRACE_ID)} == {span.trace_id for span in collected.spans}
    (call,) = [span for span in collected.spans if span.kind == trace_pb2.Span.SPAN_KIND_SERVER]
    assert ("sidecar.v1.RecordService/PutRecord", _PARENT_ID) == (call.name, call.parent_span_id.hex())


def test_requests_to_the_store_are_children_of_the_call(collected: _Collector) -> None:
    """What a call asks of the store is a client span under it."""
    (call,) = [span for span in collected.spans if span.kind == trace_pb2.Span.SPAN_KIND_SERVER]
    others = [span for span in collected.spans if span.kind == trace_pb2.Span.SPAN_KIND_CLIENT]
    assert others
    assert {call.span_id} == {span.parent_span_id for span in others}


def test_only_sampled_calls_have_spans(collected: _Collector) -> None:
    """A call that its caller does not record, and one without a trace at a ratio of 0, leave no spans."""
    assert 1 == sum(span.kind == trace_pb2.Span.SPAN_KIND_SERVER for span in collected.spans)


def test_spans_name_the_service(collected: _Collector) -> None:
    """The spans come from the service that the configuration names."""
    assert {"sidecar"} == collected.services


def test_no_key_and_no_value_in_spans(collected: _Collector) -> None:
    """Spans hold neither keys nor values."""
    assert "canary" not in "".join(str(span) for span in collected.spans)
