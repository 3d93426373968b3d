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

from sidecar_client.durations import optional_timedelta, to_duration
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2

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


class Enforcement(Enum):
    """What a decision of a rate limit rests on."""

    UNSPECIFIED = rate_limit_pb2.ENFORCEMENT_UNSPECIFIED
    """A sidecar that does not say so: the store, then; or an enforcement that is newer than this client."""
    STORE = rate_limit_pb2.ENFORCEMENT_STORE
    """The store's count over all sidecars."""
    FAILED_OPEN = rate_limit_pb2.ENFORCEMENT_FAILED_OPEN
    """Nothing: the store is gone, and the policy then allows everything."""
    FAILED_CLOSED = rate_limit_pb2.ENFORCEMENT_FAILED_CLOSED
    """Nothing: the store is gone, and the policy then refuses everything."""
    LOCAL_SHARE = rate_limit_pb2.ENFORCEMENT_LOCAL_SHARE
    """The sidecar's own count, of its share of the limit: the store is gone."""
    LEASE = rate_limit_pb2.ENFORCEMENT_LEASE
    """Tokens that the sidecar had borrowed from the store's count."""


_ENFORCEMENTS: dict[int, Enforcement] = {enforcement.value: enforcement for enforcement in Enforcement}


def enforcement_of(number: int) -> Enforcement:
    """Return what a number of an answer means."""
    return _ENFORCEMENTS.get(number, Enforcement.UNSPECIFIED)


class _NoTruthValue:
    """Refuses `if result:`."""

    __slots__ = ()
    _ask: ClassVar[str]

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is neither true nor false: ask {self._ask}")


class _Read(_NoTruthValue):
    """What all reads have in common."""

    __slots__ = ()
    _ask: ClassVar[str] = ".hit, .stale or .found"

    if TYPE_CHECKING:

        @property
        def outcome(self) -> Outcome:
            """What was found; a subclass has it as a field or a property."""

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


class Lookup(_Read):
    """What is stored under a key of a cache.

    The most frequent answer of all. It keeps the message and takes from it what it is asked for: as a dataclass, filled
    in whether or not anybody asks for an age, it was a tenth of a batching client's work.
    """

    __slots__ = ("_answer",)
    _answer: cache_pb2.GetResponse

    def __init__(
        self,
        *,
        outcome: Outcome,
        value: bytes | None = None,
        version: int = 0,
        ttl: timedelta | None = None,
        age: timedelta | None = None,
    ) -> None:
        answer = cache_pb2.GetResponse(
            outcome=outcome.value, value=value or b"", version=version, ttl=to_duration(ttl), age=to_duration(age)
        )
        _set_answer(self, answer)

    @property
    def outcome(self) -> Outcome:
        """What was found; raises ValueError if the sidecar found what this client does not know of."""
        return Outcome(self._answer.outcome)

    @property
    def value(self) -> bytes | None:
        """What was set, byte for byte; None with a miss, and only then."""
        return None if self._answer.outcome == common_pb2.OUTCOME_MISS else self._answer.value

    @property
    def text(self) -> str | None:
        """The value as UTF-8, None with a miss; raises UnicodeDecodeError when it is something else."""
        return None if self.value is None else self.value.decode()

    @property
    def version(self) -> int:
        """Grows with every write of the key. 0 with a miss and in a raw cache."""
        return self._answer.version

    @property
    def ttl(self) -> timedelta | None:
        """How long the entry stays fresh, zero when stale. None with a miss and for a raw key that never expires."""
        return optional_timedelta(self._answer, "ttl")

    @property
    def age(self) -> timedelta | None:
        """How long ago the entry was written. None with a miss and in a raw cache."""
        return optional_timedelta(self._answer, "age")

    @property
    def from_copy(self) -> bool:
        """Whether it is a copy that the sidecar had, in a cache with a near cache (`l1`)."""
        return self._answer.source == common_pb2.SOURCE_L1

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Lookup cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        return self._whole() == other._whole() if isinstance(other, Lookup) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._whole())

    def __repr__(self) -> str:
        outcome, value, version, ttl, age = self._whole()
        return f"Lookup({outcome=!s}, {value=}, {version=}, {ttl=}, {age=})"

    def __reduce__(self) -> tuple[Callable[[bytes], Lookup], tuple[bytes]]:
        return _unpickled, (self._answer.SerializeToString(),)

    def _whole(self) -> tuple[Outcome, bytes | None, int, timedelta | None, timedelta | None]:
        return self.outcome, self.value, self.version, self.ttl, self.age


# The slot itself, past the guard against changes.
_set_answer: Callable[[Lookup, cache_pb2.GetResponse], None] = vars(Lookup)["_answer"].__set__
_new_lookup = partial(object.__new__, Lookup)


def lookup_of(answer: cache_pb2.GetResponse) -> Lookup:
    """Return an answer that arrived; nobody may change it any more."""
    lookup = _new_lookup()
    _set_answer(lookup, answer)
    return lookup


