"""Between protobuf's types and the domains': durations, conditions, options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import duration_pb2

from sidecar.cache.request import ALWAYS, IF_ABSENT, IF_PRESENT
from sidecar.errors import InvalidArgumentError, Reason

if TYPE_CHECKING:
    from sidecar.gen.sidecar.v1 import common_pb2

_NANOS_PER_MILLI = 1_000_000
_NANOS_PER_SECOND = 1_000_000_000


def duration_from_ms(milliseconds: int) -> duration_pb2.Duration:
    """Return a Duration of that many milliseconds, not negative."""
    seconds, rest = divmod(milliseconds, 1000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * _NANOS_PER_MILLI)


def duration_from_us(microseconds: int) -> duration_pb2.Duration:
    """Return a Duration of that many microseconds, not negative."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * 1000)


def ms_from_duration(duration: duration_pb2.Duration) -> int:
    """Return whole milliseconds; less than one is none, whatever the signs of its parts."""
    return (duration.seconds * _NANOS_PER_SECOND + duration.nanos) // _NANOS_PER_MILLI


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


def optional_ms(message: object, field: str) -> int | None:
    """Return the milliseconds of a message's Duration field, or None if it is unset."""
    return ms_from_duration(getattr(message, field)) if message.HasField(field) else None  # type: ignore[attr-defined]


def optional_condition(message: object, path: str = "") -> str:
    """Return the condition of a message that has such a field, `ALWAYS` if it is unset."""
    if not message.HasField("condition"):  # type: ignore[attr-defined]
        return ALWAYS
    return condition_from(message.condition, f"{path}condition")  # type: ignore[attr-defined]
