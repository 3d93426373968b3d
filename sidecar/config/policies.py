"""The named policies: caches and rate limits."""

from __future__ import annotations

from typing import Annotated, Literal

from sidecar.config.behind import BehindSettings  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.buckets import TokenRate  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.memory import MemoryShare  # noqa: TC001 (as above)
from sidecar.config.near import NearSettings  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.origins import CacheOriginSettings  # noqa: TC001 (as above)
from sidecar.config.quantities import Duration, Lasting, Sized
from sidecar.config.reservations import ReservationSettings  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.section import Count, FieldName, Name, Section, Share, Switch
from sidecar.config.tiers import TierSettings  # noqa: TC001 (as above)
from sidecar.config.warming import WarmSettings  # noqa: TC001 (as above)
from sidecar.config.words import AfterValidator, BeforeValidator, Field
from sidecar.config.zones import check_zone


class CacheSettings(Section):
    """A cache: a named policy for the entries that are read and written under its name."""

    strategy: Literal["cache_aside", "read_through", "write_through", "refresh_ahead", "write_behind"] = Field(
        "cache_aside",
        description="How the cache relates to the origin of its data. `cache_aside`: callers load what they miss. "
        "`read_through`: the sidecar does. `write_through`: as read_through, and what is written goes to the origin "
        "first. `refresh_ahead`: as read_through, and what is read is loaded anew before its time is over. "
        "`write_behind`: as read_through, and what is written goes to the origin some time later "
        "(docs/write-behind.md).",
    )
    ttl: Annotated[Duration, Lasting("1ms", "365d")] = Field(
        Duration(300_000),
        description="Time for which a value is fresh when the caller names none. 1ms to 365d.",
    )
    max_ttl: Annotated[Duration, Lasting("1ms", "365d")] | None = Field(
        None,
        description="Longest TTL that a caller may ask for. 1ms to 365d; at least `ttl`. Null: no bound; "
        "in a phi cache `ttl` itself, and never above 24h.",
    )
    ttl_jitter: Share = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of the TTL by which each is shortened at random, so that entries written "
        "together do not expire together. 0 to 0.5.",
    )
    stale_for: Annotated[Duration, Lasting("0s", "30d")] = Field(
        Duration(0),
        description="Time past its TTL for which an entry is still served, marked stale. 0 to 30d; 0 in a raw cache.",
    )
    load_lease: Annotated[Duration, Lasting("100ms", "10m")] = Field(
        Duration(10_000),
        description="Time that a caller of GetOrLoad, or a sidecar itself, gets to load an entry, before another may. "
        "100ms to 10m. Choose it longer than the origin ever takes.",
    )
    load_wait: Annotated[Duration, Lasting("0s", "1m")] = Field(
        Duration(5_000),
        description="Longest time that callers wait for what another, or the sidecar, loads, if they name none. "
        "0 to 1m.",
    )
    negative_ttl: Annotated[Duration, Lasting("0s", "1d")] = Field(
        Duration(0),
        description="Time for which it is remembered that the origin has no such thing. 0 to 1d; 0: not at all.",
    )
    tags: Switch = Field(
        False,
        description="Entries may have tags, and be invalidated by them. Not in a raw cache. A cache with it has no "
        "records, no Touch and no Increment.",
    )
    generations: Switch = Field(
        False,
        description="The whole cache and, unless it is phi, prefixes of its keys can be invalidated at once; a read "
        "then asks the store for a second key in the same trip. Not in a raw cache. A cache with it has no records, no "
        "Touch and no Increment. Needs Redis 6.2 or newer.",
    )
    data_class: Literal["public", "internal", "phi"] = Field(
        "internal",
        description="What the data is. `phi` (protected health information) seals values and fields, "
        "hides keys behind an HMAC and bounds the TTL.",
    )
    format: Literal["native", "raw"] = Field(
        "native",
        description="`raw` keeps values as plain Redis strings under `key_prefix`, shared with other "
        "programs: no versions, no stale time, no records, never phi.",
    )
    key_prefix: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")] | None = Field(
        None,
        description="What stands before the caller's key in Redis. Needed in a raw cache, refused in "
        "others; no two raw caches share one, and none begins with `sc:` or is a part of that.",
    )
    phi_fields: tuple[FieldName, ...] = Field(
        (),
        max_length=256,
        description="Fields of a phi cache's records that are sealed. A field in neither list is sealed "
        "too; naming them here says so to the reader and keeps them out of `clear_fields`.",
    )
    clear_fields: tuple[FieldName, ...] = Field(
        (),
        max_length=256,
        description="Fields of a phi cache's records that are kept in the clear. All others are sealed.",
    )
    compress_above: Annotated[int, Sized("64B", "64MiB")] | None = Field(
        None,
        description="Values longer than this are stored compressed (zstd), as bytes or a size, where that makes them "
        "smaller. 64B to 64MiB. Not in a phi or a raw cache. Null: none is.",
    )
    max_value_bytes: Annotated[int, Sized("1B", "64MiB")] | None = Field(
        None,
        description="Longest value or whole record of this cache, as bytes or a size. 1B to 64MiB; at most "
        "`limits.max_value_bytes`. Null: that.",
    )
    max_memory: MemoryShare | None = Field(
        None,
        description="Most that the cache's entries are to take of the store's memory: a share of its `maxmemory`, 1% "
        "to 99%, or a size from 1MiB. The least used are evicted above it. Not in a raw cache. Null: no bound but the "
        "store's.",
    )
    warm: WarmSettings | None = Field(
        None, title="Warm", description="What to load before anybody asks for it. Null: nothing."
    )
    l1: NearSettings | None = Field(
        None,
        title="L1",
        description="Keep copies of entries in each worker, and answer reads from them; `{}` for the defaults. Not in "
        "a raw cache. Null: every read asks the store.",
    )
    consistency: Literal["eventual", "strong"] = Field(
        "eventual",
        description="What a read may be behind. `strong`: nothing that was acknowledged, so there is no `l1`; "
        "`eventual`: what `l1.max_staleness` allows.",
    )
    write_behind: BehindSettings | None = Field(
        None,
        title="Write behind",
        description="How writes reach the origin, with the strategy write_behind. Null: as the defaults say.",
    )
    origin: CacheOriginSettings | None = Field(
        None,
        title="Origin",
        description="Where the cache's values come from and, in some strategies, go to. Not in a raw cache. Null: only "
        "its callers know.",
    )
    soft_timeout: Annotated[Duration, Lasting("1ms", "1m")] | None = Field(
        None,
        description="Time for which a caller waits for the origin while there is an entry that `fail_safe_for` keeps; "
        "then it gets that one, stale, and the load goes on. 1ms to 1m. Null: as long as `load_wait`.",
    )
    hard_timeout: Annotated[Duration, Lasting("1ms", "10m")] | None = Field(
        None,
        description="Time after which a load from the origin is given up. 1ms to 10m; at most `load_lease`. Null: "
        "`load_lease` itself.",
    )
    fail_safe_for: Annotated[Duration, Lasting("0s", "30d")] = Field(
        Duration(0),
        description="Time past its TTL for which an entry is kept, to be served stale when the origin fails or is "
        "slow. 0 to 30d. For strategies with an origin.",
    )
    refresh_at: Annotated[Share, Field(gt=0, lt=1)] = Field(
        0.8,
        description="Share of an entry's life after which a read has it loaded anew, with `strategy: refresh_ahead`. "
        "Above 0, below 1.",
    )
    early_refresh: Share = Field(
        0.0,
        ge=0,
        le=100,
        description="How eagerly reads have entries loaded anew by chance, the likelier the nearer they are to their "
        "end and the longer loads take; 1 suits most, 0 is never. 0 to 100. For strategies with an origin.",
    )

    @property
    def asks_origin(self) -> bool:
        """Whether the sidecar loads what is missed."""
        return self.strategy != "cache_aside"

    @property
    def longest_load(self) -> Duration:
        """How long a load may take."""
        return self.load_lease if self.hard_timeout is None else self.hard_timeout

    @property
    def kept(self) -> Duration:
        """For how long an entry is kept past its TTL."""
        return max(self.stale_for, self.fail_safe_for)

    @property
    def longest_ttl(self) -> Duration | None:
        """The most that a caller may ask for; None for no bound."""
        if self.max_ttl is None and self.data_class == "phi":
            return self.ttl
        return self.max_ttl


