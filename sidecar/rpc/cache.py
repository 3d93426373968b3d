"""`sidecar.v1.CacheService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.loads import LoadOutcome
from sidecar.cache.near.policy import token_of
from sidecar.cache.policy import Outcome
from sidecar.cache.request import WriteOptions
from sidecar.cache.values import NewValue
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.gen.sidecar.v1 import cache_pb2 as pb
from sidecar.rpc.answers import fill_counted, fill_deleted, fill_lookup, fill_written
from sidecar.rpc.convert import condition_of, freshness_of, ms_from_duration, set_ms, ttl_ms_of
from sidecar.rpc.status import fill_failure
from sidecar.rpc.turns import Turns

if TYPE_CHECKING:
    from sidecar.cache.catalog import Caches
    from sidecar.cache.loads import Loaded
    from sidecar.call import Call
    from sidecar.rpc.turns import Admission


class CacheServicer:
    """Serves the caches of values."""

    def __init__(self, caches: Caches, admission: Admission) -> None:
        self._caches = caches
        self._admission = admission

    async def get(self, request: pb.GetRequest, call: Call) -> pb.GetResponse:
        """Read one entry."""
        response = pb.GetResponse()
        cache = self._caches.values(request.cache)
        fill_lookup(response, await cache.get(request.key, call, freshness_of(request)))
        return response

    async def set(self, request: pb.SetRequest, call: Call) -> pb.SetResponse:
        """Write one entry."""
        cache = self._caches.values(request.cache)
        response = pb.SetResponse()
        fill_written(response, await cache.set(request.key, request.value, options_of_set(request), call))
        return response

    async def delete(self, request: pb.DeleteRequest, call: Call) -> pb.DeleteResponse:
        """Remove one entry."""
        cache = self._caches.values(request.cache)
        response = pb.DeleteResponse()
        fill_deleted(response, await cache.delete(request.key, options_of_delete(request), call))
        return response

    async def get_many(self, request: pb.GetManyRequest, call: Call) -> pb.GetManyResponse:
        """Read several entries."""
        keys = list(request.keys)
        response = pb.GetManyResponse()
        add = response.results.add
        cache = self._caches.values(request.cache)
        for key, found in zip(keys, await cache.get_many(keys, call, freshness_of(request)), strict=True):
            result = add()
            result.key = key
            if isinstance(found, SidecarError):
                fill_failure(result.failure, found)
            else:
                fill_lookup(result.entry, found)
        return response

    async def set_many(self, request: pb.SetManyRequest, call: Call) -> pb.SetManyResponse:
        """Write several entries."""
        batch_ttl_ms = ttl_ms_of(request)
        values = [
            NewValue(
                entry.key,
                entry.value,
                WriteOptions(
                    ttl_ms=ttl_ms_of(entry) if entry.HasField("ttl") else batch_ttl_ms,
                    condition=condition_of(entry, f"entries[{number}]."),
                    idempotency_key=request.idempotency_key,
                    tags=tuple(entry.tags),
                ),
                own_ttl=entry.HasField("ttl"),
            )
            for number, entry in enumerate(request.entries)
        ]
        done = await self._caches.values(request.cache).set_many(values, call)
        response = pb.SetManyResponse()
        for value, written in zip(values, done, strict=True):
            result = response.results.add(key=value.key)
            if isinstance(written, SidecarError):
                fill_failure(result.failure, written)
            else:
                fill_written(result.written, written)
        return response

    async def delete_many(self, request: pb.DeleteManyRequest, call: Call) -> pb.DeleteManyResponse:
        """Remove several entries."""
        keys = list(request.keys)
        options = WriteOptions(idempotency_key=request.idempotency_key)
        done = await self._caches.values(request.cache).delete_many(keys, options, call)
        response = pb.DeleteManyResponse()
        for key, written in zip(keys, done, strict=True):
            result = response.results.add(key=key)
            if isinstance(written, SidecarError):
                fill_failure(result.failure, written)
            else:
                fill_deleted(result.deleted, written)
        return response

    async def touch(self, request: pb.TouchRequest, call: Call) -> pb.TouchResponse:
        """Give an entry a new TTL."""
        cache = self._caches.values(request.cache)
        response = pb.TouchResponse()
        fill_written(response, await cache.touch(request.key, options_of_ttl(request), call))
        return response

    async def increment(self, request: pb.IncrementRequest, call: Call) -> pb.IncrementResponse:
        """Add to a counter."""
        cache = self._caches.values(request.cache)
        options = options_of_ttl(request)
        response = pb.IncrementResponse()
        fill_counted(response, await cache.increment(request.key, delta_of(request), request.initial, options, call))
        return response

    async def get_or_load(self, request: pb.GetOrLoadRequest, call: Call) -> pb.GetOrLoadResponse:
        """Read one entry, or say who loads it."""
        with Turns(self._admission, call) as turns:
            loads = self._caches.loads(request.cache)
            loaded = await loads.get_or_load(request.key, _wait_ms_of(request), call, waiting=turns.pause)
        response = pb.GetOrLoadResponse()
        _fill_loaded(response, loaded)
        return response

    async def get_or_load_many(self, request: pb.GetOrLoadManyRequest, call: Call) -> pb.GetOrLoadManyResponse:
        """Read several entries, or say who loads them."""
        keys = list(request.keys)
        with Turns(self._admission, call) as turns:
            loads = self._caches.loads(request.cache)
            told = await loads.get_or_load_many(keys, _wait_ms_of(request), call, waiting=turns.pause)
        response = pb.GetOrLoadManyResponse()
        for key, loaded in zip(keys, told, strict=True):
            result = response.results.add(key=key)
            if isinstance(loaded, SidecarError):
                fill_failure(result.failure, loaded)
            else:
                _fill_loaded(result.loaded, loaded)
        return response

    async def fill(self, request: pb.FillRequest, call: Call) -> pb.FillResponse:
        """End a load."""
        loads = self._caches.loads(request.cache)
        result = request.WhichOneof("result")
        response = pb.FillResponse()
        if result == "value":
            filled = await loads.fill(
                request.key, request.token, request.value, ttl_ms_of(request), call, tags=request.tags
            )
            response.version = filled.version
            response.token = token_of(filled.version)
            set_ms(response.ttl, filled.ttl_ms)
        elif result is not None and getattr(request, result):
            await loads.end(request.key, request.token, call, absent=result == "absent", tags=request.tags)
        else:
            raise InvalidArgumentError(
                Reason.OPERATION_EMPTY, "the load has no result: set value, absent or failed", field="result"
            )
        return response

    async def invalidate(self, request: pb.InvalidateRequest, call: Call) -> pb.InvalidateResponse:
        """Put entries out of date."""
        invalidation = self._caches.invalidation(request.cache)
        what = request.WhichOneof("what")
        if what == "keys":
            done = await invalidation.by_keys(request.keys.keys, call)
        elif what == "tags":
            done = await invalidation.by_tags(request.tags.tags, call)
        elif what == "prefix":
            done = await invalidation.by_prefix(request.prefix, call)
        elif what == "all" and request.all:
            done = await invalidation.whole(call)
        else:
            raise InvalidArgumentError(
                Reason.OPERATION_EMPTY, "nothing is to be invalidated: set keys, tags, prefix or all", field="what"
            )
        response = pb.InvalidateResponse(removed=done.removed, generation=done.generation)
        if done.at_us:
            response.token = token_of(done.at_us)
        for key, error in done.failures:
            fill_failure(response.failures.add(key=key).failure, error)
        return response


def _wait_ms_of(request: pb.GetOrLoadRequest | pb.GetOrLoadManyRequest) -> int | None:
    return ms_from_duration(request.wait) if request.HasField("wait") else None


def _fill_loaded(message: pb.GetOrLoadResponse, loaded: Loaded) -> None:
    message.outcome = _LOAD_OUTCOMES[loaded.outcome]
    message.token = loaded.token
    if loaded.lookup.outcome is not Outcome.MISS:
        fill_lookup(message.entry, loaded.lookup)
    if loaded.outcome is LoadOutcome.WAIT:
        set_ms(message.retry_after, loaded.left_ms)
    elif loaded.left_ms:
        set_ms(message.expires_after, loaded.left_ms)


_LOAD_OUTCOMES = {
    LoadOutcome.HIT: pb.LOAD_OUTCOME_HIT,
    LoadOutcome.STALE: pb.LOAD_OUTCOME_STALE,
    LoadOutcome.LEASE: pb.LOAD_OUTCOME_LEASE,
    LoadOutcome.WAIT: pb.LOAD_OUTCOME_WAIT,
    LoadOutcome.ABSENT: pb.LOAD_OUTCOME_ABSENT,
}


def options_of_set(request: pb.SetRequest) -> WriteOptions:
    """Return what a Set asks for; raises CONDITION_EMPTY."""
    return WriteOptions(
        ttl_ms=ttl_ms_of(request),
        condition=condition_of(request),
        idempotency_key=request.idempotency_key,
        tags=tuple(request.tags),
    )


def options_of_delete(request: pb.DeleteRequest) -> WriteOptions:
    """Return what a Delete asks for; raises CONDITION_EMPTY."""
    return WriteOptions(condition=condition_of(request), idempotency_key=request.idempotency_key)


def options_of_ttl(request: pb.TouchRequest | pb.IncrementRequest) -> WriteOptions:
    """Return what a Touch or an Increment asks for."""
    return WriteOptions(ttl_ms=ttl_ms_of(request), idempotency_key=request.idempotency_key)


def delta_of(request: pb.IncrementRequest) -> int:
    """Return what to add."""
    return request.delta if request.HasField("delta") else 1
