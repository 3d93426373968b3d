"""The cashier's service, before there was a sidecar and after: each call asks the database, or the sidecar.

`python -m balances.service 127.0.0.1:7000` asks the database that BALANCES_DATABASE names; with `--sidecar ADDRESS` it
asks the cache, and has no connection to the database at all. All else is the same, so the two can be measured against
each other (docs/benchmarks.md).

The former is also what an application writes to be the origin of a cache itself: `sidecar.v1.OriginService`, of which a
cache that is only read needs Load and LoadMany.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg
import grpc
import uvloop
from sidecar_client import SidecarClient
from sidecar_client.gen.sidecar.v1 import origin_pb2, origin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sidecar_client import Lookup

    Look = Callable[[Sequence[str]], Awaitable[list[origin_pb2.OriginEntry]]]
    """Looks up the balances of accounts; as many as there are accounts, in their order."""

# The same as the cache's, in sidecar.yaml.
_BALANCES = """
    SELECT account.id AS key, json_build_object('cents', coalesce(sum(cents), 0), 'currency', currency)::text AS value
      FROM account LEFT JOIN posting ON account_id = account.id
     WHERE account.id = any($1) GROUP BY account.id
"""
_CONNECTIONS = 8
# What a caller waits at most: a balance that has to be loaded takes as long as the database does.
_LONGEST_SECONDS = 5.0


def in_database(database: asyncpg.Pool) -> Look:
    """Return what looks balances up in the database."""

    async def look(keys: Sequence[str]) -> list[origin_pb2.OriginEntry]:
        rows = await database.fetch(_BALANCES, list(keys))
        found = {row["key"]: row["value"].encode() for row in rows}
        return [origin_pb2.OriginEntry(present=key in found, value=found.get(key, b"")) for key in keys]

    return look


def in_cache(sidecar: SidecarClient) -> Look:
    """Return what asks the sidecar for balances, which has those from the database that it does not have yet."""
    cache = sidecar.cache("balances")

    async def look(keys: Sequence[str]) -> list[origin_pb2.OriginEntry]:
        if len(keys) == 1:
            return [_entry(await cache.get(keys[0]))]
        found = await cache.get_many(keys)
        return [_entry(found[key]) for key in keys]

    return look


def _entry(found: Lookup) -> origin_pb2.OriginEntry:
    return origin_pb2.OriginEntry(present=found.value is not None, value=found.value or b"")


class BalanceService(origin_pb2_grpc.OriginServiceServicer):
    """Balances, from wherever they are looked up."""

    def __init__(self, look: Look) -> None:
        self._look = look

    async def Load(  # noqa: N802 (the names are gRPC's)
        self, request: origin_pb2.LoadRequest, context: object
    ) -> origin_pb2.LoadResponse:
        """Return one account's balance."""
        del context
        return origin_pb2.LoadResponse(entry=(await self._look([request.key]))[0])

    async def LoadMany(  # noqa: N802 (as above)
        self, request: origin_pb2.LoadManyRequest, context: object
    ) -> origin_pb2.LoadManyResponse:
        """Return several accounts' balances."""
        del context
        return origin_pb2.LoadManyResponse(entries=await self._look(request.keys))

    async def Store(  # noqa: N802 (as above)
        self, request: origin_pb2.StoreRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> origin_pb2.StoreResponse:
        """Refuse: a balance is the sum of what is posted, and nobody sets it."""
        del request
        return await self._refuse(context)

    async def StoreMany(  # noqa: N802 (as above)
        self, request: origin_pb2.StoreManyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> origin_pb2.StoreManyResponse:
        """Refuse."""
        del request
        return await self._refuse(context)

    async def Remove(  # noqa: N802 (as above)
        self, request: origin_pb2.RemoveRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> origin_pb2.RemoveResponse:
        """Refuse."""
        del request
        return await self._refuse(context)

    async def _refuse(self, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "balances are only read")


async def serve(address: str, *, database_url: str = "", sidecar: str = "") -> None:
    """Serve until SIGTERM or SIGINT; balances come from the sidecar at that address if one is given."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        if sidecar:
            # The calls of one turn of the event loop go as one message: most of what a call costs is its client's.
            look = in_cache(
                await stack.enter_async_context(SidecarClient(sidecar, timeout=_LONGEST_SECONDS, auto_batch=True))
            )
        else:
            pool = asyncpg.create_pool(database_url, min_size=_CONNECTIONS, max_size=_CONNECTIONS)
            look = in_database(await stack.enter_async_context(pool))
        server = grpc.aio.server()
        origin_pb2_grpc.add_OriginServiceServicer_to_server(BalanceService(look), server)
        server.add_insecure_port(address)
        await server.start()
        await stop.wait()
        await server.stop(grace=1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m balances.service", description=__doc__)
    parser.add_argument("address", help="where to serve, host:port")
    parser.add_argument("--sidecar", default="", help="the sidecar to ask, host:port (default: ask the database)")
    options = parser.parse_args()
    url = os.environ.get("BALANCES_DATABASE", "")
    if not url and not options.sidecar:
        parser.error("BALANCES_DATABASE has to name the database")
    uvloop.run(serve(options.address, database_url=url, sidecar=options.sidecar))