def _unpickled(packed: bytes) -> Lookup:
    return lookup_of(cache_pb2.GetResponse.FromString(packed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(_Read):
    """What is stored under a key of a cache of records."""

    outcome: Outcome
    fields: Mapping[str, Value]
    """The fields that were asked for and are there; empty with a miss."""
    version: int = 0
    """Grows with every write of the key. 0 with a miss."""
    ttl: timedelta | None = None
    """How long the entry stays fresh, zero when stale. None with a miss."""
    age: timedelta | None = None
    """How long ago the entry was written. None with a miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(_NoTruthValue):
    """What a write did."""

    _ask: ClassVar[str] = ".applied"

    outcome: WriteOutcome
    version: int
    """The entry's version after the call; 0 when there is none, and in a raw cache."""
    ttl: timedelta | None
    """The entry's TTL after the call; None when nothing was written."""
    token: str = ""
    """For `after` of a later read; empty when a condition was not met, and in a raw cache."""

    @property
    def applied(self) -> bool:
        """Whether the store has changed as asked."""
        return self.outcome is WriteOutcome.APPLIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted(_NoTruthValue):
    """What a deletion did."""

    _ask: ClassVar[str] = ".applied"

    outcome: WriteOutcome
    token: str = ""
    """For `after` of a later read; empty when the condition was not met, and in a raw cache."""

    @property
    def applied(self) -> bool:
        """Whether an entry was removed."""
        return self.outcome is WriteOutcome.APPLIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidated(_NoTruthValue):
    """What an invalidation did."""

    _ask: ClassVar[str] = ".removed"

    removed: int
    """How many entries, by keys and tags; 0 by a prefix or of a whole cache, where it is not known."""
    generation: int
    """The cache's new one; 0 by keys."""
    token: str = ""
    """For `after` of a later read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(_NoTruthValue):
    """A counter after an addition."""

    _ask: ClassVar[str] = ".value"

    value: int
    version: int
    """The entry's new version; 0 in a raw cache."""
    ttl: timedelta | None
    """How long the counter still lives; None for a raw key that never expires."""
    token: str = ""
    """For `after` of a later read; empty in a raw cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatus(_NoTruthValue):
    """What one of the several limits of a policy says."""

    _ask: ClassVar[str] = ".allowed"

    name: str
    allowed: bool
    limit: int
    """The most that can be taken from it at once."""
    remaining: int
    retry_after: timedelta
    reset_after: timedelta


class DecidedBy(Enum):
    """What a decision on a key rests on."""

    LIMITS = 0
    UNLIMITED_POLICY = 1
    UNLIMITED_KEY = 2
    ZERO_LIMIT = 3
    DENIED_KEY = 4
    OVERRIDE_UNLIMITED = 5
    OVERRIDE_DENIED = 6
    OVERRIDE_LIMITS = 7
    TIER_UNLIMITED = 8
    TIER_DENIED = 9
    TIER_LIMITS = 10
    UNKNOWN = -1
    """Something that a newer sidecar has."""

    @classmethod
    def _missing_(cls, _value: object) -> DecidedBy:
        return cls.UNKNOWN


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
    limits: tuple[LimitStatus, ...] = ()
    """What each limit says, where the policy has several. The rest is then that of the one of which least remains."""
    decided_by: DecidedBy = DecidedBy.LIMITS
    shadow_denied: bool = False
    """Whether it was allowed only because the policy is in shadow mode."""
    enforcement: Enforcement = Enforcement.UNSPECIFIED
    """What the decision rests on; STORE but while the store is gone, as the policy's `on_failure` says."""
    max_overshoot: int = 0
    """The most above the limit that decisions of this enforcement may have let through; 2**64 - 1 for no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired(_NoTruthValue):
    """What an Acquire of slots says."""

    _ask: ClassVar[str] = ".acquired"

    acquired: bool
    token: str
    """What renews and releases the lease; empty when nothing was acquired."""
    limit: int
    """How many slots there are."""
    in_use: int
    """How many are leased now, the caller's own included."""
    remaining: int
    """How many are free now."""
    expires_after: timedelta
    """How long the lease lasts, counted from before the call; zero when nothing was acquired."""
    retry_after: timedelta
    """How long until enough leases have ended if none is renewed; zero when the slots were acquired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved(_NoTruthValue):
    """What a Reserve says."""

    _ask: ClassVar[str] = ".reserved"

    reserved: bool
    token: str
    """What commits and cancels it; empty when nothing was reserved."""
    limit: int
    """The most that can be taken at once."""
    remaining: int
    """What is left beside all that is held, this included."""
    retry_after: timedelta
    """How long until the same could be reserved if nothing is committed or cancelled; zero when it was."""
    reset_after: timedelta
    """How long until the whole allowance is back, and nothing is held."""
    expires_after: timedelta
    """How long it is held, counted from before the call; zero when nothing is."""
    limits: tuple[LimitStatus, ...] = ()
    """What each limit says, where the policy has several. The rest is then that of the one of which least remains."""
    decided_by: DecidedBy = DecidedBy.LIMITS
    shadow_denied: bool = False
    """Whether it was let through only because the policy is in shadow mode; nothing is held then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a Commit did."""

    charged: int
    shortfall: int
    """What it has cost and there was no room for."""
    limit: int
    """The most that can be taken at once; 0, as what follows, where nothing was held."""
    remaining: int
    reset_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions(_NoTruthValue):
    """What several checks made at once say."""

    _ask: ClassVar[str] = ".allowed"

    allowed: bool
    """Whether every check was allowed. All or nothing, that is whether anything was taken."""
    each: tuple[Decision, ...]
    """What the checks' own policies say, in their order."""
