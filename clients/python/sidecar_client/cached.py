"""`@cached`: a function whose results are kept in a cache, loaded once for all who ask for them at a time.

    @cached(lambda: sidecar.cache("balances"), ttl=30)
    async def balance(account: int) -> Balance | None: ...

A call asks `get_or_load`, and that asks the function, in one of all programs. What may go wrong is sorted by whose it
is. What the function raises is its caller's. So is a mistake: a cache that is not configured, or a value that is too
large. If they were passed over, nobody would notice that nothing is cached. That the sidecar cannot be asked is
neither: the function is called as if there were no cache (`on_failure="call"`). That another's load takes longer than
`wait` is no failure of the cache: were the function called then, a slow origin would get all the calls at once.

An entry that cannot be decoded was written by another version of the program. It is deleted as of its version, so that
nobody's newer one goes with it, and asked for again, so that one of all loads it anew. If there is such an entry once
more, another version fills the same key right now, and the function is called without the cache. Rejected: to take the
type's layout into the key, which would leave nobody able to say what an entry's key is.

`_Attempt` decides, for asyncio and threads alike; the two wrappers do.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, overload

import grpc

from sidecar_client.argument_keys import ArgumentKeys, bounded
from sidecar_client.blocking_cache import BlockingCache
from sidecar_client.cache import Cache
from sidecar_client.conditions import if_version
from sidecar_client.errors import InvalidRequestError, NotConfiguredError, PreconditionError, SidecarError
from sidecar_client.loading import LOAD_PENDING
from sidecar_client.serializers import by_annotation, check_annotated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from sidecar_client.durations import Span
    from sidecar_client.results import Lookup
    from sidecar_client.serializers import Serializer

P = ParamSpec("P")
RestP = ParamSpec("RestP")
ResultT = TypeVar("ResultT")

_log = logging.getLogger("sidecar_client.cached")

# An entry that cannot be decoded is asked for once more; see above.
_ATTEMPTS = 2


class _Undecodable(Enum):
    """In place of a value."""

    ENTRY = "entry"


class _Options:
    """What `cached` was given, and what follows from it; shared by a method's wrapper and those bound to objects."""

    def __init__(
        self,
        function: Callable[..., Any],
        cache: Any,
        *,
        ttl: Span | None,
        key: Callable[..., str] | None,
        name: str | None,
        ignore: Iterable[str],
        serializer: Serializer[Any] | None,
        wait: Span,
        stale_if_error: bool,
        on_failure: Literal["call", "raise"],
        timeout: Span | None,
    ) -> None:
        if on_failure not in {"call", "raise"}:
            raise ValueError("on_failure is 'call' or 'raise'")
        if serializer is None:
            check_annotated(function)
        self.function = function
        self.name = name or f"{function.__module__}.{function.__qualname__}"
        self._keys = ArgumentKeys(function, name=self.name, ignore=ignore)
        self._key = key
        self._cache = cache
        self._serializer = serializer
        self._raises = on_failure == "raise"
        self._failing = False
        self.asking: dict[str, Any] = {"ttl": ttl, "wait": wait, "stale_if_error": stale_if_error, "timeout": timeout}
        self.timeout = timeout

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the entry's key."""
        if self._key is None:
            return self._keys.key(*args, **kwargs)
        key = self._key(*args, **kwargs)
        if not isinstance(key, str) or not key:
            raise TypeError(f"the key of {self.name} must be a text that is not empty")
        return bounded(key)

    def serializer(self) -> Serializer[Any]:
        """Return the serializer; raises TypeError if the function's annotation makes none."""
        if self._serializer is None:
            self._serializer = by_annotation(self.function)
        return self._serializer

    def cache(self, kind: type[Any]) -> Any:
        """Return the cache, or what the function that was given for it returns now."""
        cache = self._cache if isinstance(self._cache, (Cache, BlockingCache)) else self._cache()
        if not isinstance(cache, kind):
            raise TypeError(f"{self.name} needs a {kind.__name__}, not a {type(cache).__name__}")
        return cache

    def passes_over(self, error: SidecarError) -> bool:
        """Say whether the function is called in the cache's place; tells the log when that begins."""
        if self._raises or error.reason == LOAD_PENDING:
            return False
        if isinstance(error, (InvalidRequestError, NotConfiguredError, PreconditionError)):
            return False
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            return False
        if not self._failing:
            self._failing = True
            _log.warning("the cache of %s cannot be asked, and it is called each time: %s", self.name, error)
        return True

    def answered(self) -> None:
        """Tell the log when the cache is asked again."""
        if self._failing:
            self._failing = False
            _log.info("the cache of %s is asked again", self.name)


