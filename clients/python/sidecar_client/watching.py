"""`InvalidationService`: what changes in a cache, and copies that are kept until something is told of them."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from sidecar_client.errors import UnavailableError, from_rpc_error
from sidecar_client.gen.sidecar.v1 import invalidation_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sidecar_client.gen.sidecar.v1.invalidation_pb2_grpc import InvalidationServiceAsyncStub

ValueT = TypeVar("ValueT")

# As those of the sidecar's own attempts to reach a store.
_BASE_S, _CAP_S = 0.01, 1.0
_MOST_DOUBLINGS = 10


class ChangeKind(Enum):
    """What a watcher is told."""

    READY = "ready"
    """From here on every change is told."""
    KEYS = "keys"
    PREFIX = "prefix"
    ALL = "all"
    """The whole cache is out of date."""
    RESET = "reset"
    """Changes may have been missed: keep nothing until the next READY."""
    HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that a watcher is told."""

    kind: ChangeKind
    keys: frozenset[str] = frozenset()
    prefix: str = ""
    as_of: datetime | None = None
    """Of READY and a heartbeat: the store's time up to which everything has been told."""

    def concerns(self, key: str) -> bool:
        """Say whether what is kept of a key is to be dropped."""
        if self.kind is ChangeKind.PREFIX:
            return key.startswith(self.prefix)
        return key in self.keys or self.kind in {ChangeKind.ALL, ChangeKind.RESET}


async def watch(
    stub: InvalidationServiceAsyncStub, cache: str, prefixes: Sequence[str]
) -> AsyncGenerator[Change, None]:
    """Tell what changes, for as long as the caller listens; see `SidecarClient.watch`."""
    request = pb.WatchInvalidationsRequest(cache=cache, prefixes=prefixes)
    attempt = 0
    while True:
        call = stub.WatchInvalidations(request)
        told_something = False
        try:
            async for told in call:
                told_something = True
                attempt = 0
                yield _change(told)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if not isinstance(failure, UnavailableError):
                raise failure from error
        finally:
            call.cancel()
        if told_something:
            yield Change(kind=ChangeKind.RESET)
        most_s = min(_CAP_S, _BASE_S * 2 ** min(attempt, _MOST_DOUBLINGS))
        await asyncio.sleep(random.uniform(0, most_s))  # noqa: S311 (spreads watchers, guards nothing)
        attempt += 1


def _change(told: pb.WatchInvalidationsResponse) -> Change:
    # What a newer sidecar may tell, and this client does not know, is best taken for the worst.
    what = told.WhichOneof("what")
    return Change(
        kind=ChangeKind.RESET if what is None else ChangeKind(what),
        keys=frozenset(told.keys.keys),
        prefix=told.prefix,
        as_of=told.as_of.ToDatetime(UTC) if told.HasField("as_of") else None,
    )


class Fetch:
    """A key that is being fetched; what changes meanwhile makes the answer unfit to be kept."""

    __slots__ = ()


class Copies(Generic[ValueT]):
    """Copies of a cache's entries in an application's own memory, at most `most`; those kept longest go first.

    Pure: it is told what a watch tells (`hear`), and asked what it has (`get`). Who has to fetch says so before
    (`begin`), and brings what came with it (`keep`): a change that was told meanwhile would otherwise be overtaken by
    an answer that is older than it.

        async for change in sidecar.watch("balances"):  # in a task of its own
            copies.hear(change)

        if (balance := copies.get(key)) is None:
            fetch = copies.begin(key)
            balance = copies.keep(key, (await balances.get(key)).value or b"", fetch)
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._kept: OrderedDict[str, ValueT] = OrderedDict()
        self._fetches: dict[str, set[Fetch]] = {}
        self._is_ready = False

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> ValueT | None:
        """Return what is kept of a key."""
        return self._kept.get(key)

    def begin(self, key: str) -> Fetch:
        """Say that a key is fetched from now on."""
        fetch = Fetch()
        if self._is_ready:
            self._fetches.setdefault(key, set()).add(fetch)
        return fetch

    def keep(self, key: str, value: ValueT, fetch: Fetch) -> ValueT:
        """Keep what was fetched, if nothing was told of the key meanwhile; return it in any case."""
        if self.give_up(key, fetch):
            self._kept[key] = value
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value

    def give_up(self, key: str, fetch: Fetch) -> bool:
        """End a fetch that brought nothing; return whether what it might have brought could have been kept."""
        fetches = self._fetches.get(key, set())
        is_valid = fetch in fetches
        fetches.discard(fetch)
        if not fetches:
            self._fetches.pop(key, None)
        return is_valid

    def hear(self, change: Change) -> None:
        """Drop what a change concerns."""
        if change.kind is ChangeKind.READY:
            self._is_ready = True
        elif change.kind is ChangeKind.RESET:
            self._is_ready = False
        if change.kind is ChangeKind.KEYS:
            concerned: list[str] = list(change.keys)
        else:
            concerned = [key for key in {*self._kept, *self._fetches} if change.concerns(key)]
        for key in concerned:
            self._kept.pop(key, None)
            self._fetches.pop(key, None)
