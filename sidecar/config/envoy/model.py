"""What the files say, as plain data, and nothing yet of what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.config.problems import Origin, Problem

Unit = Literal["second", "minute", "hour", "day", "week", "month", "year"]
UNITS: tuple[Unit, ...] = get_args(Unit)

Algorithm = Literal["fixed_window", "sliding_window", "token_bucket"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

Value = None | bool | float | str | list["Value"] | dict[str, "Value"]
"""What a `google.protobuf.Value` can hold."""


class EnvoyFile(NamedTuple):
    """A file, read and not yet looked at."""

    source: str
    """Its path, as problems name it."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyLimit:
    """`rate_limit` of a descriptor."""

    requests_per_unit: int
    unit: Unit | None
    """None where the limit is `unlimited`."""
    name: str
    replaces: tuple[str, ...]
    algorithm: Algorithm
    burst: int | None
    """What a token bucket holds; None: `requests_per_unit`."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyDescriptor:
    """One descriptor, and those nested in it."""

    key: str
    value: str
    """Empty where none is given, which is the same."""
    limit: EnvoyLimit | None
    descriptors: tuple[EnvoyDescriptor, ...]
    shadow_mode: bool
    quota_mode: bool
    detailed_metric: bool
    value_to_metric: bool
    share_threshold: bool
    metadata: Mapping[str, Value]
    origin: Origin

    @property
    def composite(self) -> str:
        """What requests are matched against: `key`, or `key_value`."""
        return f"{self.key}_{self.value}" if self.value else self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyDomain:
    """A domain; where domains are merged, of all files that name it."""

    name: str
    descriptors: tuple[EnvoyDescriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyConfig:
    """All domains."""

    domains: tuple[EnvoyDomain, ...]
    warnings: tuple[Problem, ...]
    """What the files say without effect."""
