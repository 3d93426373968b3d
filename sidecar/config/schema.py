"""The JSON schema of the configuration file, for editors.

It comes from the models, so it cannot disagree with what is loaded; rules between settings are beyond it.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from sidecar.config.model import Settings
from sidecar.config.quantities import Duration, Rate, WorkerCount

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ACRONYMS = {"ca", "otlp", "phi", "tls", "ttl", "url"}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, with titles and defaults as a person would write them."""

    def get_title_from_name(self, name: str) -> str:
        words = [word.upper() if word in _ACRONYMS else word for word in name.split("_")]
        return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])

    def encode_default(self, dft: Any) -> Any:
        return _written(dft)


def _written(value: Any) -> Any:
    """Return a default as it would stand in the file."""
    if isinstance(value, Duration | Rate):
        return str(value)
    if isinstance(value, WorkerCount):
        return value.written
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return value


def render_schema() -> str:
    """Return the schema (JSON Schema 2020-12) as indented text that ends with a newline."""
    schema = {"$schema": _DIALECT, **Settings.model_json_schema(schema_generator=_Generator)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