# As long as a caller's key may be unless `limits.max_key_bytes` says otherwise; an asterisk at the end makes a prefix.
KeyEntry = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f*]{1,512}\*?$")]

# A policy is read at each reload, and travels to each worker.
_MOST_ENTRIES = 1000

# Each is made ready for its calls, and described.
_MOST_TIERS = 32


class LeaseSettings(Section):
    """How much of a hot key's limit a sidecar borrows, to spend it without the store."""

    max_fraction: Annotated[Share, Field(gt=0, le=0.5)] = Field(
        0.05,
        description="Share of the limit that one process may hold of a key; rounded down, at least one token. Above 0, "
        "to 0.5.",
    )
    ttl: Annotated[Duration, Lasting("10ms", "10s")] = Field(
        Duration(200), description="Time after which what is not spent goes back. 10ms to 10s."
    )


class CheckedSettings(Section):
    """What a policy of Check says beside its limits. It stands on the policy, never on one of its `limits`."""

    unlimited: Switch = Field(
        False, description="Let every key through, without asking the store; `denied_keys` are refused all the same."
    )
    unlimited_keys: tuple[KeyEntry, ...] = Field(
        (),
        max_length=_MOST_ENTRIES,
        description="Keys that are let through, and prefixes of such (`probe:*`), without asking the store. "
        "At most 1000.",
    )
    denied_keys: tuple[KeyEntry, ...] = Field(
        (),
        max_length=_MOST_ENTRIES,
        description="Keys that are always refused, and prefixes of such (`blocked:*`), without asking the store; they "
        "win over `unlimited_keys`. At most 1000.",
    )
    shadow: Switch = Field(
        False,
        description="Refuse nothing: count as usual, and say in answers and metrics what would be refused.",
    )
    near_limit: Annotated[Share, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Share of a limit from which on what is allowed counts as near to it, in "
        "`sidecar_ratelimit_near_limit_total`. Above 0, below 1. Null: none does.",
    )
    on_failure: Literal["error", "open", "closed", "local_share"] = Field(
        "error",
        description="What Check answers while the store cannot be reached: the `error` STORE_UNAVAILABLE, yes "
        "(`open`), no (`closed`), or by a count of its own, of the limit divided by the live sidecars "
        "(`local_share`). Not given for one of several `limits`.",
    )
    cache_refusals: Switch = Field(
        False,
        description="Remember a refusal until its `retry_after`, and answer it again without the store; a Reset "
        "through another sidecar or worker is not seen meanwhile. Not given for one of several `limits`, nor with "
        "`tiers`.",
    )
    tiers: dict[Name, TierSettings] = Field(
        {},
        max_length=_MOST_TIERS,
        json_schema_extra={"additionalProperties": False},
        description="Other numbers for the callers of a tier, by the name that they give (`[a-z][a-z0-9_-]{0,62}`). "
        "At most 32. Not given for one of several `limits`.",
    )
    lease: LeaseSettings | None = Field(
        None,
        title="Lease",
        description="Borrow tokens of hot keys, and spend them without the store. For `token_bucket`, `gcra` and "
        "`fixed_window`. Null: every Check asks the store.",
    )
    candidate: CandidateSettings | None = Field(
        None,
        description="Another limit, of any algorithm but `concurrency`, to try beside the policy's own: it refuses "
        "nothing, and reports say whom it would have. Not given for one of several `limits`.",
    )
    personal: Switch = Field(
        False,
        description="Whether keys name persons: reports then show pseudonyms. Not given for one of several `limits`.",
    )
    reservations: ReservationSettings | None = Field(
        None,
        title="Reservations",
        description="What Reserve, Commit and Cancel may do, for costs that are known only afterwards; `{}` for the "
        "defaults. Null: nothing. Not given for one of several `limits`.",
    )


