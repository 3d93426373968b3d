"""The part of `sidecar.v1.RateLimitService` that is about policies themselves: for operators, and for middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.overrides import Effect
from sidecar.rpc.convert import set_ms, set_us

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.description import LimitDescription, PolicyDescription
    from sidecar.ratelimit.limiter import RateLimiter

_MODES: dict[OnFailure, pb.FailureMode] = {
    OnFailure.ERROR: pb.FAILURE_MODE_ERROR,
    OnFailure.OPEN: pb.FAILURE_MODE_OPEN,
    OnFailure.CLOSED: pb.FAILURE_MODE_CLOSED,
    OnFailure.LOCAL_SHARE: pb.FAILURE_MODE_LOCAL_SHARE,
}


class PoliciesServicer:
    """Serves what the policies say."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def list_policies(self, request: pb.ListPoliciesRequest, _call: Call) -> pb.ListPoliciesResponse:
        """List one policy, or all."""
        response = pb.ListPoliciesResponse()
        for description in self._limiter.policies.descriptions(request.policy):
            fill_policy(response.policies.add(), description)
        return response


def fill_policy(message: pb.PolicyDescription, description: PolicyDescription) -> None:
    """Say what a policy says."""
    message.name = description.name
    message.version = description.version
    rules = description.rules
    message.unlimited = rules.unlimited
    message.unlimited_keys = len(rules.unlimited_keys)
    message.denied_keys = len(rules.denied_keys)
    message.shadow = rules.shadow
    if rules.near_limit is not None:
        message.near_limit = rules.near_limit
    message.on_failure = _MODES[description.on_failure]
    message.cache_refusals = description.cache_refusals
    lease = description.lease
    if lease is not None:
        message.lease.max_fraction = lease.max_fraction
        message.lease.max_tokens = lease.most(description.limits[0].limit)
        set_us(message.lease.ttl, lease.ttl_us)
    if rules.reservations is not None:
        set_ms(message.reservations.ttl, rules.reservations.ttl_ms)
        set_ms(message.reservations.max_ttl, rules.reservations.max_ttl_ms)
        message.reservations.max_held = rules.reservations.max_held
    for limit in description.limits:
        fill_limit(message.limits.add(), limit)
    message.personal = description.personal
    for limit in description.candidate:
        fill_limit(message.candidate.add(), limit)
    for tier in description.tiers:
        part = message.tiers.add(
            name=tier.name, unlimited=tier.effect is Effect.UNLIMITED, denied=tier.effect is Effect.DENIED
        )
        for limit in tier.limits:
            fill_limit(part.limits.add(), limit)


def fill_limit(message: pb.LimitDescription, limit: LimitDescription) -> None:
    """Say what a limit says."""
    message.name = limit.name
    message.algorithm = limit.algorithm.value  # type: ignore[assignment]  # the numbers are the protocol's
    message.limit = limit.limit
    message.calendar = limit.calendar
    message.time_zone = limit.time_zone
    message.sub_windows = limit.sub_windows
    message.rate_tokens = limit.rate_tokens
    durations = (
        (message.window, limit.window_us),
        (message.rate_period, limit.rate_period_us),
        (message.lease, limit.lease_us),
        (message.max_lease, limit.max_lease_us),
    )
    for duration, length_us in durations:
        if length_us:
            set_us(duration, length_us)
