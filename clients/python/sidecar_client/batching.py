"""Calls of one turn of the event loop, sent as one message.

A gRPC call costs its client some hundred microseconds, whatever it carries; the work of one Get is a few of them. Where
many tasks call at once, their calls can share a message, and callers who are answered together call again together: so
what was gathered once stays gathered, without any of them waiting for the others on purpose.

A call joins the queue; the first one asks the loop to send the queue at the end of its turn. By then every task that
was ready has made its call. They leave as `PipelineService.Execute`, in parts of at most `_MOST_OPERATIONS` and
`_MOST_BYTES`, and each part's answer wakes its callers. A call that is alone in its turn goes as itself, and so does
one whose answer did not fit into the batch's. What a caller sees is in no way different:

- an operation's failure becomes the error that the call alone would have raised, and a batch's own failure is raised to
  each of its callers; the repetition of calls (`retry.py`) is outside of all this, and each call's own;
- a batch has the latest deadline of its calls, and calls whose deadlines are far apart share none (at most a factor of
  two); a call whose own deadline passes earlier ends then. It is the batch that has a timer, not each call;
- a caller who leaves leaves the batch alone, unless he was its last: then it is cancelled;
- a sidecar that has no `PipelineService` is told from one that has by its answer UNIMPLEMENTED, with which nothing was
  done: the calls go one by one from then on, and a warning is logged once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import grpc

from sidecar_client.errors import DeadlineExceededError, from_failure, from_rpc_error
from sidecar_client.gen.sidecar.v1 import cache_pb2, pipeline_pb2, rate_limit_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar_client.gen.sidecar.v1.pipeline_pb2_grpc import PipelineServiceAsyncStub

_log = logging.getLogger("sidecar_client")

# Measured with 200 callers: larger parts cost hardly less per call, and with two of them client and sidecar need not
# wait for each other.
_MOST_OPERATIONS = 128
# Below the smallest `limits.max_message_bytes` that a sidecar can be given, 64 KiB. Large values gain little by it.
_MOST_BYTES = 48 * 1024

KINDS: dict[type[Any], str] = {
    cache_pb2.GetRequest: "get",
    cache_pb2.SetRequest: "set",
    cache_pb2.DeleteRequest: "delete",
    cache_pb2.TouchRequest: "touch",
    cache_pb2.IncrementRequest: "increment",
    rate_limit_pb2.CheckRequest: "check",
    rate_limit_pb2.PeekRequest: "peek",
    rate_limit_pb2.ResetRequest: "reset",
}
"""What an operation of each request is called in `Operation`; other requests are not gathered."""

# With these an operation fails only for being in a batch, and was not carried out.
_FOR_COMPANY = frozenset({"ANSWER_TOO_LARGE", "OPERATION_EMPTY"})

ALONE = object()
"""In place of an answer: make the call as it is."""


class Gathered:
    """A call that leaves with others."""

    __slots__ = ("batch", "ends_at", "future", "kind", "request")

    def __init__(self, kind: str, request: Any, ends_at: float, future: asyncio.Future[Any]) -> None:
        self.kind = kind
        self.request = request
        self.ends_at = ends_at
        self.future = future
        self.batch: _Batch | None = None

    def leave(self) -> None:
        """Tell its batch that nobody waits for it any more."""
        if self.batch is not None and self.future.cancelled():  # not answered before
            self.batch.leave()


class _Batch:
    """Calls that leave together."""

    __slots__ = ("calls", "ends_at", "task", "timer", "waited_for")

    def __init__(self, calls: Sequence[Gathered]) -> None:
        self.calls = calls
        self.ends_at = max(call.ends_at for call in calls)
        self.waited_for = len(calls)
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        for call in calls:
            call.batch = self

    def leave(self) -> None:
        """Take one caller out, who waits no longer."""
        self.waited_for -= 1
        if not self.waited_for and self.task is not None:
            self.task.cancel()


class Batcher:
    """Gathers the calls of one client. It belongs to one event loop."""

    def __init__(self, stub: PipelineServiceAsyncStub) -> None:
        self._stub = stub
        self._loop = asyncio.get_running_loop()
        self._queue: list[Gathered] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._most = _MOST_OPERATIONS
        self._served = True
        self._under_way = 0
        self._closing: asyncio.Future[None] | None = None

    def join(self, kind: str, request: Any, ends_at: float) -> Gathered | None:
        """Let a call, due by `ends_at` of the monotonic clock, leave with others; None: make it as it is.

        Its future ends with the answer, with the `SidecarError` that the call alone would have raised, or with `ALONE`.
        Whoever is cancelled while waiting for it calls `leave`.
        """
        if not self._served:
            return None
        if not self._queue:
            self._loop.call_soon(self._send_queue)
        gathered = Gathered(kind, request, ends_at, self._loop.create_future())
        self._queue.append(gathered)
        return gathered

    def begin(self) -> None:
        """Count a call that begins, its repetitions included; raises RuntimeError once the client closes."""
        if self._closing is not None:
            raise RuntimeError("the client is closed")
        self._under_way += 1

    def end(self) -> None:
        """Count one that has ended."""
        self._under_way -= 1
        if not self._under_way and self._closing is not None and not self._closing.done():
            self._closing.set_result(None)

    async def drain(self) -> None:
        """Take no further calls, and wait until those that have begun have ended: their deadlines bound the time."""
        if self._closing is None:
            self._closing = self._loop.create_future()
        if self._under_way:
            await asyncio.shield(self._closing)

    # --- sending ---

    def _send_queue(self) -> None:
        queue, self._queue = self._queue, []
        calls = [call for call in queue if not call.future.done()]  # the others' callers have left
        if not calls:
            return
        now = time.monotonic()
        ends = [call.ends_at for call in calls]
        if max(ends) - now <= 2 * (min(ends) - now):
            self._send(calls)
            return
        # Of the same power of two, so that no deadline is more than twice another of its group.
        groups: dict[int, list[Gathered]] = {}
        for call in calls:
            groups.setdefault(math.frexp(call.ends_at - now)[1], []).append(call)
        for group in groups.values():
            self._send(group)

    def _send(self, calls: Sequence[Gathered]) -> None:
        for part in _parts(calls, self._most):
            if len(part) == 1:
                part[0].future.set_result(ALONE)
                continue
            request = _request_of(part)
            if request.ByteSize() <= _MOST_BYTES:
                self._start(_Batch(part), request)
                continue
            for smaller in _parts_by_size(part):
                if len(smaller) == 1:
                    smaller[0].future.set_result(ALONE)
                else:
                    self._start(_Batch(smaller), _request_of(smaller))

    def _start(self, batch: _Batch, request: pipeline_pb2.ExecuteRequest) -> None:
        batch.task = self._loop.create_task(self._execute(batch, request))
        self._tasks.add(batch.task)
        batch.task.add_done_callback(self._tasks.discard)

    async def _execute(self, batch: _Batch, request: pipeline_pb2.ExecuteRequest) -> None:
        self._watch(batch)
        try:
            response = await self._stub.Execute(request, timeout=max(0.0, batch.ends_at - time.monotonic()))
        except grpc.aio.AioRpcError as error:
            self._failed(batch, error)
            return
        except BaseException as error:  # whatever it is, the callers must not wait for ever
            _end_all(batch, error)
            raise
        finally:
            if batch.timer is not None:
                batch.timer.cancel()
        for call, result in zip(batch.calls, response.results, strict=True):
            future = call.future
            if future.done():
                continue
            kind = result.WhichOneof("result")
            if kind == call.kind:
                future.set_result(getattr(result, kind))
                continue
            failure = from_failure(result.failure)
            future.set_result(ALONE if failure.reason in _FOR_COMPANY else failure)

    def _failed(self, batch: _Batch, error: grpc.aio.AioRpcError) -> None:
        """Tell the callers of a batch that was refused or lost as a whole."""
        failure = from_rpc_error(error)
        waiting = [call for call in batch.calls if not call.future.done()]
        if failure.reason == "BATCH_SIZE" and "max_keys" in failure.metadata:
            # The sidecar is configured for less; nothing was done.
            self._most = max(1, int(failure.metadata["max_keys"]))
            if self._most < len(batch.calls):
                self._send(waiting)
                return
        unserved = error.code() is grpc.StatusCode.UNIMPLEMENTED
        if unserved and self._served:
            self._served = False
            _log.warning(
                "the sidecar has no PipelineService: it is older than this client, and auto_batch has no effect; "
                "calls go one by one"
            )
        for call in waiting:
            # An error of its own for each: raised in many tasks, one would gather all their tracebacks.
            own = from_rpc_error(error)
            own.__cause__ = error
            call.future.set_result(ALONE if unserved else own)

    # --- deadlines ---

    def _watch(self, batch: _Batch) -> None:
        """End the calls whose deadline has passed, now and whenever the next one does."""
        now = time.monotonic()
        first = math.inf
        for call in batch.calls:
            if call.future.done():
                continue
            if call.ends_at > now:
                if call.ends_at < first:  # noqa: PLR1730 (min() is a call, for each of a batch)
                    first = call.ends_at
                continue
            call.future.set_result(DeadlineExceededError("Deadline Exceeded", code=grpc.StatusCode.DEADLINE_EXCEEDED))
            batch.leave()
        batch.timer = self._loop.call_later(first - now, self._watch, batch) if first < math.inf else None


def _end_all(batch: _Batch, error: BaseException) -> None:
    """Let the callers of a batch end as its call did, cancelled or with an error that is no status."""
    for call in batch.calls:
        if call.future.done():
            continue
        if isinstance(error, Exception):
            call.future.set_exception(error)
        else:
            call.future.cancel()


def _request_of(calls: Sequence[Gathered]) -> pipeline_pb2.ExecuteRequest:
    request = pipeline_pb2.ExecuteRequest()
    add = request.operations.add
    for call in calls:
        getattr(add(), call.kind).CopyFrom(call.request)
    return request


def _parts(calls: Sequence[Gathered], most: int) -> list[Sequence[Gathered]]:
    """Split calls into parts of at most `most`, as even as may be."""
    count = -(-len(calls) // most)
    if count == 1:
        return [calls]
    size = -(-len(calls) // count)
    return [calls[start : start + size] for start in range(0, len(calls), size)]


def _parts_by_size(calls: Sequence[Gathered]) -> list[list[Gathered]]:
    """Split calls into parts of at most `_MOST_BYTES`; what is larger stands alone."""
    parts: list[list[Gathered]] = []
    room_bytes = 0
    for call in calls:
        needed: int = call.request.ByteSize()
        if not parts or needed > room_bytes:
            parts.append([])
            room_bytes = _MOST_BYTES
        parts[-1].append(call)
        room_bytes -= needed
    return parts