class TokenBucketSettings(CheckedSettings):
    """A bucket that fills at a steady rate and holds at most `burst`; a call takes its cost out."""

    algorithm: Literal["token_bucket"] = Field(description="The kind of limit.")
    rate: TokenRate = Field(description="Tokens gained per s, m, h or d: `100/s`. 1/d to 1000000/s.")
    burst: Count = Field(
        ge=1,
        le=1_000_000_000,
        description="Most tokens the bucket holds. 1 to 1000000000; at most ten years' worth of `rate`.",
    )


class GcraSettings(CheckedSettings):
    """The same limit as a token bucket's by the generic cell rate algorithm, which keeps a time instead of a level."""

    algorithm: Literal["gcra"] = Field(description="The kind of limit.")
    rate: TokenRate = Field(description="What may be taken per s, m, h or d, evenly: `100/s`. 1/d to 1000000/s.")
    burst: Count = Field(
        ge=1,
        le=1_000_000_000,
        description="Most that may be taken at once. 1 to 1000000000; at most ten years' worth of `rate`.",
    )


# A limit over less is one on concurrency; over more than a year and a day, none at all.
Window = Annotated[Duration, Lasting("10ms", "366d")]


class SlidingWindowSettings(CheckedSettings):
    """At most `limit` in any interval of `window`, counted in sub-windows."""

    algorithm: Literal["sliding_window"] = Field(description="The kind of limit.")
    limit: Count = Field(
        ge=0, le=1_000_000_000, description="Most that any window may hold; 0 refuses everything. 0 to 1000000000."
    )
    window: Window = Field(description="The window's length. 10ms to 366d.")
    sub_windows: Count = Field(
        10,
        ge=1,
        le=100,
        description="Parts that the window is counted in; a slot comes free at most one part late. 1 to 100.",
    )


