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

from sidecar_client.durations import to_seconds
from sidecar_client.errors import from_rpc_error
from sidecar_client.retry import next_wait

if TYPE_CHECKING:
    from sidecar_client.durations import Span
    from sidecar_client.retry import RetryPolicy

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class Caller:
    """Makes calls under one client's default deadline and retry policy."""

    def __init__(self, *, timeout: Span, retries: RetryPolicy) -> None:
        self._timeout_s = _positive_seconds(timeout)
        self._retries = retries

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
        attempts = 0
        while True:
            attempts += 1
            try:
                return await method(request, timeout=max(0.0, ends_at - time.monotonic()))
            except grpc.aio.AioRpcError as error:
                failure, cause = from_rpc_error(error), error
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
