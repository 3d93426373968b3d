"""The one map from the sidecar's errors to gRPC statuses and their details.

Details follow google.rpc (error_details.proto): `ErrorInfo` always, `BadRequest` when a field of the request is at
fault, `RetryInfo` when waiting helps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from sidecar.call import Code, StatusError
from sidecar.errors import Reason

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sidecar.errors import SidecarError
    from sidecar.gen.sidecar.v1 import common_pb2

DOMAIN = "sidecar.v1"

CODES: dict[Reason, Code] = {
    Reason.MESSAGE_MALFORMED: Code.INVALID_ARGUMENT,
    Reason.CACHE_UNKNOWN: Code.NOT_FOUND,
    Reason.POLICY_UNKNOWN: Code.NOT_FOUND,
    Reason.KEY_EMPTY: Code.INVALID_ARGUMENT,
    Reason.KEY_TOO_LONG: Code.INVALID_ARGUMENT,
    Reason.VALUE_TOO_LARGE: Code.INVALID_ARGUMENT,
    Reason.TTL_NOT_POSITIVE: Code.INVALID_ARGUMENT,
    Reason.TTL_TOO_LONG: Code.INVALID_ARGUMENT,
    Reason.COST_ABOVE_LIMIT: Code.INVALID_ARGUMENT,
    Reason.CONDITION_EMPTY: Code.INVALID_ARGUMENT,
    Reason.BATCH_SIZE: Code.INVALID_ARGUMENT,
    Reason.FIELD_COUNT: Code.INVALID_ARGUMENT,
    Reason.FIELD_NAME: Code.INVALID_ARGUMENT,
    Reason.FIELD_VALUE: Code.INVALID_ARGUMENT,
    Reason.IDEMPOTENCY_KEY_TOO_LONG: Code.INVALID_ARGUMENT,
    Reason.OPERATION_EMPTY: Code.INVALID_ARGUMENT,
    Reason.IDEMPOTENCY_KEY_REUSED: Code.FAILED_PRECONDITION,
    Reason.VALUE_NOT_INTEGER: Code.FAILED_PRECONDITION,
    Reason.COUNTER_OUT_OF_RANGE: Code.OUT_OF_RANGE,
    Reason.WRONG_TYPE: Code.FAILED_PRECONDITION,
    Reason.TAGS_UNSUITABLE: Code.INVALID_ARGUMENT,
    Reason.PREFIX_UNSUITABLE: Code.INVALID_ARGUMENT,
    Reason.UNSUPPORTED_BY_CACHE: Code.FAILED_PRECONDITION,
    Reason.ENTRY_MALFORMED: Code.FAILED_PRECONDITION,
    Reason.STORE_UNAVAILABLE: Code.UNAVAILABLE,
    # Not UNAVAILABLE: clients retry that by themselves, and this write may have been applied.
    Reason.OUTCOME_UNKNOWN: Code.UNKNOWN,
    Reason.STORE_OUT_OF_MEMORY: Code.RESOURCE_EXHAUSTED,
    Reason.STORE_DENIED: Code.INTERNAL,
    Reason.STORE_ERROR: Code.INTERNAL,
    Reason.DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
    Reason.OVERLOADED: Code.RESOURCE_EXHAUSTED,
    Reason.ANSWER_TOO_LARGE: Code.RESOURCE_EXHAUSTED,
    Reason.MESSAGE_TOO_LARGE: Code.RESOURCE_EXHAUSTED,
    Reason.STOPPING: Code.UNAVAILABLE,
    # Not UNAVAILABLE, which promises that nothing was changed.
    Reason.INTERRUPTED: Code.CANCELLED,
    Reason.CIPHERTEXT_REJECTED: Code.DATA_LOSS,
    Reason.KEY_ENCRYPTION_KEY_UNKNOWN: Code.FAILED_PRECONDITION,
    Reason.METHOD_UNKNOWN: Code.UNIMPLEMENTED,
    Reason.INTERNAL: Code.INTERNAL,
    Reason.SERVICE_UNKNOWN: Code.NOT_FOUND,
    Reason.WRONG_ALGORITHM: Code.INVALID_ARGUMENT,
    Reason.SLOTS_ZERO: Code.INVALID_ARGUMENT,
    Reason.LEASE_OUT_OF_BOUNDS: Code.INVALID_ARGUMENT,
    Reason.HOLDER_TOO_LONG: Code.INVALID_ARGUMENT,
    Reason.TOKEN_MALFORMED: Code.INVALID_ARGUMENT,
    Reason.HOLDER_REUSED: Code.FAILED_PRECONDITION,
    # Not NOT_FOUND, which is what a caller's configuration gets wrong: this one has to stop what it does.
    Reason.LEASE_UNKNOWN: Code.FAILED_PRECONDITION,
    Reason.OVERRIDE_INVALID: Code.INVALID_ARGUMENT,
    Reason.OVERRIDE_EXPIRY: Code.INVALID_ARGUMENT,
    Reason.OVERRIDES_FULL: Code.RESOURCE_EXHAUSTED,
    Reason.TIER_UNKNOWN: Code.INVALID_ARGUMENT,
    Reason.RESERVATIONS_OFF: Code.FAILED_PRECONDITION,
    Reason.RESERVATION_COST_ZERO: Code.INVALID_ARGUMENT,
    Reason.RESERVATION_TTL_OUT_OF_BOUNDS: Code.INVALID_ARGUMENT,
    Reason.RESERVATION_ID_TOO_LONG: Code.INVALID_ARGUMENT,
    Reason.RESERVATION_ID_REUSED: Code.FAILED_PRECONDITION,
    Reason.RESERVATION_UNKNOWN: Code.FAILED_PRECONDITION,
    Reason.RESERVATIONS_FULL: Code.RESOURCE_EXHAUSTED,
    Reason.ORIGIN_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.ORIGIN_TIMED_OUT: Code.DEADLINE_EXCEEDED,
    Reason.ORIGIN_REFUSED: Code.FAILED_PRECONDITION,
    Reason.ORIGIN_ANSWER: Code.INTERNAL,
    Reason.ORIGIN_BUSY: Code.RESOURCE_EXHAUSTED,
    Reason.ORIGIN_OUTCOME_UNKNOWN: Code.UNKNOWN,
    Reason.WARM_LIST_UNSUITABLE: Code.FAILED_PRECONDITION,
    Reason.READ_TOKEN_MALFORMED: Code.INVALID_ARGUMENT,
    Reason.STALENESS_NEGATIVE: Code.INVALID_ARGUMENT,
    Reason.WRITE_BEHIND_FULL: Code.RESOURCE_EXHAUSTED,
    # As OUTCOME_UNKNOWN: clients retry UNAVAILABLE by themselves, and this write was made.
    Reason.WRITE_NOT_CONFIRMED: Code.UNKNOWN,
    Reason.DEAD_LETTER_MALFORMED: Code.INVALID_ARGUMENT,
    Reason.CHANGE_EXPIRED: Code.FAILED_PRECONDITION,
}


def to_status(error: SidecarError) -> StatusError:
    """Return how a call that raised `error` ends."""
    code = CODES[error.reason]
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=dict(error.metadata))
    ]
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message, reason=error.reason.name
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_ms is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=int(code), message=error.message, details=[_packed(detail) for detail in details])
    return StatusError(code, error.message, status.SerializeToString())


def fill_failure(failure: common_pb2.Failure, error: SidecarError) -> None:
    """Say the same of one item of a batch."""
    failure.code = int(CODES[error.reason])
    failure.reason = f"ERROR_REASON_{error.reason.name}"  # type: ignore[assignment]  # a name is taken, too
    failure.message = error.message
    failure.field = error.field or ""
    failure.metadata.update(error.metadata)
    if error.retry_after_ms is not None:
        failure.retry_after.FromMilliseconds(error.retry_after_ms)


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
