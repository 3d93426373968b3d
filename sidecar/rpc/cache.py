"""`sidecar.v1.CacheService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.policy import Lookup, Outcome, Written
from sidecar.cache.request import WriteOptions
from sidecar.cache.values import NewValue
from sidecar.errors import SidecarError
from sidecar.gen.sidecar.v1 import cache_pb2 as pb
from sidecar.gen.sidecar.v1 import common_pb2
from sidecar.rpc.convert import OUTCOMES, WRITE_OUTCOMES, condition_of, duration_from_ms, set_ms, ttl_ms_of
from sidecar.rpc.status import to_failure

if TYPE_CHECKING:
    from sidecar.cache.catalog import Caches
    from sidecar.call import Call


class CacheServicer:
    """Serves the caches of values."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    async def get(self, request: pb.GetRequest, call: Call) -> pb.GetResponse:
        """Read one entry."""
        return lookup_to_response(await self._caches.values(request.cache).get(request.key, call))

    async def set(self, request: pb.SetRequest, call: Call) -> pb.SetResponse:
        """Write one entry."""
        options = WriteOptions(
            ttl_ms=ttl_ms_of(request),
            condition=condition_of(request),
            idempotency_key=request.idempotency_key,
        )
        cache = self._caches.values(request.cache)
        return written_to_response(await cache.set(request.key, request.value, options, call))

    async def delete(self, request: pb.DeleteRequest, call: Call) -> pb.DeleteResponse:
        """Remove one entry."""
        options = WriteOptions(condition=condition_of(request), idempotency_key=request.idempotency_key)
        written = await self._caches.values(request.cache).delete(request.key, options, call)
        return pb.DeleteResponse(outcome=WRITE_OUTCOMES[written.outcome])

    async def get_many(self, request: pb.GetManyRequest, call: Call) -> pb.GetManyResponse:
        """Read several entries."""
        found = await self._caches.values(request.cache).get_many(request.keys, call)
        return pb.GetManyResponse(
            results=[
                pb.GetManyResult(key=key, failure=to_failure(result))
                if isinstance(result, SidecarError)
                else pb.GetManyResult(key=key, entry=lookup_to_response(result))
                for key, result in zip(request.keys, found, strict=True)
            ]
        )

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
                ),
                own_ttl=entry.HasField("ttl"),
            )
            for number, entry in enumerate(request.entries)
        ]
        done = await self._caches.values(request.cache).set_many(values, call)
        return pb.SetManyResponse(
            results=[
                pb.SetManyResult(key=value.key, failure=to_failure(result))
                if isinstance(result, SidecarError)
                else pb.SetManyResult(key=value.key, written=written_to_response(result))
                for value, result in zip(values, done, strict=True)
            ]
        )

    async def delete_many(self, request: pb.DeleteManyRequest, call: Call) -> pb.DeleteManyResponse:
        """Remove several entries."""
        options = WriteOptions(idempotency_key=request.idempotency_key)
        done = await self._caches.values(request.cache).delete_many(request.keys, options, call)
        return pb.DeleteManyResponse(
            results=[
                pb.DeleteManyResult(key=key, failure=to_failure(result))
                if isinstance(result, SidecarError)
                else pb.DeleteManyResult(key=key, deleted=pb.DeleteResponse(outcome=WRITE_OUTCOMES[result.outcome]))
                for key, result in zip(request.keys, done, strict=True)
            ]
        )

    async def touch(self, request: pb.TouchRequest, call: Call) -> pb.TouchResponse:
        """Give an entry a new TTL."""
        options = WriteOptions(ttl_ms=ttl_ms_of(request), idempotency_key=request.idempotency_key)
        written = await self._caches.values(request.cache).touch(request.key, options, call)
        response = pb.TouchResponse(outcome=WRITE_OUTCOMES[written.outcome], version=written.version)
        if written.ttl_ms is not None:
            response.ttl.CopyFrom(duration_from_ms(written.ttl_ms))
        return response

    async def increment(self, request: pb.IncrementRequest, call: Call) -> pb.IncrementResponse:
        """Add to a counter."""
        options = WriteOptions(ttl_ms=ttl_ms_of(request), idempotency_key=request.idempotency_key)
        delta = request.delta if request.HasField("delta") else 1
        cache = self._caches.values(request.cache)
        counted = await cache.increment(request.key, delta, request.initial, options, call)
        response = pb.IncrementResponse(value=counted.value, version=counted.version)
        if counted.ttl_ms is not None:
            response.ttl.CopyFrom(duration_from_ms(counted.ttl_ms))
        return response


def lookup_to_response(lookup: Lookup) -> pb.GetResponse:
    """Encode what a read found."""
    outcome, value, version, ttl_ms, age_ms = lookup
    if outcome is Outcome.MISS:
        return pb.GetResponse(outcome=common_pb2.OUTCOME_MISS)
    response = pb.GetResponse(outcome=OUTCOMES[outcome], value=value, version=version, source=common_pb2.SOURCE_STORE)
    # Filled in place: a Duration made and then copied costs twice as much, and this is the most frequent answer.
    if ttl_ms is not None:
        set_ms(response.ttl, ttl_ms)
    if age_ms is not None:
        set_ms(response.age, age_ms)
    return response


def written_to_response(written: Written) -> pb.SetResponse:
    """Encode what a write did."""
    return pb.SetResponse(
        outcome=WRITE_OUTCOMES[written.outcome],
        version=written.version,
        ttl=None if written.ttl_ms is None else duration_from_ms(written.ttl_ms),
    )
