"""Cache-aside in one call: read an entry, or load it from its origin, once for all who ask for it at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc

from sidecar_client.durations import from_duration, optional_timedelta, to_duration, to_seconds
from sidecar_client.errors import DeadlineExceededError, SidecarError
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.results import Lookup, Outcome, lookup_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar_client.caller import Caller
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceAsyncStub

LOAD_PENDING = "LOAD_PENDING"


class Loading:
    """One entry that may have to be loaded."""

    def __init__(self, stub: CacheServiceAsyncStub, caller: Caller, cache: str, key: str, timeout: Span | None) -> None:
        self._stub = stub
        self._caller = caller
        self._cache = cache
        self._key = key
        self._timeout = timeout

    async def get(
        self,
        load: Callable[[], Awaitable[bytes | str | None]],
        *,
        ttl: Span | None,
        wait: Span,
        stale_if_error: bool,
    ) -> Lookup:
        """Return the entry; `Cache.get_or_load` says what of."""
        ends_at = time.monotonic() + to_seconds(wait)
        while True:
            rest_s = max(0.0, ends_at - time.monotonic())
            request = pb.GetOrLoadRequest(cache=self._cache, key=self._key, wait=to_duration(rest_s))
            answer = await self._caller.call(self._stub.GetOrLoad, request, repeatable=True, timeout=self._timeout)
            if answer.outcome in {pb.LOAD_OUTCOME_HIT, pb.LOAD_OUTCOME_STALE}:
                return lookup_of(answer.entry)
            if answer.outcome == pb.LOAD_OUTCOME_ABSENT:
                return Lookup(outcome=Outcome.MISS)
            if answer.outcome == pb.LOAD_OUTCOME_LEASE:
                return await self._load(load, answer, ttl=ttl, stale_if_error=stale_if_error)
            if time.monotonic() >= ends_at:
                raise DeadlineExceededError(
                    "another caller loads the entry, and has not done so in time",
                    code=grpc.StatusCode.DEADLINE_EXCEEDED,
                    reason=LOAD_PENDING,
                    retry_after=from_duration(answer.retry_after),
                )

    async def _load(
        self,
        load: Callable[[], Awaitable[bytes | str | None]],
        answer: pb.GetOrLoadResponse,
        *,
        ttl: Span | None,
        stale_if_error: bool,
    ) -> Lookup:
        try:
            value = await load()
        except BaseException as error:
            await self._end(answer.token, failed=True)
            if stale_if_error and isinstance(error, Exception) and answer.HasField("entry"):
                return lookup_of(answer.entry)
            raise
        if value is None:
            await self._end(answer.token, absent=True)
            return Lookup(outcome=Outcome.MISS)
        loaded = value.encode() if isinstance(value, str) else value
        request = pb.FillRequest(
            cache=self._cache, key=self._key, token=answer.token, value=loaded, ttl=to_duration(ttl)
        )
        try:
            filled = await self._caller.call(self._stub.Fill, request, repeatable=False, timeout=self._timeout)
        except SidecarError as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                raise  # it is too large, or its TTL too long: to be mended, not to be loaded each time
            # It is what the origin said a moment ago, though the cache could not take it.
            return Lookup(outcome=Outcome.HIT, value=loaded)
        return Lookup(outcome=Outcome.HIT, value=loaded, version=filled.version, ttl=optional_timedelta(filled, "ttl"))

    async def _end(self, token: str, *, absent: bool = False, failed: bool = False) -> None:
        request = pb.FillRequest(cache=self._cache, key=self._key, token=token)
        if absent:
            request.absent = True
        else:
            request.failed = failed
        # If this does not get through, the lease ends by itself.
        with suppress(SidecarError):
            await self._caller.call(self._stub.Fill, request, repeatable=False, timeout=self._timeout)
