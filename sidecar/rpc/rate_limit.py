"""`sidecar.v1.RateLimitService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.rpc.convert import duration_from_us

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.limiter import RateLimiter


class RateLimitServicer:
    """Serves the rate limits."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def check(self, request: pb.CheckRequest, call: Call) -> pb.CheckResponse:
        """Take from an allowance."""
        cost = request.cost if request.HasField("cost") else 1
        decision = await self._limiter.check(request.policy, request.key, cost, call)
        return pb.CheckResponse(
            allowed=decision.allowed,
            limit=decision.limit,
            remaining=decision.remaining,
            retry_after=duration_from_us(decision.retry_after_us),
            reset_after=duration_from_us(decision.reset_after_us),
        )

    async def peek(self, request: pb.PeekRequest, call: Call) -> pb.PeekResponse:
        """Look at an allowance."""
        cost = request.cost if request.HasField("cost") else 1
        decision = await self._limiter.peek(request.policy, request.key, cost, call)
        return pb.PeekResponse(
            allowed=decision.allowed,
            limit=decision.limit,
            remaining=decision.remaining,
            retry_after=duration_from_us(decision.retry_after_us),
            reset_after=duration_from_us(decision.reset_after_us),
        )

    async def reset(self, request: pb.ResetRequest, call: Call) -> pb.ResetResponse:
        """Give an allowance back."""
        return pb.ResetResponse(existed=await self._limiter.reset(request.policy, request.key, call))
