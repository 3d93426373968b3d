"""A collector for the sidecar's traces, so that the calls that are traced cost what they cost in production.

It takes OTLP over gRPC, decodes what comes, counts the spans of served calls and drops them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Collector:
    """Counts the spans that are exported to it while in its `with` block."""

    def __init__(self) -> None:
        self.server_spans = 0
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=pb.ExportTraceServiceRequest.FromString,
            response_serializer=pb.ExportTraceServiceResponse.SerializeToString,
        )
        self._server = grpc.server(ThreadPoolExecutor(max_workers=1))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": export}),))
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def endpoint(self) -> str:
        """The URL to export to."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.stop(None).wait()

    def _export(self, request: pb.ExportTraceServiceRequest, _context: object) -> pb.ExportTraceServiceResponse:
        self.server_spans += sum(
            span.kind == Span.SPAN_KIND_SERVER
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        )
        return pb.ExportTraceServiceResponse()
