"""What tracing withstands: broken contexts, a collector that hangs, batches that fail in part."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.stopwatch import Stopwatch

from sidecar.call import Call, Code
from sidecar.errors import Reason, StoreError
from sidecar.store import commands
from sidecar.store.address import StoreAddress
from sidecar.store.traced import TracedStore
from sidecar.telemetry.tracing import Tracing

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "broken",
    [
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'z' * 32}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
    ],
)
def test_a_broken_context_that_asks_for_a_trace_gets_none(broken: str) -> None:
    """Whatever the ratio, noise cannot have itself traced."""
    tracing = Tracing(service_name="test", sample_ratio=0.0, exporter=InMemorySpanExporter())
    call = Call("/a/b", metadata=(("traceparent", broken),))
    tracing.start_call(call)
    tracing.shutdown()
    assert call.span is None


def test_a_context_of_a_later_version_is_followed() -> None:
    """It may be longer; what this version defines stands at its head."""
    tracing = Tracing(service_name="test", sample_ratio=0.0, exporter=InMemorySpanExporter())
    call = Call("/a/b", metadata=(("traceparent", f"01-{TRACE}-{PARENT}-01-more"),))
    tracing.start_call(call)
    tracing.shutdown()
    assert int(TRACE, 16) == call.span.get_span_context().trace_id


def test_a_collector_that_hangs_does_not_hold_up_the_end() -> None:
    """It takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        tracing = Tracing(service_name="test", sample_ratio=1.0, otlp_endpoint=f"http://127.0.0.1:{port}")
        call = Call("/a/b")
        tracing.start_call(call)
        tracing.end_call(call, Code.OK)
        watch = Stopwatch()
        tracing.shutdown()
        assert watch.seconds < 3.0


async def test_a_batch_that_failed_in_part_is_an_error() -> None:
    """Its failures are among its replies, and the first one's reason is told."""

    class Partly:
        async def call_many(self, *_: object) -> list[Any]:
            return [b"v", StoreError(Reason.OUTCOME_UNKNOWN, "lost")]

        call = run = get_many = call_many

    exporter = InMemorySpanExporter()
    tracing = Tracing(service_name="test", sample_ratio=1.0, exporter=exporter)
    call = Call("/a/b")
    tracing.start_call(call)
    store = TracedStore(Partly(), tracing, StoreAddress(host="db"))
    await store.call_many([commands.get(b"k")] * 2, call)
    tracing.shutdown()
    (span,) = exporter.get_finished_spans()
    assert ("ERROR", "OUTCOME_UNKNOWN") == (span.status.status_code.name, (span.attributes or {})["error.type"])
