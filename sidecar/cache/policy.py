"""What a cache is, and what follows from that for an entry and a moment. Pure: no await, no clock, no Redis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason

if TYPE_CHECKING:
    from sidecar.cache.entry import Entry
    from sidecar.cache.near.policy import NearPolicy
    from sidecar.cache.write_behind.policy import BehindPolicy

# Ten years: beyond any use of a cache, and well inside what Redis and Lua's doubles can count in milliseconds.
LONGEST_TTL_MS = 10 * 365 * 24 * 3600 * 1000


class DataClass(Enum):
    """How well a cache's content must be guarded."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PHI = "phi"
    """Protected health information: sealed, under an HMAC of the key, with a bound on the TTL."""


class Strategy(Enum):
    """How a cache relates to the origin of its data."""

    CACHE_ASIDE = "cache_aside"
    """Callers load; the sidecar knows no origin."""
    READ_THROUGH = "read_through"
    """The sidecar loads what is missed."""
    WRITE_THROUGH = "write_through"
    """As READ_THROUGH; what is written goes to the origin first."""
    REFRESH_AHEAD = "refresh_ahead"
    """As READ_THROUGH; what is read is loaded anew before its time is over."""
    WRITE_BEHIND = "write_behind"
    """As READ_THROUGH; what is written goes to the origin later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """The configuration of one cache."""

    name: str
    ttl_ms: int
    max_ttl_ms: int = LONGEST_TTL_MS
    ttl_jitter: float = 0.0
    """The part of a TTL that may be taken off at random, so that what was written together does not expire together."""
    stale_for_ms: int = 0
    load_lease_ms: int = 10_000
    """For how long a caller may load an entry before another may."""
    load_wait_ms: int = 5_000
    """For how long others wait meanwhile."""
    negative_ttl_ms: int = 0
    """For how long it is remembered that the origin has no such thing."""
    tags: bool = False
    """Whether entries may have tags."""
    generations: bool = False
    """Whether prefixes and the whole may be invalidated, for which each read asks."""
    data_class: DataClass = DataClass.INTERNAL
    raw_prefix: str | None = None
    """Set: the cache holds plain Redis strings under this prefix."""
    clear_fields: frozenset[str] = frozenset()
    """The fields of a PHI cache's records that are no PHI; all others are sealed, so a misspelt name leaks nothing."""
    compress_above_bytes: int | None = None
    """Values longer than this are stored compressed; None: none is."""
    max_value_bytes: int | None = None
    """A bound of the cache's own on a value or record; None: that of all."""
    strategy: Strategy = Strategy.CACHE_ASIDE
    soft_timeout_ms: int = 0
    """How long a caller waits for the origin where there is something to serve instead; 0: no shorter than else."""
    hard_timeout_ms: int = 10_000
    """How long a load or a write of the origin may take; no longer than the lease."""
    fail_safe_for_ms: int = 0
    """How long past its TTL an entry is served when the origin fails."""
    refresh_at: float = 0.8
    """The share of its life after which REFRESH_AHEAD loads an entry anew."""
    early_refresh: float = 0.0
    """How eagerly entries are loaded anew by chance before their time is over; 0: not at all."""
    near: NearPolicy | None = None
    """What of it is kept in the process; None for nothing."""
    behind: BehindPolicy | None = None
    """Set: what is written goes to the origin later."""

    @property
    def kept_ms(self) -> int:
        """For how long past its TTL an entry is kept."""
        return max(self.stale_for_ms, self.fail_safe_for_ms)

    @property
    def dated(self) -> bool:
        """Whether an entry carries more than its value."""
        return self.tags or self.generations


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of requests; all sizes in bytes."""

    max_key_bytes: int = 512
    max_value_bytes: int = 1024 * 1024
    """What one may write."""
    max_unpacked_bytes: int = 1024 * 1024
    """What a value may have that is read and was stored compressed: the most that any cache takes."""
    max_batch_keys: int = 1000
    max_answer_bytes: int = 7 * 1024 * 1024
    """The most that the values of one answer may add up to; it must fit into a message."""
    idempotency_window_ms: int = 600_000
    in_flight_ms: int = 120_000
    """The longest time that a write may be under way to the store: the longest deadline, and some more."""


class Outcome(IntEnum):
    """What a read found; the value is its number in the protocol.

    An integer, since a plain Enum's hash is a call into Python, and a read looks up its outcome several times.
    """

    HIT = 1
    MISS = 2
    STALE = 3


Found = tuple[Outcome, bytes, int, int | None, int | None]
"""A `Lookup` without its names, as a batch of reads makes them: one with names takes three times as long to make."""


class Lookup(NamedTuple):
    """The answer to a read. With a miss only `outcome` counts."""

    outcome: Outcome
    value: bytes = b""
    version: int = 0
    ttl_ms: int | None = None
    age_ms: int | None = None


class FromOrigin(Lookup):
    """A `Lookup` of what the origin has answered in this call."""

    __slots__ = ()


class FromCopy(Lookup):
    """A `Lookup` of a copy in this process."""

    __slots__ = ()


MISS = Lookup(Outcome.MISS)
# An enum's member is looked up in its class with every mention; most reads are hits.
_HIT = Outcome.HIT


def named(found: Found) -> Lookup:
    """Return what a batch found, with its names."""
    return found if isinstance(found, Lookup) else Lookup(*found)


class WriteOutcome(Enum):
    """What a write did; the value is its number in the scripts' answers and in the protocol."""

    APPLIED = 1
    CONDITION_NOT_MET = 2
    NOT_FOUND = 3


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a write; `ttl_ms` is None where there is no entry, or it never expires."""

    outcome: WriteOutcome
    version: int = 0
    ttl_ms: int | None = None
    at_us: int = 0
    """When it was made, by the store's clock; 0 where nothing was, and in a raw cache."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The answer to an increment."""

    value: int
    version: int
    ttl_ms: int | None


