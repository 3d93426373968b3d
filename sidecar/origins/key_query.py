"""Which keys a PostgreSQL says are worth loading: a statement of the configuration that returns keys, and no values.

Why no values, which would save a trip? What is loaded under a lease cannot go into the cache if it was invalidated
meanwhile; for that the lease must be there before the origin is asked, and so the key must be known. A value that came
with its key would have been read before, and an invalidation in between would be lost. So the statement says what to
load, and it is loaded as what anybody misses is: a hundred keys with one question.

It runs in a transaction that reads only, with a time-out of its own, since to find what is hot may take longer than any
load. No more rows are taken than are wanted: they come by a cursor, and the database need not make the others.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from sidecar.cache.warm_list import Listed
from sidecar.call import Call
from sidecar.clock import after
from sidecar.config.warming import QUERY_PARAMETERS
from sidecar.origins.database import ConflictError
from sidecar.origins.failures import LostError, UnfitError, refused, unavailable, unfit
from sidecar.origins.policies import WARM_QUERY
from sidecar.origins.prepared import prepare
from sidecar.origins.sql_rows import KEY_TYPES, key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.origins.database import Database
    from sidecar.origins.gate import Exchange, Gate
    from sidecar.origins.policies import KeyQueryPolicy

_PAGE_ROWS: Final = 1000
_READ_ONLY: Final = "25006"
# Its own time-out, and that the server looks twice a second whether somebody still waits: it would go on to the end
# otherwise. The latter it can from PostgreSQL 14 on, and is not asked to before.
_BOUNDS: Final = """
SELECT set_config(name, CASE name WHEN 'statement_timeout' THEN $1 ELSE '500' END, true) FROM pg_settings
 WHERE name IN ('statement_timeout', 'client_connection_check_interval')
"""
# Behind loads that callers wait for: their connections come free within their own time-outs.
_ROOM_SECONDS: Final = 60.0
_LIMIT, _TENANT = QUERY_PARAMETERS


class KeyQuery:
    """The statement of one cache that says which keys to load."""

    def __init__(self, policy: KeyQueryPolicy, *, database: Database, gate: Gate) -> None:
        self.name = gate.name
        self._policy = policy
        self._database = database
        self._gate = gate

    async def problems(self, seconds: float) -> dict[str, str]:
        """Prepare the statement, and return what is wrong with it, under `WARM_QUERY`.

        Raises ORIGIN_UNAVAILABLE if the database cannot be asked within the time.
        """
        try:
            async with asyncio.timeout(seconds), self._database.connection() as connection:
                await prepare(connection, self._policy.statement, _problems)
        except UnfitError as error:
            return {WARM_QUERY: str(error)}
        except LostError as lost:
            raise unavailable(self.name, lost.what) from None
        except (ConflictError, TimeoutError):
            raise unavailable(self.name, "has not answered in its time") from None
        return {}

    async def first(self, limit: int) -> Listed:
        """Return the first `limit` keys that the statement returns, each once; raises as a load from the origin does.

        A row whose key is NULL gives an empty key, which then fails as one.
        """
        seconds = self._policy.seconds
        call = Call("cache.warm", deadline=after(seconds + _ROOM_SECONDS))
        return await self._gate.load(partial(self._first, limit), call, seconds)

    async def _first(self, limit: int, _exchange: Exchange) -> Listed:
        try:
            async with self._database.connection() as connection:
                ready = await prepare(connection, self._policy.statement, _problems)
                given: dict[str, str | bytes | list[str]] = {_LIMIT: str(limit), _TENANT: self._policy.tenant}
                return await self._read(connection, ready.sql, ready.arguments(self.name, given), limit)
        except UnfitError as error:
            raise unfit(self.name, error.code) from None
        except ConflictError:
            raise unavailable(self.name, "has transactions that are in each other's way") from None

    async def _read(self, connection: Any, sql: str, arguments: list[Any], limit: int) -> Listed:
        # Not as a context manager: what is left in the middle of it is closed, and so undone.
        transaction = connection.transaction(readonly=True)
        await transaction.start()
        await connection.fetch(_BOUNDS, str(int(self._policy.seconds * 1000)))
        size = min(_PAGE_ROWS, limit + 1)
        keys: dict[str, None] = {}
        try:
            rows = await connection.cursor(sql, *arguments)
            page = await rows.fetch(size)
        except asyncpg.ReadOnlySQLTransactionError:
            # Of a change it would mean that this server is no primary now, and one will be.
            raise refused(self.name, _READ_ONLY) from None
        while page:
            for row in page:
                keys[key_of(row["key"]) or ""] = None
                if len(keys) > limit:
                    keys.popitem()
                    await transaction.rollback()
                    return Listed(list(keys), cut=True)
            page = await rows.fetch(size)
        await transaction.rollback()
        return Listed(list(keys))


def _problems(columns: Mapping[str, str], _types: Mapping[str, Any]) -> list[str]:
    problems = []
    if "key" not in columns:
        problems.append("returns no column `key`")
    elif columns["key"] not in KEY_TYPES:
        problems.append(f"returns `key` as {columns['key']}: cast it to text")
    if "value" in columns:
        problems.append("returns `value`, which is not taken from it: it names the keys, and `load` gets their values")
    return problems
