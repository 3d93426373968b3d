"""`sidecar.v1.PipelineService`: each operation becomes a plan of its domain, all plans run together."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.cache.request import check_batch
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.gen.sidecar.v1 import pipeline_pb2 as pb
from sidecar.rpc.answers import (
    fill_counted,
    fill_decision,
    fill_deleted,
    fill_lookup,
    fill_reset,
    fill_written,
)
from sidecar.rpc.cache import delta_of, options_of_delete, options_of_set, options_of_ttl
from sidecar.rpc.convert import freshness_of, ms_from_duration
from sidecar.rpc.rate_limit import cost_of
from sidecar.rpc.side_by_side import side_by_side
from sidecar.rpc.status import fill_failure
from sidecar.rpc.turns import Turns
from sidecar.store.plans import Plan, run_reads, run_together
from sidecar.store.plans_apart import run_apart

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from sidecar.cache.catalog import Caches
    from sidecar.gen.sidecar.v1 import cache_pb2, rate_limit_pb2
    from sidecar.ratelimit.limiter import RateLimiter
    from sidecar.rpc.turns import Admission
    from sidecar.store.base import Store
    from sidecar.store.plans import Planned, Reads

# Of one stream. Enough that neither side waits for the other, also on the way to a store in another zone (16 batches of
# 32 within 5 ms are 100,000 operations a second), and no more answers are kept for a caller who does not read.
_MOST_BATCHES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePolicy:
    """The bounds of batches; times in seconds."""

    max_operations: int = 1000
    max_answer_bytes: int = 7 * 1024 * 1024
    default_timeout: float = 5.0
    max_timeout: float = 60.0


class PipelineServicer:
    """Serves batches of operations."""

    def __init__(
        self, *, caches: Caches, limiter: RateLimiter, store: Store, admission: Admission, policy: PipelinePolicy
    ) -> None:
        self._caches = caches
        self._limiter = limiter
        self._store = store
        self._admission = admission
        self._policy = policy
        self._planners: dict[str, Callable[[Any, Call], Planned[Any]]] = {
            "get": self._plan_get,
            "set": self._plan_set,
            "delete": self._plan_delete,
            "touch": self._plan_touch,
            "increment": self._plan_increment,
            "check": self._plan_check,
            "peek": self._plan_peek,
            "reset": self._plan_reset,
        }

    async def execute(self, request: pb.ExecuteRequest, call: Call) -> pb.ExecuteResponse:
        """Carry out one batch."""
        response = pb.ExecuteResponse()
        await self._carry_out(request, response, call)
        return response

    async def stream(
        self, requests: AsyncIterator[pb.StreamRequest], call: Call
    ) -> AsyncGenerator[pb.StreamResponse, None]:
        """Carry out batches as they come, side by side."""

        async def answer(request: pb.StreamRequest) -> pb.StreamResponse:
            return await self._answer(request, call)

        async with aclosing(side_by_side(requests, answer, most=_MOST_BATCHES)) as answers:
            async for response in answers:
                yield response

    async def _answer(self, request: pb.StreamRequest, stream: Call) -> pb.StreamResponse:
        """Carry out one batch of a stream: a call in all but the transport."""
        policy = self._policy
        timeout = ms_from_duration(request.timeout) / 1000 if request.HasField("timeout") else policy.default_timeout
        deadline = min(after(min(timeout, policy.max_timeout)), stream.deadline)
        call = Call(
            stream.method,
            deadline=deadline,
            metadata=stream.metadata,
            peer=stream.peer,
            credentials=stream.credentials,
        )
        call.span = stream.span
        response = pb.StreamResponse(id=request.id)
        try:
            with Turns(self._admission, call):
                await self._carry_out(request, response, call)
        except SidecarError as error:
            fill_failure(response.failure, error)
        return response

    async def _carry_out(
        self,
        request: pb.ExecuteRequest | pb.StreamRequest,
        response: pb.ExecuteResponse | pb.StreamResponse,
        call: Call,
    ) -> None:
        operations = request.operations
        check_batch(len(operations), self._policy.max_operations, "operations")
        reads = self._plan_gets(operations)
        if reads is None:
            kinds = [operation.WhichOneof("request") or "" for operation in operations]
            plans = await self._plan(operations, kinds, call)
            apart = any(isinstance(plan, Plan) and plan.by is not None for plan in plans)
            results: Sequence[Any] = await (run_apart if apart else run_together)(
                plans, self._store, call, max_answer_bytes=self._policy.max_answer_bytes
            )
        else:
            kinds = ["get"] * len(operations)
            results = await run_reads(reads, self._store, call, max_answer_bytes=self._policy.max_answer_bytes)
        add = response.results.add
        for kind, found in zip(kinds, results, strict=True):
            result = add()
            if isinstance(found, SidecarError):
                fill_failure(result.failure, found)
            elif kind == "get":
                fill_lookup(result.get, found)
            else:
                _FILLERS[kind](getattr(result, kind), found)

    # --- from requests to plans: what the services' own methods do before they wait ---

    def _plan_gets(self, operations: Sequence[pb.Operation]) -> Reads[Any] | None:
        """Return one plan for a batch that only reads, and from one cache; None where it takes a plan for each.

        This is the most frequent batch: an automatic one of a service that mostly reads, or a page's worth of keys.
        Planned together it costs two thirds.
        """
        gets = [operation.get for operation in operations]
        keys = [get.key for get in gets]
        names = {get.cache for get in gets} if all(keys) else ()  # what is no Get has no key under `get`
        if len(names) != 1:
            return None
        try:
            cache = self._caches.values(*names)
        except SidecarError:
            return None
        return cache.plan_gets(keys)

    async def _plan(
        self, operations: Sequence[pb.Operation], kinds: Sequence[str], call: Call
    ) -> list[Plan[Any] | SidecarError]:
        """Return the plan of each operation, or the error with which it ends."""
        plans: list[Plan[Any] | SidecarError] = []
        planners = self._planners
        for operation, kind in zip(operations, kinds, strict=True):
            try:
                if not kind:
                    raise _empty(len(plans))
                plan = planners[kind](getattr(operation, kind), call)
                plans.append(plan if isinstance(plan, Plan) else await plan)
            except SidecarError as error:
                plans.append(error)
        return plans

    def _plan_get(self, request: cache_pb2.GetRequest, call: Call) -> Planned[Any]:
        return self._caches.values(request.cache).plan_get(request.key, call, freshness_of(request))

    def _plan_set(self, request: cache_pb2.SetRequest, call: Call) -> Planned[Any]:
        cache = self._caches.values(request.cache)
        return cache.plan_set(request.key, request.value, options_of_set(request), call)

    def _plan_delete(self, request: cache_pb2.DeleteRequest, call: Call) -> Planned[Any]:
        return self._caches.values(request.cache).plan_delete(request.key, options_of_delete(request), call)

    def _plan_touch(self, request: cache_pb2.TouchRequest, call: Call) -> Planned[Any]:
        return self._caches.values(request.cache).plan_touch(request.key, options_of_ttl(request), call)

    def _plan_increment(self, request: cache_pb2.IncrementRequest, call: Call) -> Planned[Any]:
        cache = self._caches.values(request.cache)
        return cache.plan_increment(request.key, delta_of(request), request.initial, options_of_ttl(request), call)

    def _plan_check(self, request: rate_limit_pb2.CheckRequest, _call: Call) -> Planned[Any]:
        return self._limiter.plan_check(request.policy, request.key, cost_of(request), request.tier)

    def _plan_peek(self, request: rate_limit_pb2.PeekRequest, _call: Call) -> Planned[Any]:
        return self._limiter.plan_peek(request.policy, request.key, cost_of(request), request.tier)

    def _plan_reset(self, request: rate_limit_pb2.ResetRequest, _call: Call) -> Planned[Any]:
        return self._limiter.plan_reset(request.policy, request.key)


_FILLERS: dict[str, Callable[[Any, Any], None]] = {
    "get": fill_lookup,
    "set": fill_written,
    "delete": fill_deleted,
    "touch": fill_written,
    "increment": fill_counted,
    "check": fill_decision,
    "peek": fill_decision,
    "reset": fill_reset,
}


def _empty(number: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        Reason.OPERATION_EMPTY,
        "the operation is unset, or of a kind that this sidecar does not know",
        field=f"operations[{number}]",
    )
