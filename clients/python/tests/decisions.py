"""What a sidecar says of limits, for tests of what stands before routes."""

from __future__ import annotations

import grpc
from google.protobuf import duration_pb2
from played_sidecar import Refusal
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2

UNAVAILABLE = Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after_ms=2500)
OVERLOADED = Refusal(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED")
UNKNOWN_POLICY = Refusal(code=grpc.StatusCode.NOT_FOUND, reason="POLICY_UNKNOWN")
NOTHING_ALLOWED = Refusal(
    code=grpc.StatusCode.INVALID_ARGUMENT, reason="COST_ABOVE_LIMIT", metadata={"limit": "0"}, violated="cost"
)
COST_TOO_HIGH = Refusal(
    code=grpc.StatusCode.INVALID_ARGUMENT, reason="COST_ABOVE_LIMIT", metadata={"limit": "2"}, violated="cost"
)
LONG_KEY = Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, reason="KEY_TOO_LONG")


def allowed(remaining: int = 9, *, limit: int = 10, reset_s: int = 66) -> rate_limit_pb2.CheckResponse:
    """Return a yes."""
    reset_after = duration_pb2.Duration(seconds=reset_s)
    return rate_limit_pb2.CheckResponse(allowed=True, limit=limit, remaining=remaining, reset_after=reset_after)


def refused(wait_ms: int = 57_600, *, limit: int = 10, reset_s: int = 66) -> rate_limit_pb2.CheckResponse:
    """Return a no."""
    wait = duration_pb2.Duration()
    wait.FromMilliseconds(wait_ms)
    reset_after = duration_pb2.Duration(seconds=reset_s)
    return rate_limit_pb2.CheckResponse(allowed=False, limit=limit, retry_after=wait, reset_after=reset_after)
