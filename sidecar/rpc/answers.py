"""From the domains' answers to messages, each filled in place: a part made by itself and then copied costs twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.near.policy import token_of
from sidecar.cache.policy import FromCopy, FromOrigin, Outcome
from sidecar.gen.sidecar.v1 import common_pb2
from sidecar.gen.sidecar.v1 import rate_limit_pb2 as limit_pb
from sidecar.ratelimit.decision import Enforcement
from sidecar.rpc.convert import NANOS_PER_MILLI, OUTCOMES, WRITE_OUTCOMES, set_ms, set_us

if TYPE_CHECKING:
    from sidecar.cache.policy import Counted, Found, Written
    from sidecar.gen.sidecar.v1 import cache_pb2, rate_limit_pb2
    from sidecar.ratelimit.decision import Decision

_MISS = Outcome.MISS
_OUTCOME_MISS = common_pb2.OUTCOME_MISS
_SOURCE_STORE = common_pb2.SOURCE_STORE
# By the kind of what was found; the answers of a batch have none, and are the store's.
_SOURCES: dict[type, common_pb2.Source] = {
    FromOrigin: common_pb2.SOURCE_ORIGIN,
    FromCopy: common_pb2.SOURCE_L1,
}
_BY_STORE = Enforcement.STORE
_ENFORCEMENT_STORE = limit_pb.ENFORCEMENT_STORE
_BY_LEASE = Enforcement.LEASE
_ENFORCEMENT_LEASE = limit_pb.ENFORCEMENT_LEASE

ENFORCEMENTS: dict[Enforcement, limit_pb.Enforcement] = {
    Enforcement.STORE: limit_pb.ENFORCEMENT_STORE,
    Enforcement.FAILED_OPEN: limit_pb.ENFORCEMENT_FAILED_OPEN,
    Enforcement.FAILED_CLOSED: limit_pb.ENFORCEMENT_FAILED_CLOSED,
    Enforcement.LOCAL_SHARE: limit_pb.ENFORCEMENT_LOCAL_SHARE,
    Enforcement.LEASE: limit_pb.ENFORCEMENT_LEASE,
}


def fill_lookup(message: cache_pb2.GetResponse, lookup: Found) -> None:
    """Say what a read found."""
    outcome, value, version, ttl_ms, age_ms = lookup
    if outcome is _MISS:
        message.outcome = _OUTCOME_MISS
        return
    message.outcome = OUTCOMES[outcome]
    message.value = value
    message.version = version
    message.source = _SOURCES.get(type(lookup), _SOURCE_STORE)
    # As set_ms does, which would be called for each entry of a batch twice.
    if ttl_ms is not None:
        ttl, seconds = message.ttl, ttl_ms // 1000
        ttl.seconds = seconds
        ttl.nanos = (ttl_ms - seconds * 1000) * NANOS_PER_MILLI
    if age_ms is not None:
        age, seconds = message.age, age_ms // 1000
        age.seconds = seconds
        age.nanos = (age_ms - seconds * 1000) * NANOS_PER_MILLI


def fill_written(message: cache_pb2.SetResponse | cache_pb2.TouchResponse, written: Written) -> None:
    """Say what a write did, and how a reader can ask to know of it."""
    message.outcome = WRITE_OUTCOMES[written.outcome]
    message.version = written.version
    if written.ttl_ms is not None:
        set_ms(message.ttl, written.ttl_ms)
    if written.at_us:
        message.token = token_of(written.at_us)


def fill_deleted(message: cache_pb2.DeleteResponse, written: Written) -> None:
    """Say what a removal did."""
    message.outcome = WRITE_OUTCOMES[written.outcome]
    if written.at_us:
        message.token = token_of(written.at_us)


def fill_counted(message: cache_pb2.IncrementResponse, counted: Counted) -> None:
    """Say what an addition made of a counter."""
    message.value = counted.value
    message.version = counted.version
    if counted.version:
        message.token = token_of(counted.version)
    if counted.ttl_ms is not None:
        set_ms(message.ttl, counted.ttl_ms)


def fill_decision(message: rate_limit_pb2.CheckResponse | rate_limit_pb2.PeekResponse, decision: Decision) -> None:
    """Say what a rate limit decided."""
    allowed, limit, remaining, retry_after_us, reset_after_us, limits, why, shadow_denied, enforcement, over = decision
    message.allowed = allowed
    message.limit = limit
    message.remaining = remaining
    set_us(message.retry_after, retry_after_us)
    set_us(message.reset_after, reset_after_us)
    if why:
        message.decided_by = why  # type: ignore[assignment]  # the numbers are the protocol's
    if shadow_denied:
        message.shadow_denied = True
    if enforcement is _BY_STORE:
        message.enforcement = _ENFORCEMENT_STORE
    else:
        # To look up a member of an Enum costs as much as the rest of it, and leases are there to be cheap.
        message.enforcement = _ENFORCEMENT_LEASE if enforcement is _BY_LEASE else ENFORCEMENTS[enforcement]
        message.max_overshoot = over
    if limits:
        fill_limits(message, decision)


def fill_limits(
    message: rate_limit_pb2.CheckResponse | rate_limit_pb2.PeekResponse | rate_limit_pb2.ReserveResponse,
    decision: Decision,
) -> None:
    """Say what each limit of a policy with several does."""
    for status in decision.limits:
        part = message.limits.add(
            name=status.name, allowed=status.allowed, limit=status.limit, remaining=status.remaining
        )
        set_us(part.retry_after, status.retry_after_us)
        set_us(part.reset_after, status.reset_after_us)


def fill_reset(message: rate_limit_pb2.ResetResponse, existed: bool) -> None:  # noqa: FBT001 (the answer itself)
    """Say whether there was anything to give back."""
    message.existed = existed
