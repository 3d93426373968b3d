"""The part of `sidecar.v1.RateLimitService` that leases slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.rpc.convert import ms_from_duration, set_us

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.limiter import RateLimiter


class SlotsServicer:
    """Serves the concurrency limits."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def acquire(self, request: pb.AcquireRequest, call: Call) -> pb.AcquireResponse:
        """Lease slots."""
        acquired = await self._limiter.policies.slots(request.policy).acquire(
            request.key,
            slots=request.slots if request.HasField("slots") else 1,
            lease_ms=_lease_ms_of(request),
            holder=request.holder,
            call=call,
        )
        response = pb.AcquireResponse(
            acquired=acquired.acquired,
            token=acquired.token,
            limit=acquired.limit,
            in_use=acquired.in_use,
            remaining=acquired.remaining,
        )
        set_us(response.expires_after, acquired.expires_after_us)
        set_us(response.retry_after, acquired.retry_after_us)
        return response

    async def release(self, request: pb.ReleaseRequest, call: Call) -> pb.ReleaseResponse:
        """Take slots back."""
        released = await self._limiter.policies.slots(request.policy).release(request.key, request.token, call)
        return pb.ReleaseResponse(slots=released.slots, in_use=released.in_use, remaining=released.remaining)

    async def renew(self, request: pb.RenewRequest, call: Call) -> pb.RenewResponse:
        """Let a lease last longer."""
        expires_after_us = await self._limiter.policies.slots(request.policy).renew(
            request.key, request.token, lease_ms=_lease_ms_of(request), call=call
        )
        response = pb.RenewResponse()
        set_us(response.expires_after, expires_after_us)
        return response


def _lease_ms_of(request: pb.AcquireRequest | pb.RenewRequest) -> int | None:
    """Return the lease to ask for, None for the policy's own; less than a millisecond is none."""
    return ms_from_duration(request.lease) if request.HasField("lease") else None
