"""What the sidecar's rate limit policies say: for operators' tools, and for middleware that tells callers of limits."""

# ruff: noqa: ASYNC109 - a timeout here becomes the call's deadline, which the sidecar sees and keeps too

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sidecar_client.durations import from_duration
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from datetime import timedelta

    from google.protobuf.duration_pb2 import Duration

    from sidecar_client.caller import Caller
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.rate_limit_pb2_grpc import RateLimitServiceAsyncStub


class Algorithm(Enum):
    """How a limit counts."""

    UNKNOWN = 0
    """One that a newer sidecar has."""
    TOKEN_BUCKET = 1
    GCRA = 2
    SLIDING_WINDOW = 3
    SLIDING_LOG = 4
    FIXED_WINDOW = 5
    CONCURRENCY = 6

    @classmethod
    def _missing_(cls, _value: object) -> Algorithm:
        return cls.UNKNOWN


class FailureMode(Enum):
    """What a policy answers while the sidecar cannot reach its store."""

    UNKNOWN = 0
    """One that a newer sidecar has, or none that an older one tells."""
    ERROR = 1
    """The call fails."""
    OPEN = 2
    """Everything is allowed."""
    CLOSED = 3
    """Everything that costs something is refused."""
    LOCAL_SHARE = 4
    """Each sidecar counts by itself, against its share of the limit."""

    @classmethod
    def _missing_(cls, _value: object) -> FailureMode:
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLimit:
    """One limit of a policy. What its algorithm does not have is None, 0 or empty."""

    name: str
    """Its name in a policy of several; empty for the only one."""
    algorithm: Algorithm
    limit: int
    """The most that can be taken at once."""
    window: timedelta | None
    """The window's length; None for a calendar's."""
    calendar: str
    time_zone: str
    sub_windows: int
    rate_tokens: int
    """What comes back in each `rate_period`."""
    rate_period: timedelta | None
    lease: timedelta | None
    max_lease: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTier:
    """What holds for the callers of one tier in place of the policy's own numbers."""

    name: str
    unlimited: bool
    denied: bool
    limits: tuple[PolicyLimit, ...]
    """With the tier's numbers; empty where it is unlimited or denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLease:
    """How much of a hot key's limit a sidecar borrows, to spend it without the store."""

    max_fraction: float
    max_tokens: int
    """The most that one process may hold of a key."""
    ttl: timedelta
    """The time after which what is not spent goes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReservations:
    """What a policy says of reservations."""

    ttl: timedelta
    """How long one is held for a caller that names no time."""
    max_ttl: timedelta
    max_held: int
    """The most that a key may have at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one policy says."""

    name: str
    version: str
    """It changes whenever the policy's settings do, and has no order."""
    limits: tuple[PolicyLimit, ...]
    unlimited: bool = False
    unlimited_keys: int = 0
    """How many keys and prefixes are let through."""
    denied_keys: int = 0
    """How many are always refused."""
    shadow: bool = False
    near_limit: float | None = None
    on_failure: FailureMode = FailureMode.UNKNOWN
    cache_refusals: bool = False
    tiers: tuple[PolicyTier, ...] = ()
    lease: PolicyLease | None = None
    """How sidecars borrow from its limit; None where they do not."""
    candidate: tuple[PolicyLimit, ...] = ()
    """The limits that are tried beside its own."""
    personal: bool = False
    """Whether its keys name persons, so that reports show pseudonyms."""
    reservations: PolicyReservations | None = None
    """None: it has none."""


async def list_policies(stub: RateLimitServiceAsyncStub, caller: Caller, *, timeout: Span | None) -> tuple[Policy, ...]:
    """Return all policies; see `SidecarClient.policies`."""
    answer = await caller.call(stub.ListPolicies, pb.ListPoliciesRequest(), repeatable=True, timeout=timeout)
    return tuple([policy_of(policy) for policy in answer.policies])


def policy_of(message: pb.PolicyDescription) -> Policy:
    """Return a policy that arrived."""
    return Policy(
        name=message.name,
        version=message.version,
        limits=tuple([limit_of(limit) for limit in message.limits]),
        unlimited=message.unlimited,
        unlimited_keys=message.unlimited_keys,
        denied_keys=message.denied_keys,
        shadow=message.shadow,
        near_limit=message.near_limit if message.HasField("near_limit") else None,
        on_failure=FailureMode(message.on_failure),
        cache_refusals=message.cache_refusals,
        tiers=tuple([_tier_of(tier) for tier in message.tiers]),
        lease=_lease_of(message.lease) if message.HasField("lease") else None,
        candidate=tuple([limit_of(limit) for limit in message.candidate]),
        personal=message.personal,
        reservations=_reservations_of(message.reservations) if message.HasField("reservations") else None,
    )


def _reservations_of(message: pb.ReservationSettings) -> PolicyReservations:
    return PolicyReservations(
        ttl=from_duration(message.ttl), max_ttl=from_duration(message.max_ttl), max_held=message.max_held
    )


def _tier_of(message: pb.TierDescription) -> PolicyTier:
    return PolicyTier(
        name=message.name,
        unlimited=message.unlimited,
        denied=message.denied,
        limits=tuple([limit_of(limit) for limit in message.limits]),
    )


def _lease_of(message: pb.LeaseDescription) -> PolicyLease:
    return PolicyLease(max_fraction=message.max_fraction, max_tokens=message.max_tokens, ttl=from_duration(message.ttl))


def limit_of(message: pb.LimitDescription) -> PolicyLimit:
    """Return a limit that arrived."""

    def length(name: str) -> timedelta | None:
        duration: Duration = getattr(message, name)
        return from_duration(duration) if message.HasField(name) else None

    return PolicyLimit(
        name=message.name,
        algorithm=Algorithm(message.algorithm),
        limit=message.limit,
        window=length("window"),
        calendar=message.calendar,
        time_zone=message.time_zone,
        sub_windows=message.sub_windows,
        rate_tokens=message.rate_tokens,
        rate_period=length("rate_period"),
        lease=length("lease"),
        max_lease=length("max_lease"),
    )
