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
    from collections.abc import Awaitable, Callable, Sequence

    from sidecar_client.caller import Caller
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceAsyncStub

LOAD_PENDING = "LOAD_PENDING"
UNSUPPORTED_BY_CACHE = "UNSUPPORTED_BY_CACHE"


def question(cache: str, key: str, ends_at: float) -> pb.GetOrLoadRequest:
    """Return what to ask: the entry, or who loads it, by `ends_at` of the monotonic clock."""
    return pb.GetOrLoadRequest(cache=cache, key=key, wait=to_duration(max(0.0, ends_at - time.monotonic())))


def found_in(answer: pb.GetOrLoadResponse, ends_at: float) -> Lookup | None:
    """Return what an answer that is no lease found, None: ask again. Raises DeadlineExceededError (LOAD_PENDING)."""
    if answer.outcome in {pb.LOAD_OUTCOME_HIT, pb.LOAD_OUTCOME_STALE}:
        return lookup_of(answer.entry)
    if answer.outcome == pb.LOAD_OUTCOME_ABSENT:
        return Lookup(outcome=Outcome.MISS)
    if time.monotonic() < ends_at:
        return None
    raise DeadlineExceededError(
        "another caller loads the entry, and has not done so in time",
        code=grpc.StatusCode.DEADLINE_EXCEEDED,
        reason=LOAD_PENDING,
        retry_after=from_duration(answer.retry_after),
    )


def filling(
    cache: str, key: str, token: str, value: bytes | str, *, ttl: Span | None, tags: Sequence[str] = ()
) -> pb.FillRequest:
    """Return what to tell of a load that brought a value."""
    loaded = value.encode() if isinstance(value, str) else value
    return pb.FillRequest(cache=cache, key=key, token=token, value=loaded, ttl=to_duration(ttl), tags=tags)


def ending(
    cache: str, key: str, token: str, *, absent: bool = False, failed: bool = False, tags: Sequence[str] = ()
) -> pb.FillRequest:
    """Return what to tell of a load that brought none."""
    request = pb.FillRequest(cache=cache, key=key, token=token, tags=tags)
    if absent:
        request.absent = True
    else:
        request.failed = failed
    return request


def stored(request: pb.FillRequest, filled: pb.FillResponse) -> Lookup:
    """Return a value that was filled in."""
    ttl = optional_timedelta(filled, "ttl")
    return Lookup(outcome=Outcome.HIT, value=request.value, version=filled.version, ttl=ttl)


def is_at_fault(error: SidecarError) -> bool:
    """Say whether what was to be filled in is wrong: too large, its TTL too long, or the cache has no tags.

    That is to be mended, not to be loaded each time. Of any other error a caller need not know: it has what its origin
    said a moment ago, though the cache could not take it.
    """
    return error.code is grpc.StatusCode.INVALID_ARGUMENT or error.reason == UNSUPPORTED_BY_CACHE


def not_stored(request: pb.FillRequest) -> Lookup:
    """Return a value that could not be filled in."""
    return Lookup(outcome=Outcome.HIT, value=request.value)


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
        tags: Sequence[str] | Callable[[bytes | str | None], Sequence[str]] = (),
    ) -> Lookup:
        """Return the entry; `Cache.get_or_load` says what of."""
        ends_at = time.monotonic() + to_seconds(wait)
        while True:
            request = question(self._cache, self._key, ends_at)
            answer = await self._caller.call(self._stub.GetOrLoad, request, repeatable=True, timeout=self._timeout)
            if answer.outcome == pb.LOAD_OUTCOME_LEASE:
                return await self._load(load, answer, ttl=ttl, stale_if_error=stale_if_error, tags=tags)
            found = found_in(answer, ends_at)
            if found is not None:
                return found

    async def _load(
        self,
        load: Callable[[], Awaitable[bytes | str | None]],
        answer: pb.GetOrLoadResponse,
        *,
        ttl: Span | None,
        stale_if_error: bool,
        tags: Sequence[str] | Callable[[bytes | str | None], Sequence[str]],
    ) -> Lookup:
        try:
            value = await load()
            words = tags(value) if callable(tags) else tags
        except BaseException as error:
            await self._end(answer.token, failed=True)
            if stale_if_error and isinstance(error, Exception) and answer.HasField("entry"):
                return lookup_of(answer.entry)
            raise
        if value is None:
            await self._end(answer.token, absent=True, tags=words)
            return Lookup(outcome=Outcome.MISS)
        request = filling(self._cache, self._key, answer.token, value, ttl=ttl, tags=words)
        try:
            filled = await self._caller.call(self._stub.Fill, request, repeatable=False, timeout=self._timeout)
        except SidecarError as error:
            if is_at_fault(error):
                await self._end(answer.token, failed=True)
                raise
            return not_stored(request)
        return stored(request, filled)

    async def _end(self, token: str, *, absent: bool = False, failed: bool = False, tags: Sequence[str] = ()) -> None:
        request = ending(self._cache, self._key, token, absent=absent, failed=failed, tags=tags)
        # If this does not get through, the lease ends by itself.
        with suppress(SidecarError):
            await self._caller.call(self._stub.Fill, request, repeatable=False, timeout=self._timeout)
