"""A record's fields: Python values and the wire's typed ones.

    str -> text      bytes -> data       bool -> boolean
    int -> integer   float -> number     aware datetime -> time

Each comes back as it was put, with two marks: a time comes back in UTC, and to the microsecond, since that is what
`datetime` holds; another program's nanoseconds are cut off.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from sidecar_client.gen.sidecar.v1 import record_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | bytes | int | float | bool | datetime
"""What a field can hold."""


def to_field_value(value: Value) -> record_pb2.FieldValue:
    """Return `value` as it travels.

    Raises TypeError for another type, ValueError for a datetime without a time zone or an integer beyond 64 bits.
    """
    match value:
        case bool():  # before int, whose subclass it is
            return record_pb2.FieldValue(boolean=value)
        case str():
            return record_pb2.FieldValue(text=value)
        case bytes():
            return record_pb2.FieldValue(data=value)
        case int():
            return record_pb2.FieldValue(integer=value)
        case float():
            return record_pb2.FieldValue(number=value)
        case datetime():
            return record_pb2.FieldValue(time=_timestamp(value))
        case _:
            raise TypeError(
                f"a field holds str, bytes, int, float, bool or an aware datetime, not {type(value).__name__}"
            )


def to_field_values(fields: Mapping[str, Value]) -> dict[str, record_pb2.FieldValue]:
    """Return a record's fields as they travel."""
    return {name: to_field_value(value) for name, value in fields.items()}


def from_field_value(message: record_pb2.FieldValue) -> Value:
    """Return a field that arrived; raises ValueError for a kind that this version of the client does not know."""
    match message.WhichOneof("value"):
        case "text":
            return message.text
        case "data":
            return message.data
        case "integer":
            return message.integer
        case "number":
            return message.number
        case "boolean":
            return message.boolean
        case "time":
            return message.time.ToDatetime(tzinfo=UTC)
        case _:
            raise ValueError("the field's value is of a kind that this client does not know; use a newer one")


def from_field_values(fields: Mapping[str, record_pb2.FieldValue]) -> dict[str, Value]:
    """Return a record that arrived, in the order of its fields' names."""
    return {name: from_field_value(fields[name]) for name in sorted(fields)}


def _timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    if moment.tzinfo is None:
        raise ValueError("a datetime needs a time zone: without one it names no point in time")
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
