"""The sidecar's API by its generated stubs alone: no retries, no defaults, nothing between a test and the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sidecar_client.gen.sidecar.v1.cache_admin_pb2_grpc import CacheAdminServiceStub
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub
from sidecar_client.gen.sidecar.v1.invalidation_pb2_grpc import InvalidationServiceStub
from sidecar_client.gen.sidecar.v1.pipeline_pb2_grpc import PipelineServiceStub
from sidecar_client.gen.sidecar.v1.rate_limit_pb2_grpc import RateLimitServiceStub
from sidecar_client.gen.sidecar.v1.record_pb2_grpc import RecordServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

Detail = TypeVar("Detail", bound=Message)

DETAILS = "grpc-status-details-bin"
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    # Tests restart sidecars; gRPC's own wait of up to 20 s would be measured instead.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    # For all its name, this bounds the time that one attempt may take.
    ("grpc.min_reconnect_backoff_ms", 5_000),
)


class Api:
    """Stubs over one connection."""

    def __init__(self, address: str) -> None:
        # A pool of its own: gRPC would let two tests share one connection, and one would close it for the other.
        self.channel = grpc.insecure_channel(address, options=[*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)])
        self.cache = CacheServiceStub(self.channel)
        self.records = RecordServiceStub(self.channel)
        self.limits = RateLimitServiceStub(self.channel)
        self.invalidations = InvalidationServiceStub(self.channel)
        self.cache_admin = CacheAdminServiceStub(self.channel)
        self.pipeline = PipelineServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()

    def is_serving(self, service: str = "") -> bool:
        """Say whether the health service says SERVING; a sidecar out of reach is not serving."""
        try:
            answer = self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=2)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class Refusal:
    """How a call failed: its code, and the details that a program would decide on."""

    def __init__(self, error: grpc.RpcError) -> None:
        call: Any = error  # every error that a stub raises is a grpc.Call too
        self.code: grpc.StatusCode = call.code()
        self.message = str(call.details())
        trailers = [
            (key, value if isinstance(value, bytes) else value.encode())
            for key, value in call.trailing_metadata() or ()
        ]
        self.trailers = b"".join(value for _, value in trailers)
        status = status_pb2.Status()
        for key, value in trailers:
            if key == DETAILS:
                status.ParseFromString(value)
        self._details = status.details

    @property
    def reason(self) -> str:
        """The reason of its `ErrorInfo`, empty without one."""
        info = self._find(error_details_pb2.ErrorInfo())
        return str(info.reason) if info is not None else ""

    @property
    def retry_seconds(self) -> float | None:
        """The delay of its `RetryInfo`, None without one."""
        info = self._find(error_details_pb2.RetryInfo())
        return float(info.retry_delay.ToTimedelta().total_seconds()) if info is not None else None

    def _find(self, wanted: Detail) -> Detail | None:
        for detail in self._details:
            if detail.Unpack(wanted):
                return wanted
        return None


def refusal_of(call: Callable[[], object]) -> Refusal:
    """Make a call that must fail, and return how; raises `AssertionError` if it succeeds."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"the call succeeded: {type(answer).__name__}")
