"""What all sections of the settings share: their base and the types of single settings."""

from __future__ import annotations

from typing import Annotated

from sidecar.config.addresses import check_address
from sidecar.config.words import AfterValidator, BaseModel, ConfigDict, Field, Strict

# Names become parts of Redis keys, metric labels and variables: no brace, no colon, no capital.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]
Address = Annotated[str, AfterValidator(check_address)]
NonEmpty = Annotated[str, Field(min_length=1, max_length=4096)]

# Strict, because Python would take `true` for 1 and 1 for `true`.
Count = Annotated[int, Strict()]
Share = Annotated[float, Strict()]
Switch = Annotated[bool, Strict()]


class Section(BaseModel):
    """A group of settings: immutable, and it refuses a key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
