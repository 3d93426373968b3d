"""OpenTelemetry spans, for the calls that are sampled and for no others.

A call continues its caller's trace (W3C Trace Context, `traceparent`) if it brings one, and then the caller's sampled
flag decides. Without one a share of the calls is sampled here. The decision is made before any object of the SDK is:
in a call that is not sampled, tracing costs a look through the metadata and at most a random number.

Attributes follow the semantic conventions for RPC and database client spans. They hold no key, no value and no command
text: a span leaves the machine.

Without an exporter nobody would see the spans, so none are made, and the SDK is not even loaded.
"""

from __future__ import annotations

import random
import re
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.call import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

    from sidecar.call import Call

_TRACEPARENT = "traceparent"
# version "-" 32 hex "-" 16 hex "-" 2 hex of flags, the last bit of which says "sampled" (W3C Trace Context, section
# 3.2). There is no version ff, version 00 ends after the flags, and all zeros is no id.
_CONTEXT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})(?:-.*)?"
)
_SAMPLED = 1
# A collector that does not answer holds up the end of the sidecar for this long; what is not sent by then is lost.
_FLUSH_SECONDS = 2.0

# The codes that are the server's fault (semantic conventions for gRPC, "gRPC status").
_SERVER_FAULTS = frozenset(
    {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS}
)

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Makes the spans of calls and of store commands."""

    def __init__(
        self,
        *,
        service_name: str,
        sample_ratio: float,
        otlp_endpoint: str | None = None,
        exporter: SpanExporter | None = None,
    ) -> None:
        self._ratio = sample_ratio
        self._provider: TracerProvider | None = None
        self._exporter: SpanExporter | None = None
        self._tracer: Tracer | None = None
        if exporter is None and otlp_endpoint is not None:
            exporter = _otlp_exporter(otlp_endpoint)
        if exporter is not None:
            self._exporter = exporter
            self._provider = _provider(service_name, exporter)
            self._tracer = self._provider.get_tracer("sidecar")

    def start_call(self, call: Call) -> None:
        """Give a sampled call its server span."""
        if self._tracer is None:
            return
        parent: Context | None = None
        for name, value in call.metadata:
            if name == _TRACEPARENT:
                if not _is_sampled(value):
                    return
                parent = _propagator.extract({key: item for key, item in call.metadata if isinstance(item, str)})
                break
        else:
            if random.random() >= self._ratio:  # noqa: S311 (a sample, no secret)
                return
        method = call.method.removeprefix("/")
        call.span = self._tracer.start_span(
            method,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": method},
        )

    def end_call(self, call: Call, code: Code) -> None:
        """End the span of a sampled call."""
        span: Span = call.span
        span.set_attribute("rpc.response.status_code", code.name)
        if code in _SERVER_FAULTS:
            span.set_attribute("error.type", code.name)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def start_command(self, call: Call, name: str, attributes: Mapping[str, Any]) -> Span:
        """Return a client span, child of a sampled call's, for one request to the store."""
        if self._tracer is None:
            raise RuntimeError("a call has a span although tracing is off")
        context = set_span_in_context(call.span)
        return self._tracer.start_span(name, context=context, kind=SpanKind.CLIENT, attributes=dict(attributes))

    def shutdown(self) -> None:
        """Send what has been recorded, within two seconds."""
        if self._provider is None or self._exporter is None:
            return
        # The SDK's own time-outs do not bound an export under way, so it flushes in a thread that need not be awaited.
        flush = threading.Thread(target=self._provider.shutdown, name="tracing-flush", daemon=True)
        flush.start()
        flush.join(_FLUSH_SECONDS)
        if flush.is_alive():
            # Closes the channel, which ends the export that the thread waits for.
            self._exporter.shutdown()


def _is_sampled(traceparent: str | bytes) -> bool:
    """Return whether a `traceparent` is valid and says that its trace is recorded.

    A broken one is no sample: otherwise any caller's noise would be traced, whatever the ratio.
    """
    matched = _CONTEXT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    return matched is not None and bool(int(matched["flags"], 16) & _SAMPLED)


def _provider(service_name: str, exporter: SpanExporter) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 (not loaded when tracing is off)
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    provider = TracerProvider(
        resource=Resource.create({"service.name": service_name}),
        sampler=ALWAYS_ON,  # the decision was made above
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _otlp_exporter(endpoint: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
