"""`RateLimitService` for one named policy."""

# ruff: noqa: ASYNC109 - a timeout here becomes the call's deadline, which the sidecar sees and keeps too

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar_client.durations import from_duration
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar_client.results import Decision

if TYPE_CHECKING:
    from sidecar_client.caller import Caller
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.rate_limit_pb2_grpc import RateLimitServiceAsyncStub


class Limit:
    """A named rate limit policy. Made by `SidecarClient.limit`; it costs nothing and may be kept.

    `check` and `reset` are never repeated by the client: a second `check` may take its cost twice, a second `reset`
    may give back what others took in between.
    """

    def __init__(self, policy: str, stub: RateLimitServiceAsyncStub, caller: Caller) -> None:
        self.policy = policy
        self._stub = stub
        self._caller = caller

    async def check(self, key: str, *, cost: int = 1, timeout: Span | None = None) -> Decision:
        """Take `cost` from the key's allowance if that much is left. A refusal is an answer and costs nothing."""
        request = pb.CheckRequest(policy=self.policy, key=key, cost=cost)
        answer = await self._caller.call(self._stub.Check, request, repeatable=False, timeout=timeout)
        return _decision(answer)

    async def peek(self, key: str, *, cost: int = 1, timeout: Span | None = None) -> Decision:
        """Say what `check` would answer, and take nothing."""
        request = pb.PeekRequest(policy=self.policy, key=key, cost=cost)
        answer = await self._caller.call(self._stub.Peek, request, repeatable=True, timeout=timeout)
        return _decision(answer)

    async def reset(self, key: str, *, timeout: Span | None = None) -> bool:
        """Give the key its whole allowance back; return whether anything was recorded for it."""
        request = pb.ResetRequest(policy=self.policy, key=key)
        answer = await self._caller.call(self._stub.Reset, request, repeatable=False, timeout=timeout)
        return answer.existed


def _decision(answer: pb.CheckResponse | pb.PeekResponse) -> Decision:
    return Decision(
        allowed=answer.allowed,
        limit=answer.limit,
        remaining=answer.remaining,
        retry_after=from_duration(answer.retry_after),
        reset_after=from_duration(answer.reset_after),
    )
