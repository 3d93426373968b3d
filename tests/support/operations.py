"""Operations for batches, and the same as calls of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from sidecar_client.gen.sidecar.v1 import cache_pb2, rate_limit_pb2
from sidecar_client.gen.sidecar.v1 import pipeline_pb2 as pb

from support.contract import taken_apart

if TYPE_CHECKING:
    from sidecar_client.gen.sidecar.v1 import common_pb2

    from support.contract import Contract


def get(key: str, cache: str = "plain") -> pb.Operation:
    """Return a Get."""
    return pb.Operation(get=cache_pb2.GetRequest(cache=cache, key=key))


def set_(key: str, value: bytes, cache: str = "plain", **rest: Any) -> pb.Operation:
    """Return a Set."""
    return pb.Operation(set=cache_pb2.SetRequest(cache=cache, key=key, value=value, **rest))


def delete(key: str, cache: str = "plain") -> pb.Operation:
    """Return a Delete."""
    return pb.Operation(delete=cache_pb2.DeleteRequest(cache=cache, key=key))


def touch(key: str, cache: str = "plain") -> pb.Operation:
    """Return a Touch."""
    return pb.Operation(touch=cache_pb2.TouchRequest(cache=cache, key=key))


def increment(key: str, cache: str = "plain", **rest: Any) -> pb.Operation:
    """Return an Increment."""
    return pb.Operation(increment=cache_pb2.IncrementRequest(cache=cache, key=key, **rest))


def check(key: str, cost: int = 1, policy: str = "window") -> pb.Operation:
    """Return a Check."""
    return pb.Operation(check=rate_limit_pb2.CheckRequest(policy=policy, key=key, cost=cost))


def peek(key: str, policy: str = "window") -> pb.Operation:
    """Return a Peek."""
    return pb.Operation(peek=rate_limit_pb2.PeekRequest(policy=policy, key=key))


def reset(key: str, policy: str = "window") -> pb.Operation:
    """Return a Reset."""
    return pb.Operation(reset=rate_limit_pb2.ResetRequest(policy=policy, key=key))


def execute(api: Contract, *operations: pb.Operation) -> list[pb.OperationResult]:
    """Carry out a batch."""
    return list(api.pipeline.Execute(pb.ExecuteRequest(operations=operations), timeout=10).results)


def stream(api: Contract, *batches: pb.StreamRequest) -> dict[int, pb.StreamResponse]:
    """Send batches on one stream, half-close it, and return the answers by id."""
    return {answer.id: answer for answer in api.pipeline.Stream(iter(batches), timeout=20)}


def alone(api: Contract, operation: pb.Operation) -> pb.OperationResult:
    """Make an operation's own call, and return how it ended as a batch would say it."""
    kind = operation.WhichOneof("request") or ""
    stub = api.limits if kind in {"check", "peek", "reset"} else api.cache
    try:
        answer = getattr(stub, kind.title())(getattr(operation, kind), timeout=10)
    except grpc.RpcError as error:
        return pb.OperationResult(failure=failure_of(error))
    return pb.OperationResult(**{kind: answer})


def failure_of(error: grpc.RpcError) -> common_pb2.Failure:
    """Return what a status says, as the failure of an item says it."""
    refused = taken_apart(error)
    result = pb.OperationResult()
    failure = result.failure
    failure.code = refused.code.value[0]
    failure.reason = f"ERROR_REASON_{refused.reason}"  # type: ignore[assignment]  # a name is taken, too
    failure.message = refused.message
    failure.field = refused.field
    failure.metadata.update(refused.metadata)
    if refused.retry_after_ms is not None:
        failure.retry_after.FromMilliseconds(refused.retry_after_ms)
    return failure
