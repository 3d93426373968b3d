"""What the classes of settings are written with: pydantic's words, or their plain namesakes (`plain.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config import plain

if TYPE_CHECKING or not plain.in_force:
    from pydantic import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        Strict,
        StringConstraints,
        model_validator,
    )
    from pydantic_core import PydanticCustomError, core_schema
else:
    from sidecar.config.plain import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        PydanticCustomError,
        Strict,
        StringConstraints,
        core_schema,
        model_validator,
    )

__all__ = [
    "AfterValidator",
    "BaseModel",
    "BeforeValidator",
    "ConfigDict",
    "Field",
    "PydanticCustomError",
    "Strict",
    "StringConstraints",
    "core_schema",
    "model_validator",
]
