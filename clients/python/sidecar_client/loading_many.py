"""`loading` for many entries at once: those that this caller is to load are loaded together."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sidecar_client.durations import to_duration, to_seconds
from sidecar_client.errors import SidecarError, from_failure
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.loading import ending, filling, found_in, is_at_fault, not_stored, stored
from sidecar_client.results import Lookup, Outcome, lookup_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sidecar_client.caller import Caller
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceAsyncStub


class LoadingMany:
    """Entries of one cache that may have to be loaded."""

    def __init__(self, stub: CacheServiceAsyncStub, caller: Caller, cache: str, timeout: Span | None) -> None:
        self._stub = stub
        self._caller = caller
        self._cache = cache
        self._timeout = timeout

    async def get(
        self,
        keys: Sequence[str],
        load_many: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes | str | None]]],
        *,
        ttl: Span | None,
        wait: Span,
        stale_if_error: bool = False,
    ) -> dict[str, Lookup | SidecarError]:
        """Return each entry, or what went wrong with it; `Cache.get_or_load_many` says what of."""
        ends_at = time.monotonic() + to_seconds(wait)
        found: dict[str, Lookup | SidecarError] = {}
        pending = list(dict.fromkeys(keys))
        while pending:
            request = pb.GetOrLoadManyRequest(
                cache=self._cache, keys=pending, wait=to_duration(max(0.0, ends_at - time.monotonic()))
            )
            answer = await self._caller.call(self._stub.GetOrLoadMany, request, repeatable=True, timeout=self._timeout)
            leases: dict[str, pb.GetOrLoadResponse] = {}
            for result in answer.results:
                if result.WhichOneof("result") == "failure":
                    found[result.key] = from_failure(result.failure)
                elif result.loaded.outcome == pb.LOAD_OUTCOME_LEASE:
                    leases[result.key] = result.loaded
                else:
                    one = _found(result.loaded, ends_at)
                    if one is not None:
                        found[result.key] = one
            if leases:
                found.update(await self._load(load_many, leases, ttl=ttl, stale_if_error=stale_if_error))
            pending = [key for key in pending if key not in found]
        return {key: found[key] for key in keys}

    async def _load(
        self,
        load_many: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes | str | None]]],
        leases: Mapping[str, pb.GetOrLoadResponse],
        *,
        ttl: Span | None,
        stale_if_error: bool,
    ) -> dict[str, Lookup | SidecarError]:
        try:
            values = await load_many(list(leases))
        except BaseException as error:
            await asyncio.gather(*(self._end(key, lease.token, failed=True) for key, lease in leases.items()))
            whole = all(lease.HasField("entry") for lease in leases.values())
            if stale_if_error and whole and isinstance(error, Exception):
                return {key: lookup_of(lease.entry) for key, lease in leases.items()}
            raise
        kept = await asyncio.gather(
            *(self._keep(key, lease.token, values.get(key), ttl=ttl) for key, lease in leases.items())
        )
        return dict(zip(leases, kept, strict=True))

    async def _keep(
        self, key: str, token: str, value: bytes | str | None, *, ttl: Span | None
    ) -> Lookup | SidecarError:
        if value is None:
            await self._end(key, token, absent=True)
            return Lookup(outcome=Outcome.MISS)
        request = filling(self._cache, key, token, value, ttl=ttl)
        try:
            filled = await self._caller.call(self._stub.Fill, request, repeatable=False, timeout=self._timeout)
        except SidecarError as error:
            if is_at_fault(error):
                await self._end(key, token, failed=True)
                return error
            return not_stored(request)
        return stored(request, filled)

    async def _end(self, key: str, token: str, *, absent: bool = False, failed: bool = False) -> None:
        request = ending(self._cache, key, token, absent=absent, failed=failed)
        # If this does not get through, the lease ends by itself.
        with suppress(SidecarError):
            await self._caller.call(self._stub.Fill, request, repeatable=False, timeout=self._timeout)


def _found(answer: pb.GetOrLoadResponse, ends_at: float) -> Lookup | SidecarError | None:
    try:
        return found_in(answer, ends_at)
    except SidecarError as error:
        return error
