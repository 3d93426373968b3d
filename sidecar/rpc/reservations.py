"""The part of `sidecar.v1.RateLimitService` that holds costs until they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.rpc.answers import fill_limits
from sidecar.rpc.convert import ms_from_duration, set_us

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.limiter import RateLimiter


class ReservationsServicer:
    """Serves reservations."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def reserve(self, request: pb.ReserveRequest, call: Call) -> pb.ReserveResponse:
        """Hold a cost."""
        decision, token, expires_after_us = await self._limiter.reservations.reserve(
            request.policy,
            request.key,
            cost=request.cost if request.HasField("cost") else 1,
            ttl_ms=ms_from_duration(request.ttl) if request.HasField("ttl") else None,
            reservation_id=request.reservation_id,
            call=call,
            tier=request.tier,
        )
        response = pb.ReserveResponse(
            reserved=decision.allowed,
            token=token,
            limit=decision.limit,
            remaining=decision.remaining,
            shadow_denied=decision.shadow_denied,
        )
        response.decided_by = decision.why  # type: ignore[assignment]  # the numbers are the protocol's
        set_us(response.retry_after, decision.retry_after_us)
        set_us(response.reset_after, decision.reset_after_us)
        set_us(response.expires_after, expires_after_us)
        fill_limits(response, decision)
        return response

    async def commit(self, request: pb.CommitRequest, call: Call) -> pb.CommitResponse:
        """Charge what came of it."""
        cost = request.cost if request.HasField("cost") else None
        charged, shortfall, decision = await self._limiter.reservations.commit(
            request.policy, request.key, request.token, cost=cost, call=call, tier=request.tier
        )
        response = pb.CommitResponse(charged=charged, shortfall=shortfall)
        if decision is not None:
            response.limit = decision.limit
            response.remaining = decision.remaining
            set_us(response.reset_after, decision.reset_after_us)
        return response

    async def cancel(self, request: pb.CancelRequest, call: Call) -> pb.CancelResponse:
        """Let go of it."""
        freed = await self._limiter.reservations.cancel(request.policy, request.key, request.token, call)
        return pb.CancelResponse(freed=freed)
