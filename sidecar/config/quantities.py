"""Quantities as people write them: `30s`, `1MiB`, `100/s`.

A duration is a whole number and a unit: `250ms`, `30s`, `5m`, `24h`, `7d`. There are no fractions and no sums (`1.5s`,
`1h30m`): a reader compares two settings at a glance. ISO 8601 (`PT5M`) was rejected because nobody writes it without
looking it up. A bare number is refused, except 0: seconds and milliseconds look alike, and the wrong guess is off by a
thousand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.config.words import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_MS_PER_UNIT = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES_PER_UNIT = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Fifteen digits are far beyond every bound of a setting, and no number grows large enough to be slow.
_DURATION_PATTERN = r"^[0-9]{1,15}(ms|s|m|h|d)$"
_SIZE_PATTERN = r"^[0-9]{1,15}(B|KiB|MiB|GiB)$"
_RATE_PATTERN = r"^[0-9]{1,12}/(s|m|h|d)$"
# More than the cores of the machines that run a sidecar beside something else.
MOST_WORKERS = 64
_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
_RATE = re.compile(r"([0-9]{1,12})/(s|m|h|d)")


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time, in whole milliseconds."""

    ms: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read `250ms`, `30s`, `5m`, `24h` or `7d`; raises ValueError with a sentence."""
        matched = _DURATION.fullmatch(text)
        if matched is None:
            raise ValueError("a duration is a whole number and one of ms, s, m, h, d, such as 30s")
        return cls(int(matched[1]) * _MS_PER_UNIT[matched[2]])

    @property
    def seconds(self) -> float:
        """The duration in seconds, as timers want it."""
        return self.ms / 1000

    def __str__(self) -> str:
        """Return the shortest text that `parse` reads back as this duration."""
        if self.ms == 0:
            return "0s"
        unit = next(unit for unit in reversed(_MS_PER_UNIT) if self.ms % _MS_PER_UNIT[unit] == 0)
        return f"{self.ms // _MS_PER_UNIT[unit]}{unit}"

    @classmethod
    def _validate(cls, value: object) -> Duration:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(0) if value == "0" else cls.parse(value)
        if isinstance(value, int) and not isinstance(value, bool):
            if value == 0:
                return cls(0)
            raise ValueError(f"{_short(value)} has no unit; write {_short(value)}s for seconds")
        raise ValueError("must be a duration, such as 30s")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "pattern": _DURATION_PATTERN}, {"const": 0}]}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in each period of `per_ms` milliseconds, spread evenly."""

    amount: int
    per_ms: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `100/s`, `6000/m`, `10/h` or `1/d`; raises ValueError with a sentence."""
        matched = _RATE.fullmatch(text)
        if matched is None:
            raise ValueError("a rate is a whole number per s, m, h or d, such as 100/s")
        return cls(int(matched[1]), _MS_PER_UNIT[matched[2]])

    def __str__(self) -> str:
        """Return the text that `parse` reads back as this rate."""
        unit = next(unit for unit, ms in _MS_PER_UNIT.items() if ms == self.per_ms)
        return f"{self.amount}/{unit}"

    @classmethod
    def _validate(cls, value: object) -> Rate:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError("must be a rate, such as 100/s")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": _RATE_PATTERN}


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """How many processes serve: a number, or as many as make use of the machine."""

    number: int | None
    """None for `auto`."""

    @property
    def written(self) -> int | str:
        """The setting as it stands in the file."""
        return "auto" if self.number is None else self.number

    @classmethod
    def _validate(cls, value: object) -> WorkerCount:
        if isinstance(value, cls):
            return value
        if value == "auto":
            return cls(None)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"must be a whole number from 1 to {MOST_WORKERS}, or auto")  # noqa: TRY004 (pydantic wants it)
        if not 1 <= value <= MOST_WORKERS:
            raise ValueError(f"{_short(value)} is not from 1 to {MOST_WORKERS}")
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.written),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}, {"const": "auto"}]}


def parse_size(text: str) -> int:
    """Read `512B`, `64KiB`, `1MiB` or `2GiB` as bytes; raises ValueError with a sentence."""
    matched = _SIZE.fullmatch(text)
    if matched is None:
        raise ValueError("a size is a whole number and one of B, KiB, MiB, GiB, such as 1MiB")
    return int(matched[1]) * _BYTES_PER_UNIT[matched[2]]


def render_size(size_bytes: int) -> str:
    """Return the shortest text that `parse_size` reads back as this many bytes."""
    if size_bytes == 0:
        return "0B"
    unit = next(unit for unit in reversed(_BYTES_PER_UNIT) if size_bytes % _BYTES_PER_UNIT[unit] == 0)
    return f"{size_bytes // _BYTES_PER_UNIT[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Lasting:
    """Marks a `Duration` setting with the least and the most that it may be."""

    least: str
    most: str

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        text = {"type": "string", "pattern": _DURATION_PATTERN}
        zero_allowed = Duration.parse(self.least).ms == 0
        return {"anyOf": [text, {"const": 0}]} if zero_allowed else text

    def _check(self, value: Duration) -> Duration:
        if value < Duration.parse(self.least):
            raise ValueError(f"{value} is below the least allowed, {self.least}")
        if value > Duration.parse(self.most):
            raise ValueError(f"{value} is above the most allowed, {self.most}")
        return value


@dataclass(frozen=True, slots=True)
class Sized:
    """Marks an `int` setting as a size in bytes, written `1MiB` or as a bare number of bytes, within bounds."""

    least: str
    most: str

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        bounds = {"minimum": parse_size(self.least), "maximum": parse_size(self.most)}
        return {"anyOf": [{"type": "string", "pattern": _SIZE_PATTERN}, {"type": "integer", **bounds}]}

    def _validate(self, value: object) -> int:
        if isinstance(value, str):
            value = parse_size(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("must be a size, such as 1MiB")  # noqa: TRY004 (pydantic wants it)
        if value < parse_size(self.least):
            raise ValueError(f"{_short_size(value)} is below the least allowed, {self.least}")
        if value > parse_size(self.most):
            raise ValueError(f"{_short_size(value)} is above the most allowed, {self.most}")
        return value


def _short(number: int) -> str:
    """Return the number, or a word for one too long to print."""
    return str(number) if abs(number) < 10**18 else "the number"


def _short_size(size_bytes: int) -> str:
    return render_size(size_bytes) if 0 <= size_bytes < 1 << 60 else _short(size_bytes)
