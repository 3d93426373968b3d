"""What is limited: a tree of rules for each domain, and what a request brings to be matched against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.ratelimit.policy import Policy


class Unit(IntEnum):
    """The windows; the numbers are those of `RateLimitResponse.RateLimit.Unit`."""

    SECOND = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    MONTH = 5
    YEAR = 6
    WEEK = 7

    @property
    def length_us(self) -> int:
        """How long a window is, in microseconds: a month has 30 days, a year 365, as in envoyproxy/ratelimit."""
        return _LENGTH_US[self]


_DAY_US = 86_400_000_000
_LENGTH_US = {
    Unit.SECOND: 1_000_000,
    Unit.MINUTE: 60_000_000,
    Unit.HOUR: 3_600_000_000,
    Unit.DAY: _DAY_US,
    Unit.WEEK: 7 * _DAY_US,
    Unit.MONTH: 30 * _DAY_US,
    Unit.YEAR: 365 * _DAY_US,
}

Value = None | bool | float | str | list["Value"] | dict[str, "Value"]
"""What metadata may hold."""

Entry = tuple[str, str]
"""A key and a value; a value that is not given is empty."""


class Limit(NamedTuple):
    """So many in each window; the answer repeats it."""

    requests_per_unit: int
    unit: Unit
    name: str = ""


class Asked(NamedTuple):
    """One descriptor of a request."""

    entries: tuple[Entry, ...]
    hits: int
    """What it adds; 0 only looks."""
    limit: Limit | None = None
    """A limit that the request brings along; it goes before any rule, and is neither shadow nor quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit of the configuration."""

    limit: Limit | None
    """None: unlimited."""
    label: str
    """The composites of the descriptors that lead to it, joined by dots: its name in metrics."""
    replaces: frozenset[str] = frozenset()
    """Names of limits that do not apply to a request that this one applies to."""
    shadow_mode: bool = False
    quota_mode: bool = False
    detailed_metric: bool = False
    metadata: Mapping[str, Value] = field(default_factory=dict)
    """What is told of the limit to those who are within it."""
    policy: Policy | None = None
    """Another algorithm than the fixed window, and its numbers."""


class Wildcard(NamedTuple):
    """A composite with a `*`, which stands for any characters or none."""

    composite: str
    parts: tuple[str, ...]
    """What stands before, between and after the asterisks."""

    def matches(self, text: str) -> bool:
        """Say whether the parts are found in the text in their order, the first at its begin, the last at its end."""
        first, *between, last = self.parts
        if len(first) + len(last) > len(text) or not (text.startswith(first) and text.endswith(last)):
            return False
        position, end = len(first), len(text) - len(last)
        for part in between:
            found = text.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One descriptor of the configuration, or the top of a domain."""

    children: Mapping[str, Node] = field(default_factory=dict)
    """By composite: `key_value`, or `key` where no value is given."""
    rule: Rule | None = None
    share_threshold: bool = False
    value_to_metric: bool = False
    wildcards: tuple[Wildcard, ...] = field(init=False)
    """The composites with a wildcard, in the file's order."""

    def __post_init__(self) -> None:
        found = tuple(Wildcard(name, tuple(name.split("*"))) for name in self.children if "*" in name)
        object.__setattr__(self, "wildcards", found)
