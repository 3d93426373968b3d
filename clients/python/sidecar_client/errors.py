"""How calls fail.

Every failed call raises a `SidecarError`. Its class follows the status code, and the reason where that says more:

    InvalidRequestError     INVALID_ARGUMENT     the request itself is wrong; `field` names the part at fault
    NotConfiguredError      NOT_FOUND            no cache or rate limit policy of that name
    PreconditionError       FAILED_PRECONDITION, what is stored, or the cache's policy, rules it out
                            OUT_OF_RANGE         its subclass
      LeaseLostError          LEASE_UNKNOWN        the lease has ended, or was never this key's
      ReservationLostError    RESERVATION_UNKNOWN  the reservation has ended, or was never this key's
    UnavailableError        UNAVAILABLE          the sidecar or its store cannot be reached
    ExhaustedError          RESOURCE_EXHAUSTED   the store is full; its subclass
      OverloadedError         OVERLOADED           the sidecar has too many calls in flight
    DeadlineExceededError   DEADLINE_EXCEEDED    also a TimeoutError; a write may have been applied
    OutcomeUnknownError     OUTCOME_UNKNOWN      a write may have been applied
    DataLossError           DATA_LOSS            a sealed value does not authenticate
    InternalError           INTERNAL             the sidecar or the store is at fault

What the sidecar says about an error travels as a `google.rpc.Status` in the trailer `grpc-status-details-bin`. An
error that the sidecar did not make (a broken connection, a deadline that passed on this side) has none; its reason is
then the name of its status code, so `reason` is never empty.
"""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from sidecar_client.durations import from_duration
from sidecar_client.gen.sidecar.v1 import error_reason_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from typing import Any

    from sidecar_client.gen.sidecar.v1 import common_pb2

DOMAIN = "sidecar.v1"
DETAILS_TRAILER = "grpc-status-details-bin"

COST_ABOVE_LIMIT = "COST_ABOVE_LIMIT"
OVERLOADED = "OVERLOADED"
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
LEASE_UNKNOWN = "LEASE_UNKNOWN"
RESERVATION_UNKNOWN = "RESERVATION_UNKNOWN"

# How gRPC begins what it says where no connection can be made.
_UNCONNECTED = "failed to connect to all addresses"

_NO_METADATA: Mapping[str, str] = MappingProxyType({})
_CODE_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class SidecarError(Exception):
    """A call that failed.

    `code` is the gRPC status code, `reason` a name from the catalogue in error_reason.proto without its prefix
    (`"CACHE_UNKNOWN"`), `field` the path of the request's field at fault (`"entries[3].ttl"`), `retry_after` the wait
    that the sidecar asks for, `metadata` the reason's particulars (`{"nearest": "balances"}`).
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        field: str | None = None,
        retry_after: timedelta | None = None,
        metadata: Mapping[str, str] = _NO_METADATA,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason or code.name
        self.field = field
        self.retry_after = retry_after
        self.metadata = metadata

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class InvalidRequestError(SidecarError):
    """The request itself is wrong, whatever is stored."""


class NotConfiguredError(SidecarError):
    """The sidecar's configuration has no cache or policy of that name."""


class PreconditionError(SidecarError):
    """What is stored, or the cache's policy, rules the call out."""


class LeaseLostError(PreconditionError):
    """A lease of slots has ended, was released or reset, or is another key's: another may hold the slots."""


class ReservationLostError(PreconditionError):
    """A reservation has ended, was committed, cancelled or reset, or is another key's: nothing was charged."""


class UnavailableError(SidecarError):
    """The sidecar, or the store behind it, cannot be reached."""


class ExhaustedError(SidecarError):
    """The store or the sidecar has no room left."""


class OverloadedError(ExhaustedError):
    """The sidecar has too many calls in flight; it did nothing for this one."""


class DeadlineExceededError(SidecarError, TimeoutError):
    """The call's deadline passed first. A write may still have been applied."""


