"""Between protobuf's types and the domains': durations, conditions, options."""

from __future__ import annotations

from typing import Literal, Protocol

from google.protobuf import duration_pb2

from sidecar.cache.near.policy import ANY, Freshness, checked_staleness, moment_of
from sidecar.cache.policy import Outcome, WriteOutcome
from sidecar.cache.request import ALWAYS, IF_ABSENT, IF_PRESENT
from sidecar.errors import InvalidArgumentError, Reason
from sidecar.gen.sidecar.v1 import common_pb2

OUTCOMES = {
    Outcome.HIT: common_pb2.OUTCOME_HIT,
    Outcome.MISS: common_pb2.OUTCOME_MISS,
    Outcome.STALE: common_pb2.OUTCOME_STALE,
}
WRITE_OUTCOMES = {
    WriteOutcome.APPLIED: common_pb2.WRITE_OUTCOME_APPLIED,
    WriteOutcome.CONDITION_NOT_MET: common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET,
    WriteOutcome.NOT_FOUND: common_pb2.WRITE_OUTCOME_NOT_FOUND,
}

NANOS_PER_MILLI = 1_000_000
_NANOS_PER_SECOND = 1_000_000_000


def duration_from_ms(milliseconds: int) -> duration_pb2.Duration:
    """Return a Duration of that many milliseconds, not negative."""
    seconds, rest = divmod(milliseconds, 1000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * NANOS_PER_MILLI)


def set_ms(duration: duration_pb2.Duration, milliseconds: int) -> None:
    """Make a message's own Duration one of that many milliseconds, not negative."""
    duration.seconds, rest = divmod(milliseconds, 1000)
    duration.nanos = rest * NANOS_PER_MILLI


def set_us(duration: duration_pb2.Duration, microseconds: int) -> None:
    """Make a message's own Duration one of that many microseconds, not negative, and have it set if it is zero."""
    duration.seconds, rest = divmod(microseconds, 1_000_000)
    duration.nanos = rest * 1000


def ms_from_duration(duration: duration_pb2.Duration) -> int:
    """Return whole milliseconds; less than one is none, whatever the signs of its parts."""
    return (duration.seconds * _NANOS_PER_SECOND + duration.nanos) // NANOS_PER_MILLI


def freshness_of(request: _AsksFresh) -> Freshness:
    """Return how new the answer to a read must be; raises STALENESS_NEGATIVE, READ_TOKEN_MALFORMED."""
    token, limited = request.token, request.HasField("max_staleness")
    if not token and not limited:
        return ANY
    seconds = None
    if limited:
        seconds = checked_staleness(request.max_staleness.seconds + request.max_staleness.nanos / _NANOS_PER_SECOND)
    return Freshness(seconds, moment_of(token))


class _AsksFresh(Protocol):
    """A request with `google.protobuf.Duration max_staleness` and `string token`."""

    @property
    def token(self) -> str: ...

    @property
    def max_staleness(self) -> duration_pb2.Duration: ...

    def HasField(self, field_name: Literal["max_staleness"], /) -> bool: ...  # noqa: N802 (protobuf's name)


def condition_from(message: common_pb2.Condition, field: str = "condition") -> str:
    """Return a condition as the scripts take it; raises CONDITION_EMPTY for one that says nothing."""
    kind = message.WhichOneof("kind")
    if kind == "if_version":
        return str(message.if_version)
    if kind == "if_absent" and message.if_absent:
        return IF_ABSENT
    if kind == "if_present" and message.if_present:
        return IF_PRESENT
    raise InvalidArgumentError(
        Reason.CONDITION_EMPTY, "the condition says nothing: set if_absent, if_present or if_version", field=field
    )


class _HasTtl(Protocol):
    """A request with `google.protobuf.Duration ttl`."""

    @property
    def ttl(self) -> duration_pb2.Duration: ...

    def HasField(self, field_name: Literal["ttl"], /) -> bool: ...  # noqa: N802 (protobuf's name)


class _HasCondition(Protocol):
    """A request with `Condition condition`."""

    @property
    def condition(self) -> common_pb2.Condition: ...

    def HasField(self, field_name: Literal["condition"], /) -> bool: ...  # noqa: N802 (protobuf's name)


def ttl_ms_of(message: _HasTtl) -> int | None:
    """Return the milliseconds of a request's TTL, or None if it is unset."""
    return ms_from_duration(message.ttl) if message.HasField("ttl") else None


def condition_of(message: _HasCondition, path: str = "") -> str:
    """Return a request's condition, `ALWAYS` if it is unset."""
    return condition_from(message.condition, f"{path}condition") if message.HasField("condition") else ALWAYS
