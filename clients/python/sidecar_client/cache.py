"""`CacheService` for one named cache."""

# ruff: noqa: ASYNC109 - a timeout here becomes the call's deadline, which the sidecar sees and keeps too

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sidecar_client.conditions import to_condition
from sidecar_client.durations import optional_timedelta, to_duration, to_timedelta
from sidecar_client.errors import BatchError, SidecarError, from_failure
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.loading import Loading
from sidecar_client.loading_many import LoadingMany
from sidecar_client.results import Counted, Deleted, Invalidated, Lookup, WriteOutcome, Written, lookup_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from sidecar_client.caller import Caller
    from sidecar_client.conditions import Condition
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceAsyncStub

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Item:
    """One value for `set_many` with a TTL, a condition or tags of its own."""

    value: bytes | str
    ttl: Span | None = None
    condition: Condition | None = None
    tags: Sequence[str] = ()


class Cache:
    """A named cache. Made by `SidecarClient.cache`; it costs nothing and may be kept.

    A text value travels as UTF-8 and is read back as bytes (or as `Lookup.text`). A TTL is a timedelta or a number of
    seconds, the cache's own when it is left out. Every method takes a `timeout` and raises SidecarError; those that
    read, and those that write with an idempotency key, are repeated when the failure passes by itself.
    """

    def __init__(self, name: str, stub: CacheServiceAsyncStub, caller: Caller) -> None:
        self.name = name
        self._stub = stub
        self._caller = caller

    async def get(
        self, key: str, *, max_staleness: Span | None = None, after: str = "", timeout: Span | None = None
    ) -> Lookup:
        """Read one entry.

        In a cache with a near cache (`l1`) the answer may be a copy. It is no further behind the store than
        `max_staleness`, the cache's own bound when it is left out and at the most, and no older than the write whose
        `token` is `after`, whatever sidecar has made it. `max_staleness=0` asks the store.
        """
        request = pb.GetRequest(cache=self.name, key=key)
        _ask_fresh(request, max_staleness, after)
        answer = await self._caller.call(self._stub.Get, request, repeatable=True, timeout=timeout)
        return lookup_of(answer)

    async def get_or_load(
        self,
        key: str,
        load: Callable[[], Awaitable[bytes | str | None]],
        *,
        ttl: Span | None = None,
        wait: Span = 5.0,
        stale_if_error: bool = False,
        tags: Sequence[str] | Callable[[bytes | str | None], Sequence[str]] = (),
        timeout: Span | None = None,
    ) -> Lookup:
        """Read one entry; where there is none, have one of all who ask for it load it, and return what that brought.

        `load` is awaited by the one caller, of all programs beside all sidecars, who is to ask the origin. It returns
        the value, or None if the origin has none: a miss then, which the cache remembers for its `negative_ttl`. What
        it raises is raised here, and another caller may try; with `stale_if_error` a stale entry is returned instead,
        if there is one. The others wait for at most `wait`, and then get DeadlineExceededError (LOAD_PENDING). A stale
        entry that another loads anew is returned at once.

        `tags` are those of what is loaded, or say them of what `load` has returned; a cache that has none refuses them.

        A value that was written, deleted or invalidated while it was loaded is returned to the one who loaded it, and
        not stored. `timeout` is that of each call to the sidecar. Raises SidecarError.
        """
        loading = Loading(self._stub, self._caller, self.name, key, timeout)
        return await loading.get(load, ttl=ttl, wait=wait, stale_if_error=stale_if_error, tags=tags)

    async def get_or_load_many(
        self,
        keys: Iterable[str],
        load_many: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes | str | None]]],
        *,
        ttl: Span | None = None,
        wait: Span = 5.0,
        stale_if_error: bool = False,
        timeout: Span | None = None,
    ) -> dict[str, Lookup]:
        """Read several entries as `get_or_load` does each; those that this caller is to load are loaded together.

        `load_many` is awaited with the keys to load, and returns their values; a key that it leaves out, or has None
        for, the origin does not have. Entries that others load meanwhile are asked for again after that. What
        `load_many` raises is raised here, and others may load; with `stale_if_error` stale entries are returned
        instead, if there is one for each that was to be loaded. Raises BatchError when some entries could not be read,
        or were not loaded by others within `wait` (LOAD_PENDING), and SidecarError.
        """
        loading = LoadingMany(self._stub, self._caller, self.name, timeout)
        return _batch(await loading.get(list(keys), load_many, ttl=ttl, wait=wait, stale_if_error=stale_if_error))

    async def set(
        self,
        key: str,
        value: bytes | str,
        *,
        ttl: Span | None = None,
        condition: Condition | None = None,
        tags: Sequence[str] = (),
        idempotency_key: str | None = None,
        timeout: Span | None = None,
    ) -> Written:
        """Write one entry, if its condition holds; `tags` are words by which `invalidate` finds it."""
        request = pb.SetRequest(
            cache=self.name,
            key=key,
            value=_octets(value),
            ttl=to_duration(ttl),
            condition=to_condition(condition),
            idempotency_key=idempotency_key or "",
            tags=tags,
        )
        answer = await self._caller.call(
            self._stub.Set, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return _written(answer)

    async def delete(
        self,
        key: str,
        *,
        condition: Condition | None = None,
        idempotency_key: str | None = None,
        timeout: Span | None = None,
    ) -> Deleted:
        """Remove one entry, if its condition holds."""
        request = pb.DeleteRequest(
            cache=self.name, key=key, condition=to_condition(condition), idempotency_key=idempotency_key or ""
        )
        answer = await self._caller.call(
            self._stub.Delete, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return _deleted(answer)

    async def touch(
        self, key: str, *, ttl: Span | None = None, idempotency_key: str | None = None, timeout: Span | None = None
    ) -> Written:
        """Give an entry a new TTL, counted from now. Value and version stay."""
        request = pb.TouchRequest(cache=self.name, key=key, ttl=to_duration(ttl), idempotency_key=idempotency_key or "")
        answer = await self._caller.call(
            self._stub.Touch, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return _written(answer)

    async def increment(
        self,
        key: str,
        delta: int = 1,
        *,
        initial: int = 0,
        ttl: Span | None = None,
        idempotency_key: str | None = None,
        timeout: Span | None = None,
    ) -> Counted:
        """Add to a counter; one that is not there begins at `initial` and gets the TTL."""
        request = pb.IncrementRequest(
            cache=self.name,
            key=key,
            delta=delta,
            initial=initial,
            ttl=to_duration(ttl),
            idempotency_key=idempotency_key or "",
        )
        answer = await self._caller.call(
            self._stub.Increment, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        ttl = optional_timedelta(answer, "ttl")
        return Counted(value=answer.value, version=answer.version, ttl=ttl, token=answer.token)

    async def get_many(
        self,
        keys: Iterable[str],
        *,
        max_staleness: Span | None = None,
        after: str = "",
        timeout: Span | None = None,
    ) -> dict[str, Lookup]:
        """Read several entries, as new as `get`; not a snapshot. Raises BatchError when some could not be read."""
        request = pb.GetManyRequest(cache=self.name, keys=list(keys))
        _ask_fresh(request, max_staleness, after)
        answer = await self._caller.call(self._stub.GetMany, request, repeatable=True, timeout=timeout)
        return _batch(
            {
                one.key: from_failure(one.failure) if one.WhichOneof("result") == "failure" else lookup_of(one.entry)
                for one in answer.results
            }
        )

    async def set_many(
        self,
        entries: Mapping[str, bytes | str | Item],
        *,
        ttl: Span | None = None,
        idempotency_key: str | None = None,
        timeout: Span | None = None,
    ) -> dict[str, Written]:
        """Write several entries; each is atomic, the batch is not. Raises BatchError when some were not written.

        `ttl` holds for the entries that are not an `Item` with its own.
        """
        request = pb.SetManyRequest(
            cache=self.name,
            entries=[_entry(key, value) for key, value in entries.items()],
            ttl=to_duration(ttl),
            idempotency_key=idempotency_key or "",
        )
        answer = await self._caller.call(
            self._stub.SetMany, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return _batch(
            {
                one.key: from_failure(one.failure) if one.WhichOneof("result") == "failure" else _written(one.written)
                for one in answer.results
            }
        )

    async def delete_many(
        self, keys: Iterable[str], *, idempotency_key: str | None = None, timeout: Span | None = None
    ) -> dict[str, Deleted]:
        """Remove several entries. Raises BatchError when some could not be removed."""
        request = pb.DeleteManyRequest(cache=self.name, keys=list(keys), idempotency_key=idempotency_key or "")
        answer = await self._caller.call(
            self._stub.DeleteMany, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return _batch(
            {
                one.key: from_failure(one.failure) if one.WhichOneof("result") == "failure" else _deleted(one.deleted)
                for one in answer.results
            }
        )

    async def invalidate(
        self,
        *,
        keys: Iterable[str] = (),
        tags: Iterable[str] = (),
        prefix: str = "",
        everything: bool = False,
        timeout: Span | None = None,
    ) -> Invalidated:
        """Put entries out of date: by one of keys, tags, a prefix that ends with a colon, or all of the cache.

        Once this returns, no sidecar serves what was there before or fills in what was loaded before. It is repeated
        when a failure passes by itself. Raises ValueError unless exactly one is named, SidecarError, and BatchError
        when some of the keys' entries could not be removed.
        """
        request = pb.InvalidateRequest(cache=self.name)
        named = list(keys)
        if named:
            request.keys.keys.extend(named)
        words = list(tags)
        if words:
            request.tags.tags.extend(words)
        if prefix:
            request.prefix = prefix
        if everything:
            request.all = True
        if sum(map(bool, (named, words, prefix, everything))) != 1:
            raise ValueError("name one of keys, tags, prefix and everything")
        answer = await self._caller.call(self._stub.Invalidate, request, repeatable=True, timeout=timeout)
        done = Invalidated(removed=answer.removed, generation=answer.generation, token=answer.token)
        failures = {one.key: from_failure(one.failure) for one in answer.failures}
        if failures:
            raise BatchError({key: done for key in named if key not in failures}, failures)
        return done


def _octets(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _entry(key: str, value: bytes | str | Item) -> pb.SetManyEntry:
    item = value if isinstance(value, Item) else Item(value)
    return pb.SetManyEntry(
        key=key,
        value=_octets(item.value),
        ttl=to_duration(item.ttl),
        condition=to_condition(item.condition),
        tags=item.tags,
    )


def _ask_fresh(request: pb.GetRequest | pb.GetManyRequest, max_staleness: Span | None, after: str) -> None:
    if after:
        request.token = after
    if max_staleness is not None:
        request.max_staleness.FromTimedelta(to_timedelta(max_staleness))


def _written(answer: pb.SetResponse | pb.TouchResponse) -> Written:
    outcome, ttl = WriteOutcome(answer.outcome), optional_timedelta(answer, "ttl")
    return Written(outcome=outcome, version=answer.version, ttl=ttl, token=answer.token)


def _deleted(answer: pb.DeleteResponse) -> Deleted:
    return Deleted(outcome=WriteOutcome(answer.outcome), token=answer.token)


def _batch(results: Mapping[str, ResultT | SidecarError]) -> dict[str, ResultT]:
    """Return the results if all are; otherwise raise what failed, with the rest."""
    failures = {key: result for key, result in results.items() if isinstance(result, SidecarError)}
    done = {key: result for key, result in results.items() if not isinstance(result, SidecarError)}
    if failures:
        raise BatchError(done, failures)
    return done
