"""What calls return: frozen, typed, and with no truth value.

A miss, a condition that did not hold and a refusal are answers, not errors. `if await limit.check(key):` would be
true for a refusal too if these were ordinary objects, so their truth value raises TypeError, and code has to say what
it asks for: `.allowed`, `.hit`, `.applied`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NoReturn

from sidecar_client.gen.sidecar.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from sidecar_client.fields import Value


class Outcome(Enum):
    """What a read found."""

    HIT = common_pb2.OUTCOME_HIT
    """The entry is there and fresh."""
    MISS = common_pb2.OUTCOME_MISS
    """There is no such entry."""
    STALE = common_pb2.OUTCOME_STALE
    """The entry is past its TTL, within the cache's `stale_for`: use it, and refresh it."""


class WriteOutcome(Enum):
    """What a write did."""

    APPLIED = common_pb2.WRITE_OUTCOME_APPLIED
    """The store has changed as asked."""
    CONDITION_NOT_MET = common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET
    """The condition did not hold; nothing changed."""
    NOT_FOUND = common_pb2.WRITE_OUTCOME_NOT_FOUND
    """There was nothing to change."""


class _NoTruthValue:
    """Refuses `if result:`."""

    __slots__ = ()
    _ask: ClassVar[str]

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is neither true nor false: ask {self._ask}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read(_NoTruthValue):
    _ask: ClassVar[str] = ".hit, .stale or .found"

    outcome: Outcome
    version: int = 0
    """Grows with every write of the key. 0 with a miss and in a raw cache."""
    ttl: timedelta | None = None
    """How long the entry stays fresh, zero when stale. None with a miss and for a raw key that never expires."""
    age: timedelta | None = None
    """How long ago the entry was written. None with a miss and in a raw cache."""

    @property
    def hit(self) -> bool:
        """Whether the entry is there and fresh."""
        return self.outcome is Outcome.HIT

    @property
    def stale(self) -> bool:
        """Whether the entry is there but due for a refresh."""
        return self.outcome is Outcome.STALE

    @property
    def found(self) -> bool:
        """Whether the entry is there, fresh or stale."""
        return self.outcome is not Outcome.MISS


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(_Read):
    """What is stored under a key of a cache."""

    value: bytes | None = None
    """What was set, byte for byte; None with a miss, and only then."""

    @property
    def text(self) -> str | None:
        """The value as UTF-8, None with a miss; raises UnicodeDecodeError when it is something else."""
        return None if self.value is None else self.value.decode()


# The slots themselves, past the guard that makes a dataclass frozen.
_new_lookup = partial(object.__new__, Lookup)
_set_outcome: Callable[[Lookup, Outcome], None] = vars(_Read)["outcome"].__set__
_set_version: Callable[[Lookup, int], None] = vars(_Read)["version"].__set__
_set_ttl: Callable[[Lookup, timedelta | None], None] = vars(_Read)["ttl"].__set__
_set_age: Callable[[Lookup, timedelta | None], None] = vars(_Read)["age"].__set__
_set_value: Callable[[Lookup, bytes | None], None] = vars(Lookup)["value"].__set__


def lookup_of(
    outcome: Outcome, value: bytes | None, version: int, ttl: timedelta | None, age: timedelta | None
) -> Lookup:
    """Return what `Lookup(...)` does, for the most frequent answer of all: 0.4 µs in place of 0.9.

    The constructor of a frozen dataclass looks for `object.__setattr__`, and each name in the class, for each field.
    """
    lookup = _new_lookup()
    _set_outcome(lookup, outcome)
    _set_value(lookup, value)
    _set_version(lookup, version)
    _set_ttl(lookup, ttl)
    _set_age(lookup, age)
    return lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(_Read):
    """What is stored under a key of a cache of records."""

    fields: Mapping[str, Value]
    """The fields that were asked for and are there; empty with a miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(_NoTruthValue):
    """What a write did."""

    _ask: ClassVar[str] = ".applied"

    outcome: WriteOutcome
    version: int
    """The entry's version after the call; 0 when there is none, and in a raw cache."""
    ttl: timedelta | None
    """The entry's TTL after the call; None when nothing was written."""

    @property
    def applied(self) -> bool:
        """Whether the store has changed as asked."""
        return self.outcome is WriteOutcome.APPLIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted(_NoTruthValue):
    """What a deletion did."""

    _ask: ClassVar[str] = ".applied"

    outcome: WriteOutcome

    @property
    def applied(self) -> bool:
        """Whether an entry was removed."""
        return self.outcome is WriteOutcome.APPLIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(_NoTruthValue):
    """A counter after an addition."""

    _ask: ClassVar[str] = ".value"

    value: int
    version: int
    """The entry's new version; 0 in a raw cache."""
    ttl: timedelta | None
    """How long the counter still lives; None for a raw key that never expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(_NoTruthValue):
    """What a rate limit says."""

    _ask: ClassVar[str] = ".allowed"

    allowed: bool
    limit: int
    """The most that can be taken at once."""
    remaining: int
    """What is left after this decision."""
    retry_after: timedelta
    """How long until the same cost could be allowed; zero when it was."""
    reset_after: timedelta
    """How long until the whole allowance is back."""
