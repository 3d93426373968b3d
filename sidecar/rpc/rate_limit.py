"""`sidecar.v1.RateLimitService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.rpc.answers import fill_decision
from sidecar.rpc.slots import SlotsServicer

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.limiter import RateLimiter


class RateLimitServicer(SlotsServicer):
    """Serves the rate limits."""

    def __init__(self, limiter: RateLimiter) -> None:
        super().__init__(limiter)
        self._limiter = limiter

    async def check(self, request: pb.CheckRequest, call: Call) -> pb.CheckResponse:
        """Take from an allowance."""
        response = pb.CheckResponse()
        fill_decision(response, await self._limiter.check(request.policy, request.key, cost_of(request), call))
        return response

    async def peek(self, request: pb.PeekRequest, call: Call) -> pb.PeekResponse:
        """Look at an allowance."""
        response = pb.PeekResponse()
        fill_decision(response, await self._limiter.peek(request.policy, request.key, cost_of(request), call))
        return response

    async def reset(self, request: pb.ResetRequest, call: Call) -> pb.ResetResponse:
        """Give an allowance back."""
        return pb.ResetResponse(existed=await self._limiter.reset(request.policy, request.key, call))


def cost_of(request: pb.CheckRequest | pb.PeekRequest) -> int:
    """Return the cost to ask for."""
    return request.cost if request.HasField("cost") else 1
