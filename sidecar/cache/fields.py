"""The values of record fields: their types, and their bytes in Redis.

A field is stored as one letter for its type and then its content, so that a value comes back as what it was:

    t  text: UTF-8             i  integer: 8 bytes, signed      o  boolean: 0 or 1
    b  bytes, as they are      n  number: 8 bytes, IEEE 754     m  time: 8 bytes of seconds, 4 of nanoseconds

All numbers are big-endian. A sealed field is the envelope of these bytes.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from sidecar.errors import InvalidArgumentError, Reason, StoreError

# What a FieldMask path can say, and short enough to stand in every envelope's associated data.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# A record is read and sealed as one; beyond this it is a table.
MAX_FIELDS = 256

_INTEGER = struct.Struct(">q")
_NUMBER = struct.Struct(">d")
_TIME = struct.Struct(">qI")


class Instant(NamedTuple):
    """A point in time to the nanosecond, which `datetime` cannot hold."""

    seconds: int
    nanos: int


# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, the range that google/protobuf/timestamp.proto gives.
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
_NANOS_PER_SECOND = 1_000_000_000


def is_in_range(time: Instant) -> bool:
    """Return whether a time is of the years 1 to 9999."""
    return _FIRST_SECOND <= time.seconds <= _LAST_SECOND and 0 <= time.nanos < _NANOS_PER_SECOND


FieldValue = str | bytes | int | float | bool | Instant


def encode_field(value: FieldValue) -> bytes:
    """Return a field's bytes; the value is within its type's range."""
    if isinstance(value, str):
        return b"t" + value.encode()
    if isinstance(value, bytes):
        return b"b" + value
    if isinstance(value, bool):
        return b"o\x01" if value else b"o\x00"
    if isinstance(value, int):
        return b"i" + _INTEGER.pack(value)
    if isinstance(value, float):
        return b"n" + _NUMBER.pack(value)
    return b"m" + _TIME.pack(*value)


def decode_field(stored: bytes) -> FieldValue:
    """Return the value of a field's bytes; raises `StoreError` (ENTRY_MALFORMED)."""
    kind, content = stored[:1], stored[1:]
    try:
        if kind == b"t":
            return content.decode()
        if kind == b"b":
            return content
        if kind == b"i":
            return int(_INTEGER.unpack(content)[0])
        if kind == b"n":
            return float(_NUMBER.unpack(content)[0])
        if kind == b"o" and content in {b"\x00", b"\x01"}:
            return content == b"\x01"
        if kind == b"m":
            time = Instant(*_TIME.unpack(content))
            if is_in_range(time):
                return time
    except (struct.error, UnicodeDecodeError):
        raise _malformed() from None
    raise _malformed()


def decode_name(stored: bytes) -> str:
    """Return a field's name; raises `StoreError` (ENTRY_MALFORMED)."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _malformed() -> StoreError:
    return StoreError(Reason.ENTRY_MALFORMED, "a field of the record was not written by a sidecar of this format")


def check_field_names(names: list[str], path: str) -> None:
    """Raise FIELD_COUNT or FIELD_NAME if these cannot be a record's fields."""
    if len(names) > MAX_FIELDS:
        raise InvalidArgumentError(Reason.FIELD_COUNT, f"a record has at most {MAX_FIELDS} fields", field=path)
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidArgumentError(
                Reason.FIELD_NAME, "a field's name must match [A-Za-z_][A-Za-z0-9_]{0,63}", field=path
            )
    if len(set(names)) != len(names):
        raise InvalidArgumentError(Reason.FIELD_NAME, "a field is named twice", field=path)