class _Attempt:
    """One question to the cache: whether the function was called for it, and what came of that."""

    def __init__(self, options: _Options) -> None:
        self._options = options
        self.serializer = options.serializer()
        self.called = False
        self._returned = False
        self._value: Any = None
        self._error: Exception | None = None

    def returns(self, value: Any) -> bytes | None:
        """Take what the function returned; return what the entry is to hold."""
        octets = None if value is None else self.serializer.encode(value)
        self._returned, self._value = True, value
        return octets

    def raises(self, error: Exception) -> None:
        """Take what the function raised, in whose place there may be a stale entry."""
        self._error = error

    def value_of(self, found: Lookup) -> Any:
        """Return the value, or `_Undecodable.ENTRY`; raises what the function raised if that is all there is."""
        self._options.answered()
        if self._returned:
            return self._value
        octets = found.value
        if octets is None:
            return None
        try:
            return self.serializer.decode(octets)
        except Exception:  # noqa: BLE001 (a serializer of anybody's; whatever it raises means the same)
            if self._error is not None:
                raise self._error from None
            return _Undecodable.ENTRY


class _Cached(Generic[P, ResultT]):
    """What both wrappers have: keys, and being bound as methods are."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __init__(self, options: _Options, before: tuple[Any, ...] = ()) -> None:
        wrapper: Any = self  # it becomes callable in the classes below
        functools.update_wrapper(wrapper, options.function)
        self._options = options
        self._before = before

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of the entry for these arguments."""
        return self._options.key((*self._before, *args), kwargs)

    def _bound_to(self, instance: object) -> Self:
        return self if instance is None else type(self)(self._options, (*self._before, instance))


