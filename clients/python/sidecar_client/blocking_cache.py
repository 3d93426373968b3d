"""A named cache for programs of threads: reading an entry or loading it, and removing it.

What is asked, and what an answer means, is decided in `loading.py` for this client and the asyncio one alike.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import grpc

from sidecar_client.conditions import to_condition
from sidecar_client.durations import to_seconds
from sidecar_client.errors import SidecarError, from_rpc_error
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.loading import ending, filling, found_in, is_at_fault, not_stored, question, stored
from sidecar_client.results import Deleted, Lookup, Outcome, WriteOutcome, lookup_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar_client.conditions import Condition
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class BlockingCache:
    """A named cache, for any number of threads. Made by `BlockingSidecar.cache`."""

    def __init__(self, name: str, stub: CacheServiceStub, timeout_s: float) -> None:
        self.name = name
        self._stub = stub
        self._timeout_s = timeout_s

    def get_or_load(
        self,
        key: str,
        load: Callable[[], bytes | str | None],
        *,
        ttl: Span | None = None,
        wait: Span = 5.0,
        stale_if_error: bool = False,
        timeout: Span | None = None,
    ) -> Lookup:
        """Read one entry, or have one of all who ask for it load it: `Cache.get_or_load` in a thread."""
        ends_at = time.monotonic() + to_seconds(wait)
        while True:
            answer = self._call(self._stub.GetOrLoad, question(self.name, key, ends_at), timeout)
            if answer.outcome == pb.LOAD_OUTCOME_LEASE:
                return self._load(key, load, answer, ttl=ttl, stale_if_error=stale_if_error, timeout=timeout)
            found = found_in(answer, ends_at)
            if found is not None:
                return found

    def delete(self, key: str, *, condition: Condition | None = None, timeout: Span | None = None) -> Deleted:
        """Remove one entry, if its condition holds; raises SidecarError."""
        request = pb.DeleteRequest(cache=self.name, key=key, condition=to_condition(condition))
        answer = self._call(self._stub.Delete, request, timeout)
        return Deleted(outcome=WriteOutcome(answer.outcome), token=answer.token)

    def _load(
        self,
        key: str,
        load: Callable[[], bytes | str | None],
        answer: pb.GetOrLoadResponse,
        *,
        ttl: Span | None,
        stale_if_error: bool,
        timeout: Span | None,
    ) -> Lookup:
        try:
            value = load()
        except BaseException as error:
            self._end(ending(self.name, key, answer.token, failed=True), timeout)
            if stale_if_error and isinstance(error, Exception) and answer.HasField("entry"):
                return lookup_of(answer.entry)
            raise
        if value is None:
            self._end(ending(self.name, key, answer.token, absent=True), timeout)
            return Lookup(outcome=Outcome.MISS)
        request = filling(self.name, key, answer.token, value, ttl=ttl)
        try:
            filled = self._call(self._stub.Fill, request, timeout)
        except SidecarError as error:
            if is_at_fault(error):
                self._end(ending(self.name, key, answer.token, failed=True), timeout)
                raise
            return not_stored(request)
        return stored(request, filled)

    def _end(self, request: pb.FillRequest, timeout: Span | None) -> None:
        # If this does not get through, the lease ends by itself.
        with suppress(SidecarError):
            self._call(self._stub.Fill, request, timeout)

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT, timeout: Span | None
    ) -> ResponseT:
        seconds = self._timeout_s if timeout is None else to_seconds(timeout)
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