class ConcurrencySettings(Section):
    """At most `limit` slots leased at a time; a lease that nobody renews ends."""

    algorithm: Literal["concurrency"] = Field(description="The kind of limit.")
    limit: Count = Field(ge=1, le=10_000, description="Slots that may be leased at a time. 1 to 10000.")
    lease: Annotated[Duration, Lasting("10ms", "1d")] = Field(
        Duration(30_000),
        description="Time for which a slot is leased when the caller names none; renewed by its holder, it lasts. "
        "10ms to 1d.",
    )
    max_lease: Annotated[Duration, Lasting("10ms", "1d")] | None = Field(
        None,
        description="Longest lease that a caller may ask for: for so long a dead holder's slots may stay taken. "
        "10ms to 1d; at least `lease`. Null: `lease` itself.",
    )

    personal: Switch = Field(False, description="Whether keys name persons: reports then show pseudonyms.")

    @property
    def longest_lease(self) -> Duration:
        """The most that a caller may ask for."""
        return self.lease if self.max_lease is None else self.max_lease


class SlidingLogSettings(CheckedSettings):
    """At most `limit` in any interval of `window`, to the call: each is remembered until it has left the window."""

    algorithm: Literal["sliding_log"] = Field(description="The kind of limit.")
    limit: Count = Field(
        ge=0,
        le=10_000,
        description="Most that any window may hold; 0 refuses everything. 0 to 10000, since each call takes 14 bytes.",
    )
    window: Window = Field(description="The window's length. 10ms to 366d.")


class FixedWindowSettings(CheckedSettings):
    """At most `limit` in each window, whether of one length or of a calendar."""

    algorithm: Literal["fixed_window"] = Field(description="The kind of limit.")
    limit: Count = Field(
        ge=0, le=1_000_000_000, description="Most that a window may hold; 0 refuses everything. 0 to 1000000000."
    )
    window: Window | None = Field(
        None, description="The windows' length, counted from 1970-01-01 UTC. 10ms to 366d. Null: `calendar` says it."
    )
    calendar: Literal["hour", "day", "week", "month", "year"] | None = Field(
        None,
        description="What a window is, by the local time of `time_zone`; a week begins on Monday. "
        "Null: `window` says it.",
    )
    time_zone: Annotated[str, Field(max_length=64), AfterValidator(check_zone)] = Field(
        "UTC", description="IANA name of the zone whose calendar counts, such as `Europe/Berlin`."
    )


SingleLimitSettings = Annotated[
    TokenBucketSettings | GcraSettings | SlidingWindowSettings | SlidingLogSettings | FixedWindowSettings,
    Field(discriminator="algorithm"),
]


class CombinedSettings(CheckedSettings):
    """Several limits: a call takes its cost from all of them or from none, in one step."""

    algorithm: Literal["combined"] = Field("combined", description="The kind of limit; need not be written.")
    limits: dict[Name, SingleLimitSettings] = Field(
        max_length=8,
        json_schema_extra={"additionalProperties": False, "minProperties": 1},
        description="Limits by name (`[a-z][a-z0-9_-]{0,62}`), each as one of `rate_limits`. 1 to 8.",
    )


def _algorithm_of(value: object) -> object:
    """Let a policy of several limits go without its algorithm."""
    if isinstance(value, dict) and "limits" in value and "algorithm" not in value:
        return {"algorithm": "combined", **value}
    return value


RateLimitSettings = Annotated[
    TokenBucketSettings
    | GcraSettings
    | SlidingWindowSettings
    | SlidingLogSettings
    | FixedWindowSettings
    | ConcurrencySettings
    | CombinedSettings,
    Field(discriminator="algorithm"),
    BeforeValidator(_algorithm_of),
]

CandidateSettings = Annotated[
    TokenBucketSettings
    | GcraSettings
    | SlidingWindowSettings
    | SlidingLogSettings
    | FixedWindowSettings
    | CombinedSettings,
    Field(discriminator="algorithm"),
    BeforeValidator(_algorithm_of),
]

# A candidate is written as a policy is, and stands in one.
for _settings in (
    CheckedSettings,
    TokenBucketSettings,
    GcraSettings,
    SlidingWindowSettings,
    SlidingLogSettings,
    FixedWindowSettings,
    CombinedSettings,
):
    _settings.model_rebuild()
