"""`sidecar.v1.WriteBehindService`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sidecar.cache.request import check_batch
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.gen.sidecar.v1 import write_behind_pb2 as pb
from sidecar.rpc.convert import set_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.catalog import Caches
    from sidecar.cache.policy import Limits
    from sidecar.cache.write_behind.caches import BehindCache, WriteBehind
    from sidecar.cache.write_behind.dead_letters import DeadLetter
    from sidecar.call import Call

SERVICE = pb.DESCRIPTOR.services_by_name["WriteBehindService"]

_PAGE, _MOST_PAGE = 20, 100


class WriteBehindServicer:
    """Serves what operators want to know and do."""

    def __init__(self, behind: WriteBehind, caches: Caches, limits: Limits) -> None:
        self._behind = behind
        self._caches = caches
        self._limits = limits

    async def get_write_behind_status(
        self, request: pb.GetWriteBehindStatusRequest, call: Call
    ) -> pb.GetWriteBehindStatusResponse:
        """Say how a cache stands."""
        status = await self._cache(request.cache).status(call)
        response = pb.GetWriteBehindStatusResponse(pending=status.pending, dead_letters=status.dead)
        set_ms(response.lag, status.lag_ms)
        for owner, partitions in sorted(status.owners.items()):
            response.senders.add(id=owner, partitions=partitions, answering=owner == self._behind.owner)
        return response

    async def list_dead_letters(self, request: pb.ListDeadLettersRequest, call: Call) -> pb.ListDeadLettersResponse:
        """List a page."""
        letters = self._cache(request.cache).dead_letters
        size = request.page_size or _PAGE
        check_batch(size, _MOST_PAGE, "page_size")
        page = await letters.page(request.page_token, size, self._limits.max_answer_bytes, call)
        response = pb.ListDeadLettersResponse(next_page_token=page.next)
        for letter in page.letters:
            _fill(response.dead_letters.add(), letter)
        return response

    async def replay_dead_letters(
        self, request: pb.ReplayDeadLettersRequest, call: Call
    ) -> pb.ReplayDeadLettersResponse:
        """Have dead letters sent again."""
        cache = self._cache(request.cache)
        done = await cache.dead_letters.replay(self._ids(request), call, forced=request.force)
        cache.flusher.hurry()
        return pb.ReplayDeadLettersResponse(
            replayed=done.replayed, superseded=done.newer_stored, waiting=done.newer_pending, unknown=done.unknown
        )

    async def discard_dead_letters(
        self, request: pb.DiscardDeadLettersRequest, call: Call
    ) -> pb.DiscardDeadLettersResponse:
        """Forget dead letters."""
        letters = self._cache(request.cache).dead_letters
        return pb.DiscardDeadLettersResponse(discarded=await letters.discard(self._ids(request), call))

    async def flush(self, request: pb.FlushRequest, call: Call) -> pb.FlushResponse:
        """Wait until the origin has what is pending."""
        return pb.FlushResponse(pending=await self._cache(request.cache).flush(call))

    def _cache(self, name: str) -> BehindCache:
        cache = self._behind.caches.get(name)
        if cache is None:
            self._caches.values(name)
            raise SidecarError(Reason.UNSUPPORTED_BY_CACHE, f"cache {name!r} is not write-behind", field="cache")
        return cache

    def _ids(self, request: _Naming) -> Sequence[str]:
        """Return the ids that are named, none for all; raises OPERATION_EMPTY, BATCH_SIZE."""
        if bool(request.ids) == request.all:
            raise InvalidArgumentError(
                Reason.OPERATION_EMPTY, "name dead letters by their ids, or all of them", field="ids"
            )
        if request.ids:
            check_batch(len(request.ids), self._limits.max_batch_keys, "ids")
        return list(request.ids)


class _Naming(Protocol):
    """A request that names dead letters."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def all(self) -> bool: ...


def _fill(message: pb.DeadLetter, letter: DeadLetter) -> None:
    message.id = letter.id
    message.key = letter.key
    if letter.value is not None:
        message.value = letter.value
    elif letter.key:
        message.removed = True
    message.token = letter.token
    message.reason = letter.reason
    message.attempts = letter.attempts
    message.write_time.FromMilliseconds(letter.written_ms)
    message.dead_time.FromMilliseconds(letter.died_ms)
