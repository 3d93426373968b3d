"""What a call that does not pass ends with.

A refusal is RESOURCE_EXHAUSTED, a limit that failed closed UNAVAILABLE. Both carry google.rpc's `RetryInfo`: how long
to wait, unless waiting will not help. A refusal names its rule in a `QuotaFailure`, unless the rule is not advertised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from sidecar_client.durations import to_duration
from sidecar_client.errors import DETAILS_TRAILER
from sidecar_client.rules import Ruling

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sidecar_client.rules import Answer


class GrpcRefusal(NamedTuple):
    """How the call ends, in the order of `context.abort`'s arguments."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, bytes], ...]


def refusal_of(answer: Answer) -> GrpcRefusal:
    """Return the end of a call that `answer` does not let through."""
    details: list[Message] = []
    if answer.wait is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=to_duration(answer.wait)))
    if answer.ruling is Ruling.REFUSED:
        code, message = grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls"
        if answer.rule.advertise:
            details.append(_quota_failure(answer))
    else:
        code, message = grpc.StatusCode.UNAVAILABLE, "the rate limit of this method cannot be asked at present"
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=message, details=[_packed(detail) for detail in details])
    return GrpcRefusal(code, message, ((DETAILS_TRAILER, status.SerializeToString()),))


def _quota_failure(answer: Answer) -> error_details_pb2.QuotaFailure:
    limit = "" if answer.decision is None else f": {answer.decision.limit} at most"
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=answer.rule.label, description=f"the limit {answer.rule.label!r} is used up{limit}"
    )
    return error_details_pb2.QuotaFailure(violations=[violation])


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
