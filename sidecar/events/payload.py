"""From what an event carries to the fields that rules look at. Pure.

Whoever can publish an event decides what stands in it, so nothing here may fail otherwise than by `MisfitError`: not
for what is no JSON, nests a million deep, or holds a number of a million digits.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Fields = dict[str, Any]

CHANNEL = "@channel"
"""The field with the channel, or the stream, that an event came by."""
TEXT = "text"
"""The field with the payload of an event that is not JSON."""

# PostgreSQL sends less than 8000 bytes; nobody needs a megabyte to say which keys have changed.
_MOST_BYTES = 1 << 20


class MisfitError(Exception):
    """The event is not what the rules are for. The text says what is wrong, and nothing of what it holds."""


def json_fields(payload: bytes, channel: str) -> Fields:
    """Return the fields of a JSON object; raises `MisfitError`."""
    if len(payload) > _MOST_BYTES:
        raise MisfitError("it is larger than 1 MiB")
    try:
        # Numbers stay as they are written: 12.50 is another key than 12.5.
        fields = json.loads(payload.decode(), parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError):
        raise MisfitError("it is not JSON") from None
    if not isinstance(fields, dict):
        raise MisfitError("it is no JSON object")
    return {**fields, CHANNEL: channel}


def text_fields(payload: bytes, channel: str) -> Fields:
    """Return a payload as the one field `text`; raises `MisfitError`."""
    if len(payload) > _MOST_BYTES:
        raise MisfitError("it is larger than 1 MiB")
    try:
        return {TEXT: payload.decode(), CHANNEL: channel}
    except UnicodeDecodeError:
        raise MisfitError("it is not UTF-8 text") from None


def entry_fields(pairs: Sequence[bytes], channel: str) -> Fields:
    """Return the fields of a stream's entry, all of them texts; raises `MisfitError`."""
    try:
        texts = [part.decode() for part in pairs]
    except UnicodeDecodeError:
        raise MisfitError("it is not UTF-8 text") from None
    fields: Mapping[str, str] = dict(zip(texts[::2], texts[1::2], strict=True))
    return {**fields, CHANNEL: channel}


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")
