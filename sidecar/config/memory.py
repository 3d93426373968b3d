"""How much of the store's memory a cache may take, as people write it: `80%` of its `maxmemory`, or a size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.config.quantities import parse_size, render_size
from sidecar.config.words import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_PERCENT_PATTERN = r"^[1-9][0-9]?%$"
_SIZE_PATTERN = r"^[0-9]{1,15}(B|KiB|MiB|GiB)$"
_PERCENT = re.compile(r"([1-9][0-9]?)%")
# Less is a number of entries that fits into one sample.
_LEAST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MemoryShare:
    """A share of the store's `maxmemory`, or a number of bytes; exactly one of the two is not 0."""

    percent: int = 0
    size_bytes: int = 0

    @property
    def written(self) -> str:
        """The setting as it stands in a file."""
        return f"{self.percent}%" if self.percent else render_size(self.size_bytes)

    @classmethod
    def parse(cls, text: str) -> MemoryShare:
        """Read `80%` or `256MiB`; raises ValueError with a sentence."""
        matched = _PERCENT.fullmatch(text)
        if matched is not None:
            return cls(percent=int(matched[1]))
        if text.endswith("%"):
            raise ValueError("a share of the store's memory is a whole number from 1 to 99 and %, such as 80%")
        try:
            size = parse_size(text)
        except ValueError:
            raise ValueError("must be a share of the store's memory, such as 80%, or a size, such as 256MiB") from None
        if size < _LEAST_BYTES:
            raise ValueError(f"{text} is below the least allowed, {render_size(_LEAST_BYTES)}")
        return cls(size_bytes=size)

    @classmethod
    def _validate(cls, value: object) -> MemoryShare:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError("must be a share of the store's memory, such as 80%, or a size, such as 256MiB")

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
        return {
            "anyOf": [{"type": "string", "pattern": _PERCENT_PATTERN}, {"type": "string", "pattern": _SIZE_PATTERN}]
        }