class OutcomeUnknownError(SidecarError):
    """The store's connection broke after a write was sent: it may or may not have been applied."""


class DataLossError(SidecarError):
    """A sealed value does not authenticate; none of it was returned."""


class InternalError(SidecarError):
    """The sidecar or the store is at fault; the sidecar's log says more."""


class BatchError(SidecarError):
    """Some items of a batch failed; the others were done.

    `failures` holds the failed ones by key, `results` what the batch's method would have returned for the others. Code
    and reason are those of the first failure.
    """

    def __init__(self, results: Mapping[str, Any], failures: Mapping[str, SidecarError]) -> None:
        first = next(iter(failures.values()))
        total = len(results) + len(failures)
        super().__init__(
            f"{len(failures)} of {total} items failed, the first with: {first.message}",
            code=first.code,
            reason=first.reason,
        )
        self.results = results
        self.failures = failures


_BY_CODE: dict[grpc.StatusCode, type[SidecarError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotConfiguredError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.OUT_OF_RANGE: PreconditionError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.DATA_LOSS: DataLossError,
    grpc.StatusCode.INTERNAL: InternalError,
}

_BY_REASON: dict[str, type[SidecarError]] = {
    OVERLOADED: OverloadedError,
    OUTCOME_UNKNOWN: OutcomeUnknownError,
    LEASE_UNKNOWN: LeaseLostError,
    RESERVATION_UNKNOWN: ReservationLostError,
}


def error_class(code: grpc.StatusCode, reason: str) -> type[SidecarError]:
    """Return the class of an error; plain `SidecarError` for a code that the sidecar does not use."""
    return _BY_REASON.get(reason) or _BY_CODE.get(code, SidecarError)


class FailedCall(Protocol):
    """What gRPC raises, on an event loop (`AioRpcError`) or in a thread (an `RpcError` that is a `Call`)."""

    def code(self) -> grpc.StatusCode:
        """Return the status code."""

    def details(self) -> str | None:
        """Return the message."""

    def trailing_metadata(self) -> Any:
        """Return the trailers, as pairs."""


def _message(details: str) -> str:
    """Return what failed, in place of gRPC's own words for an address where nobody listens."""
    if not details.startswith(_UNCONNECTED):
        return details
    why = details.rpartition(": ")[2].lower()
    return f"no sidecar can be reached at the client's address ({why}); is it running there?"


def from_rpc_error(error: FailedCall) -> SidecarError:
    """Return the error that a failed call raises."""
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    with suppress(DecodeError):  # details that are not google.rpc's say nothing
        for detail in _details(error):
            if detail.Is(info.DESCRIPTOR):
                found = error_details_pb2.ErrorInfo.FromString(detail.value)
                if found.domain == DOMAIN:  # a proxy on the way may add its own
                    info = found
            else:
                detail.Unpack(request)
                detail.Unpack(retry)
    code = error.code()
    violations = request.field_violations
    return error_class(code, info.reason)(
        _message(error.details() or "no message"),
        code=code,
        reason=info.reason,
        field=violations[0].field if violations else None,
        retry_after=from_duration(retry.retry_delay) if retry.HasField("retry_delay") else None,
        metadata=dict(info.metadata),
    )


def from_failure(failure: common_pb2.Failure) -> SidecarError:
    """Return the error of one item of a batch."""
    code = _CODE_BY_NUMBER.get(failure.code, grpc.StatusCode.UNKNOWN)
    named = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(failure.reason)
    reason = named.name.removeprefix("ERROR_REASON_") if named is not None else ""
    return error_class(code, reason)(
        failure.message or "no message",
        code=code,
        reason=reason,
        field=failure.field or None,
        retry_after=from_duration(failure.retry_after) if failure.HasField("retry_after") else None,
        metadata=dict(failure.metadata),
    )


def _details(error: FailedCall) -> list[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_TRAILER and isinstance(value, bytes):
            return list(status_pb2.Status.FromString(value).details)
    return []