def judge(entry: Entry | None, now_us: int, stale_for_ms: int) -> Lookup:
    """Decide what an entry is worth at `now_us` of the store's clock.

    The store may keep a key a moment longer than its TTL, and may have been told of a longer stale time than is
    configured now; what counts is the header.
    """
    if entry is None:
        return MISS
    version, written_us, fresh_until_us, value = entry
    # The clock is an estimate: nothing is read before it was written, or has more time left than it was given.
    if now_us < written_us:  # noqa: PLR1730 (max() is a call, in every read)
        now_us = written_us
    left_us = fresh_until_us - now_us
    age_ms = (now_us - written_us) // 1000
    if left_us > 0:
        return Lookup(_HIT, value, version, -(-left_us // 1000), age_ms)
    if -left_us >= stale_for_ms * 1000:
        return MISS
    return Lookup(Outcome.STALE, value, version, 0, age_ms)


def choose_ttl(policy: CachePolicy, asked_ms: int | None, draw: float, field: str = "ttl") -> int:
    """Return the TTL to set, in milliseconds, for what the caller asked and a `draw` in [0, 1) for the jitter.

    Raises `InvalidArgumentError` (TTL_NOT_POSITIVE, TTL_TOO_LONG).
    """
    if asked_ms is None:
        ttl_ms = policy.ttl_ms
    elif asked_ms <= 0:
        raise InvalidArgumentError(
            Reason.TTL_NOT_POSITIVE,
            "the TTL must be at least one millisecond; to remove an entry, delete it",
            field=field,
        )
    elif asked_ms > policy.max_ttl_ms:
        raise InvalidArgumentError(
            Reason.TTL_TOO_LONG,
            f"the TTL is above the {policy.max_ttl_ms} ms that cache {policy.name!r} allows",
            field=field,
            metadata={"max_ttl_ms": str(policy.max_ttl_ms)},
        )
    else:
        ttl_ms = asked_ms
    return max(1, ttl_ms - int(ttl_ms * policy.ttl_jitter * draw))
