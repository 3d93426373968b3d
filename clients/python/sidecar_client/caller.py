"""One call, with its deadline and its retries.

The deadline covers all attempts and the waits between them: a caller who allows a second waits no longer than that.
What to do after a failure is decided in `retry.py`; here it is done.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, TypeVar

import grpc

from sidecar_client.batching import ALONE, KINDS
from sidecar_client.durations import to_seconds
from sidecar_client.errors import SidecarError, from_rpc_error
from sidecar_client.retry import next_wait

if TYPE_CHECKING:
    from sidecar_client.batching import Batcher
    from sidecar_client.durations import Span
    from sidecar_client.retry import RetryPolicy

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class Caller:
    """Makes calls under one client's default deadline and retry policy."""

    def __init__(self, *, timeout: Span, retries: RetryPolicy) -> None:
        self._timeout_s = _positive_seconds(timeout)
        self._retries = retries
        self.batcher: Batcher | None = None
        """What gathers the calls that can be gathered, if the client wants that."""

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        repeatable: bool,
        timeout: Span | None,  # noqa: ASYNC109 (it becomes the call's own deadline, which the server sees too)
    ) -> ResponseT:
        """Return the method's answer; raises SidecarError. `timeout` is the client's own if None."""
        ends_at = time.monotonic() + (self._timeout_s if timeout is None else _positive_seconds(timeout))
        kind = KINDS.get(type(request))
        batcher = self.batcher if kind is not None else None
        if batcher is not None:
            batcher.begin()
        attempts = 0
        try:
            while True:
                attempts += 1
                try:
                    gathered = None if batcher is None or kind is None else batcher.join(kind, request, ends_at)
                    if gathered is not None:
                        try:
                            answer = await gathered.future
                        except asyncio.CancelledError:
                            gathered.leave()
                            raise
                        if isinstance(answer, SidecarError):
                            raise answer
                        if answer is not ALONE:
                            good: ResponseT = answer
                            return good
                    return await method(request, timeout=max(0.0, ends_at - time.monotonic()))
                except grpc.aio.AioRpcError as error:
                    await self._wait_or_raise(from_rpc_error(error), error, attempts, ends_at, repeatable=repeatable)
                except SidecarError as error:  # of an operation in a batch
                    await self._wait_or_raise(error, error.__cause__, attempts, ends_at, repeatable=repeatable)
        finally:
            if batcher is not None:
                batcher.end()

    async def _wait_or_raise(
        self, failure: SidecarError, cause: BaseException | None, attempts: int, ends_at: float, *, repeatable: bool
    ) -> None:
        wait_s = next_wait(
            failure,
            policy=self._retries,
            attempts=attempts,
            repeatable=repeatable,
            remaining_s=ends_at - time.monotonic(),
            draw=random.random(),  # noqa: S311 (spreads callers, guards nothing)
        )
        if wait_s is None:
            raise failure from cause
        await asyncio.sleep(wait_s)


def _positive_seconds(timeout: Span) -> float:
    seconds = to_seconds(timeout)
    if seconds <= 0:
        raise ValueError("a timeout must be positive")
    return seconds
