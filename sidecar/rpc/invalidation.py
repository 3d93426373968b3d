"""`sidecar.v1.InvalidationService`."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from sidecar.cache.mailbox import NewsKind
from sidecar.gen.sidecar.v1 import invalidation_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sidecar.cache.mailbox import News
    from sidecar.cache.watches import Watches
    from sidecar.call import Call


class InvalidationServicer:
    """Tells applications what changes in caches."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches

    async def watch_invalidations(
        self,
        requests: AsyncIterator[pb.WatchInvalidationsRequest],
        call: Call,  # noqa: ARG002 (a watch has no deadline of its own)
    ) -> AsyncGenerator[pb.WatchInvalidationsResponse, None]:
        """Tell, until the caller leaves or the sidecar stops."""
        async for request in requests:
            async with aclosing(self._watches.watch(request.cache, tuple(request.prefixes))) as told:
                async for news in told:
                    for one in news:
                        yield _response(one)


def _response(news: News) -> pb.WatchInvalidationsResponse:
    response = pb.WatchInvalidationsResponse()
    if news.kind is NewsKind.KEYS:
        response.keys.keys.extend(news.keys)
    elif news.kind is NewsKind.PREFIX:
        response.prefix = news.prefix
    else:
        setattr(response, _FLAGS[news.kind], True)
    if news.as_of_us:
        response.as_of.FromMicroseconds(news.as_of_us)
    return response


_FLAGS = {
    NewsKind.READY: "ready",
    NewsKind.ALL: "all",
    NewsKind.RESET: "reset",
    NewsKind.BEAT: "heartbeat",
}