class CachedFunction(_Cached[P, ResultT]):
    """An asyncio function whose results are cached. Made by `cached`."""

    def __init__(self, options: _Options, before: tuple[Any, ...] = ()) -> None:
        super().__init__(options, before)
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, RestP], ResultT], instance: object, owner: type[Any] | None = None
    ) -> CachedFunction[RestP, ResultT]: ...

    def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
        """Return a method's wrapper bound to its object, as functions are."""
        return self._bound_to(instance)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """Return the cached result, or the function's own; raises what that does, and SidecarError (see `cached`)."""
        options = self._options
        arguments = (*self._before, *args)
        key = options.key(arguments, kwargs)
        for _ in range(_ATTEMPTS):
            attempt = _Attempt(options)
            cache: Cache = options.cache(Cache)

            async def load(attempt: _Attempt = attempt) -> bytes | None:
                attempt.called = True
                try:
                    value = await options.function(*arguments, **kwargs)
                except Exception as error:
                    attempt.raises(error)
                    raise
                return attempt.returns(value)

            try:
                found = await cache.get_or_load(key, load, **options.asking)
                value = attempt.value_of(found)
                if value is not _Undecodable.ENTRY:
                    result: ResultT = value
                    return result
                await cache.delete(key, condition=if_version(found.version), timeout=options.timeout)
            except SidecarError as error:
                if attempt.called or not options.passes_over(error):
                    raise
                break
        uncached: ResultT = await options.function(*arguments, **kwargs)
        return uncached

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Remove the entry for these arguments, and void what is being loaded for it; raises SidecarError."""
        cache: Cache = self._options.cache(Cache)
        await cache.delete(self.key_for(*args, **kwargs), timeout=self._options.timeout)


class BlockingCachedFunction(_Cached[P, ResultT]):
    """A function, for any number of threads, whose results are cached. Made by `cached`."""

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(
        self: BlockingCachedFunction[Concatenate[Any, RestP], ResultT], instance: object, owner: type[Any] | None = None
    ) -> BlockingCachedFunction[RestP, ResultT]: ...

    def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
        """Return a method's wrapper bound to its object, as functions are."""
        return self._bound_to(instance)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """Return the cached result, or the function's own; raises what that does, and SidecarError (see `cached`)."""
        options = self._options
        arguments = (*self._before, *args)
        key = options.key(arguments, kwargs)
        for _ in range(_ATTEMPTS):
            attempt = _Attempt(options)
            cache: BlockingCache = options.cache(BlockingCache)

            def load(attempt: _Attempt = attempt) -> bytes | None:
                attempt.called = True
                try:
                    value = options.function(*arguments, **kwargs)
                except Exception as error:
                    attempt.raises(error)
                    raise
                return attempt.returns(value)

            try:
                found = cache.get_or_load(key, load, **options.asking)
                value = attempt.value_of(found)
                if value is not _Undecodable.ENTRY:
                    result: ResultT = value
                    return result
                cache.delete(key, condition=if_version(found.version), timeout=options.timeout)
            except SidecarError as error:
                if attempt.called or not options.passes_over(error):
                    raise
                break
        uncached: ResultT = options.function(*arguments, **kwargs)
        return uncached

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Remove the entry for these arguments, and void what is being loaded for it; raises SidecarError."""
        cache: BlockingCache = self._options.cache(BlockingCache)
        cache.delete(self.key_for(*args, **kwargs), timeout=self._options.timeout)


class Caching:
    """`cached(...)`, before it has its function."""

    def __init__(self, cache: Any, asked: dict[str, Any]) -> None:
        self._cache = cache
        self._asked = asked

    # A coroutine is a result too, to a type checker; the first that fits is taken, and it is the one that holds.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, ResultT]]
    ) -> CachedFunction[P, ResultT]: ...

    @overload
    def __call__(self, function: Callable[P, ResultT]) -> BlockingCachedFunction[P, ResultT]: ...

    def __call__(self, function: Callable[P, Any]) -> CachedFunction[P, Any] | BlockingCachedFunction[P, Any]:
        """Return the function with its cache; raises TypeError if they do not go together."""
        waits = inspect.iscoroutinefunction(function)
        wanted = Cache if waits else BlockingCache
        if isinstance(self._cache, (Cache, BlockingCache)) and not isinstance(self._cache, wanted):
            raise TypeError(f"{function.__qualname__} needs a {wanted.__name__}, not a {type(self._cache).__name__}")
        options: _Options = _Options(function, self._cache, **self._asked)
        return CachedFunction(options) if waits else BlockingCachedFunction(options)


def cached(
    cache: Cache | BlockingCache | Callable[[], Cache] | Callable[[], BlockingCache],
    *,
    ttl: Span | None = None,
    key: Callable[..., str] | None = None,
    name: str | None = None,
    ignore: Iterable[str] = (),
    serializer: Serializer[Any] | None = None,
    wait: Span = 5.0,
    stale_if_error: bool = False,
    on_failure: Literal["call", "raise"] = "call",
    timeout: Span | None = None,
) -> Caching:
    """Keep a function's results in a cache: an asyncio function's in a `Cache`, another's in a `BlockingCache`.

    `cache` may be a function that returns it, asked at each call, where the client is opened later. Keys are made of
    `name` (the function's own, with its module) and the arguments, but for `self`, `cls` and those that `ignore`
    names; or `key` makes them of all arguments. What is longer than 512 bytes ends with a digest. None is remembered as
    absent, for the cache's `negative_ttl`. `serializer` is JSON of the function's return annotation, for which there
    must be msgspec.

    `ttl`, `wait`, `stale_if_error` and `timeout` are those of `Cache.get_or_load`. When the sidecar cannot be asked,
    the function is called without it, or SidecarError is raised with `on_failure="raise"`; a mistake raises either way,
    and so does a load by another that takes longer than `wait` (LOAD_PENDING).
    """
    asked = {
        "ttl": ttl,
        "key": key,
        "name": name,
        "ignore": ignore,
        "serializer": serializer,
        "wait": wait,
        "stale_if_error": stale_if_error,
        "on_failure": on_failure,
        "timeout": timeout,
    }
    return Caching(cache, asked)
