"""`sidecar.v1.RateLimitService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.request import check_batch
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.ratelimit.together import Asked
from sidecar.rpc.answers import fill_decision
from sidecar.rpc.explain import ExplainServicer
from sidecar.rpc.overrides import OverridesServicer
from sidecar.rpc.policies import PoliciesServicer
from sidecar.rpc.reports import ReportsServicer
from sidecar.rpc.reservations import ReservationsServicer
from sidecar.rpc.slots import SlotsServicer
from sidecar.rpc.status import fill_failure

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.limiter import RateLimiter
    from sidecar.ratelimit.override_book import OverrideBook
    from sidecar.ratelimit.reporter import Reporter

# Whether the checks of a CheckMany are made all or nothing, by its mode.
_TOGETHER: dict[int, bool] = {
    pb.CHECK_MODE_UNSPECIFIED: True,
    pb.CHECK_MODE_ALL_OR_NOTHING: True,
    pb.CHECK_MODE_EACH: False,
}


class RateLimitServicer(
    SlotsServicer, PoliciesServicer, OverridesServicer, ExplainServicer, ReportsServicer, ReservationsServicer
):
    """Serves the rate limits."""

    def __init__(self, limiter: RateLimiter, book: OverrideBook, reporter: Reporter, *, max_checks: int) -> None:
        SlotsServicer.__init__(self, limiter)
        OverridesServicer.__init__(self, limiter, book)
        ReportsServicer.__init__(self, limiter, reporter)
        self._limiter = limiter
        self._max_checks = max_checks

    async def check(self, request: pb.CheckRequest, call: Call) -> pb.CheckResponse:
        """Take from an allowance."""
        response = pb.CheckResponse()
        decision = await self._limiter.check(request.policy, request.key, cost_of(request), call, request.tier)
        fill_decision(response, decision)
        return response

    async def check_many(self, request: pb.CheckManyRequest, call: Call) -> pb.CheckManyResponse:
        """Take from several allowances."""
        check_batch(len(request.checks), self._max_checks, "checks")
        together = _TOGETHER.get(request.mode)
        if together is None:
            raise InvalidArgumentError(Reason.OPERATION_EMPTY, "the mode is none that this sidecar knows", field="mode")
        asked = [Asked(check.policy, check.key, cost_of(check), check.tier) for check in request.checks]
        response = pb.CheckManyResponse(allowed=True)
        for found in await self._limiter.check_many(asked, call, together=together):
            result = response.results.add()
            if isinstance(found, SidecarError):
                response.allowed = False
                fill_failure(result.failure, found)
            else:
                response.allowed &= found.allowed
                fill_decision(result.decision, found)
        return response

    async def peek(self, request: pb.PeekRequest, call: Call) -> pb.PeekResponse:
        """Look at an allowance."""
        response = pb.PeekResponse()
        decision = await self._limiter.peek(request.policy, request.key, cost_of(request), call, request.tier)
        fill_decision(response, decision)
        return response

    async def reset(self, request: pb.ResetRequest, call: Call) -> pb.ResetResponse:
        """Give an allowance back."""
        return pb.ResetResponse(existed=await self._limiter.reset(request.policy, request.key, call))


def cost_of(request: pb.CheckRequest | pb.PeekRequest) -> int:
    """Return the cost to ask for."""
    return request.cost if request.HasField("cost") else 1
