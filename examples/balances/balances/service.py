"""What the cashier's service was before there was a sidecar: each call asks the database. The benchmark measures it.

It is also what an application writes to be the origin of a cache itself: `sidecar.v1.OriginService`, of which a cache
that is only read needs Load and LoadMany.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg
import grpc
import uvloop
from sidecar_client.gen.sidecar.v1 import origin_pb2, origin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

# The same as the cache's, in sidecar.yaml.
_BALANCES = """
    SELECT account.id AS key, json_build_object('cents', coalesce(sum(cents), 0), 'currency', currency)::text AS value
      FROM account LEFT JOIN posting ON account_id = account.id
     WHERE account.id = any($1) GROUP BY account.id
"""
_CONNECTIONS = 8


class BalanceService(origin_pb2_grpc.OriginServiceServicer):
    """Balances from the database."""

    def __init__(self, database: asyncpg.Pool) -> None:
        self._database = database

    async def Load(  # noqa: N802 (the names are gRPC's)
        self, request: origin_pb2.LoadRequest, context: object
    ) -> origin_pb2.LoadResponse:
        """Return one account's balance."""
        del context
        return origin_pb2.LoadResponse(entry=(await self._load([request.key]))[0])

    async def LoadMany(  # noqa: N802 (as above)
        self, request: origin_pb2.LoadManyRequest, context: object
    ) -> origin_pb2.LoadManyResponse:
        """Return several accounts' balances."""
        del context
        return origin_pb2.LoadManyResponse(entries=await self._load(request.keys))

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

    async def _load(self, keys: Sequence[str]) -> list[origin_pb2.OriginEntry]:
        rows = await self._database.fetch(_BALANCES, list(keys))
        found = {row["key"]: row["value"].encode() for row in rows}
        return [origin_pb2.OriginEntry(present=key in found, value=found.get(key, b"")) for key in keys]


async def serve(address: str, database_url: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncpg.create_pool(database_url, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as database:
        server = grpc.aio.server()
        origin_pb2_grpc.add_OriginServiceServicer_to_server(BalanceService(database), server)
        server.add_insecure_port(address)
        await server.start()
        await stop.wait()
        await server.stop(grace=1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m balances.service", description=__doc__)
    parser.add_argument("address", help="where to serve, host:port")
    uvloop.run(serve(parser.parse_args().address, os.environ["BALANCES_DATABASE"]))
