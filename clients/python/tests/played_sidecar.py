"""A sidecar that answers as the test says: the subject here is the client, and what it makes of each answer."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from sidecar_client.gen.sidecar.v1 import cache_pb2_grpc, pipeline_pb2_grpc, rate_limit_pb2_grpc, record_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc
    from google.protobuf.message import Message


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error as the sidecar sends it; with no reason, as gRPC itself does."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "no luck"
    domain: str = "sidecar.v1"
    metadata: Mapping[str, str] = field(default_factory=dict)
    violated: str | None = None
    retry_after_ms: int | None = None
    trailer: bytes | None = None
    """Sent in place of the details, if set."""

    def details(self) -> bytes:
        """Return what the trailer `grpc-status-details-bin` holds."""
        if self.trailer is not None:
            return self.trailer
        details: list[Message] = []
        if self.reason:
            details.append(
                error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=dict(self.metadata))
            )
        if self.violated is not None:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.violated)
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.retry_after_ms is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(self.retry_after_ms)
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        code: int = self.code.value[0]
        status = status_pb2.Status(code=code, message=self.message)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        serialized: bytes = status.SerializeToString()
        return serialized


@dataclass
class Received:
    """A call that arrived."""

    request: Any
    at: float
    """Monotonic seconds."""
    remaining_s: float
    """What its deadline left; gRPC sends it rounded up by some per cent."""


@dataclass
class Play:
    """What the server answers, one step a call, and what it received."""

    steps: deque[Any] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    address: str = ""

    def answer(self, *steps: Any) -> None:
        """Answer the next calls so: with a message, a `Refusal`, or what an async function returns."""
        self.steps.extend(steps)

    async def play(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """Serve any method."""
        self.received.append(
            Received(request=request, at=time.monotonic(), remaining_s=context.time_remaining() or 0.0)
        )
        step = self.steps.popleft()
        if isinstance(step, Refusal):
            await context.abort(step.code, step.message, (("grpc-status-details-bin", step.details()),))
        return await step() if callable(step) else step


def serve_play(play: Play, server: grpc.aio.Server) -> None:
    """Let every method of every service of `server` play."""
    for servicer, register in (
        (cache_pb2_grpc.CacheServiceServicer, cache_pb2_grpc.add_CacheServiceServicer_to_server),
        (record_pb2_grpc.RecordServiceServicer, record_pb2_grpc.add_RecordServiceServicer_to_server),
        (rate_limit_pb2_grpc.RateLimitServiceServicer, rate_limit_pb2_grpc.add_RateLimitServiceServicer_to_server),
        (pipeline_pb2_grpc.PipelineServiceServicer, pipeline_pb2_grpc.add_PipelineServiceServicer_to_server),
    ):
        methods = [name for name in vars(servicer) if name[0].isupper()]
        playing: Any = type(servicer.__name__, (servicer,), dict.fromkeys(methods, staticmethod(play.play)))
        register(playing(), server)
