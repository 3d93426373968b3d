"""A PostgreSQL database as an origin, by statements that stand in the configuration.

A load is one statement for all keys, one trip. Where one key among many is none that the database could read, they are
asked for in halves, down to that one: an error of one is none of the others', and costs them little.

Changes that come together are made in one transaction. If all can be made that is four trips, however many they are. If
one is refused, or another transaction is in the way, nothing was changed, and each is made in a transaction of its own,
in their order. (A savepoint for each would do it in one, but not where a constraint is deferred to the commit, and that
one refuses all.) Until COMMIT is sent nothing can have been changed, so everything that fails before is as if it had
never been asked for.

What if the connection is lost while COMMIT is under way? Nobody knows whether it was heeded. With a token that is kept
in the same transaction, one can ask again: the transaction is repeated, and finds its own tokens if it was made before.
Without tokens, or if it cannot be repeated, the outcome is unknown, and is said to be.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from sidecar.errors import Reason, SidecarError
from sidecar.origins.applied import note_sql
from sidecar.origins.database import ConflictError
from sidecar.origins.failures import (
    LostError,
    UnfitError,
    UnusableUrlError,
    outcome_unknown,
    refused,
    unavailable,
    unfit,
)
from sidecar.origins.prepared import Prepared, load_problems, prepare, settle
from sidecar.origins.sql_rows import values_of
from sidecar.origins.sql_states import is_about_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.cache.origin import Change, OriginValue
    from sidecar.call import Call
    from sidecar.config.named_parameters import Statement
    from sidecar.origins.database import Database
    from sidecar.origins.gate import Exchange, Gate

# Transactions that keep getting in each other's way are a load that the database cannot bear.
_CONFLICTS: Final = 3
_UNDEFINED_TABLE: Final = "42P01"
_STORE, _REMOVE, _LOAD, _NOTE, _URL = "store", "remove", "load", "applied_table", "url"


class PostgresOrigin:
    """What one cache has in a database; `statements` are by what they are for: load, store, remove."""

    def __init__(
        self,
        *,
        database: Database,
        gate: Gate,
        statements: Mapping[str, Statement],
        applied_table: str | None,
        max_value_bytes: int,
    ) -> None:
        self.name = gate.name
        self.stores = _STORE in statements
        self._database = database
        self._gate = gate
        self._statements = statements
        self._applied_table = applied_table
        self._max_value_bytes = max_value_bytes
        self._prepared: dict[str, Prepared] = {}

    async def problems(self, seconds: float) -> dict[str, str]:
        """Prepare all statements, and return what is wrong with them, by what they are for.

        Raises ORIGIN_UNAVAILABLE if the database cannot be asked within the time, and another reason ORIGIN_... if it
        does not let itself be asked.
        """
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(seconds), self._database.connection() as connection:
                for purpose in self._statements:
                    try:
                        await self._ready(connection, purpose)
                    except UnfitError as error:
                        found[purpose] = str(error)
                if self.stores and self._applied_table is not None:
                    found |= await self._table_problem(connection, self._applied_table)
        except UnusableUrlError as error:
            return {_URL: error.why}
        except LostError as lost:
            raise unavailable(self.name, lost.what) from None
        except (ConflictError, TimeoutError):
            raise unavailable(self.name, "has not answered in its time") from None
        return found

    async def load(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:
        """Return what the statement `load` returns for each key."""
        try:
            return await self._gate.load(partial(self._load, keys), call)
        except SidecarError as error:
            if len(keys) == 1 or error.reason is not Reason.ORIGIN_REFUSED or not is_about_data(error.metadata["code"]):
                return [error] * len(keys)
        middle = len(keys) // 2
        return [*await self.load(keys[:middle], call), *await self.load(keys[middle:], call)]

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes by the statements `store` and `remove`."""
        try:
            await self._gate.change(partial(self._change, changes), call)
        except SidecarError as error:
            if len(changes) == 1 or error.reason is not Reason.ORIGIN_REFUSED:
                return [error] * len(changes)
        else:
            return [None] * len(changes)
        results: list[SidecarError | None] = []
        for place, change in enumerate(changes):
            (result,) = await self.store([change], call)
            results.append(result)
            if result is not None and result.reason is not Reason.ORIGIN_REFUSED:
                # What comes after it may be of the same key, and must not come before it.
                rest = unavailable(self.name, "has failed at a change before this one")
                return [*results, *[rest] * (len(changes) - place - 1)]
        return results

    # --- what is done within the gate ---

    async def _load(self, keys: Sequence[str], _exchange: Exchange) -> list[OriginValue | SidecarError | None]:
        try:
            async with self._database.connection() as connection:
                ready = await self._ready(connection, _LOAD)
                rows = await connection.fetch(ready.sql, *ready.arguments(self.name, {"keys": list(keys)}))
        except UnfitError as error:
            raise unfit(self.name, error.code) from None
        except ConflictError:
            raise unavailable(self.name, "has transactions that are in each other's way") from None
        except SidecarError as error:
            self._forget(error)
            raise
        return values_of(self.name, keys, rows, max_value_bytes=self._max_value_bytes)

    async def _change(self, changes: Sequence[Change], exchange: Exchange) -> None:
        for _ in range(_CONFLICTS):
            try:
                return await self._change_surely(changes, exchange)
            except ConflictError:
                continue
            except UnfitError as error:
                raise unfit(self.name, error.code) from None
            except SidecarError as error:
                self._forget(error)
                if error.reason is Reason.ORIGIN_TIMED_OUT:
                    # The server gave it up before the commit.
                    raise unavailable(self.name, "has not answered in its time") from None
                raise
        raise unavailable(self.name, "has transactions that are in each other's way")

    async def _change_surely(self, changes: Sequence[Change], exchange: Exchange) -> None:
        """Make changes in one transaction, in a second one if need be and if tokens make that safe."""
        try:
            return await self._transact(changes, exchange)
        except LostError:
            if not exchange.is_sent:
                raise
        if self._applied_table is None or not all(change.token for change in changes):
            raise outcome_unknown(self.name)
        try:
            return await self._transact(changes, exchange)
        except (LostError, ConflictError):
            raise outcome_unknown(self.name) from None
        except SidecarError as error:
            if error.reason is Reason.ORIGIN_REFUSED:
                # It has come as far as the statement, so its token was not there: the first was not made.
                raise
            raise outcome_unknown(self.name) from None

    async def _transact(self, changes: Sequence[Change], exchange: Exchange) -> None:
        async with self._database.connection() as connection:
            # Not as a context manager: after a cancellation that would wait for a server that may hang.
            transaction = connection.transaction()
            await transaction.start()
            try:
                await self._make(connection, changes)
            except (asyncpg.PostgresError, SidecarError, UnfitError):
                if not connection.is_closed():
                    await transaction.rollback()
                raise
            was_sent, exchange.is_sent = exchange.is_sent, True
            try:
                await transaction.commit()
            except asyncpg.PostgresError as error:
                # An answer, and so the truth, unless it is that there will be none.
                if not isinstance(self._database.failure(error), LostError):
                    exchange.is_sent = was_sent
                raise

    async def _make(self, connection: Any, changes: Sequence[Change]) -> None:
        new = await self._note(connection, changes)
        for purpose, run in groupby(new, key=lambda change: _REMOVE if change.value is None else _STORE):
            if purpose not in self._statements:
                raise refused(self.name, "no_remove")
            ready = await self._ready(connection, purpose)
            arguments = [
                ready.arguments(self.name, {"key": change.key, "value": change.value or b"", "token": change.token})
                for change in run
            ]
            if len(arguments) == 1:
                await connection.execute(ready.sql, *arguments[0])
            else:
                await connection.executemany(ready.sql, arguments)

    async def _note(self, connection: Any, changes: Sequence[Change]) -> Sequence[Change]:
        """Note the changes' tokens, and return the changes that are new, or have none."""
        # In order, so that two transactions with the same tokens do not wait for each other.
        tokens = sorted({change.token for change in changes if change.token})
        if self._applied_table is None or not tokens:
            return changes
        rows = await connection.fetch(note_sql(self._applied_table), tokens)
        new = {row["token"] for row in rows}
        made: list[Change] = []
        for change in changes:
            if not change.token or change.token in new:
                made.append(change)
                new.discard(change.token)
        return made

    # --- statements ---

    async def _ready(self, connection: Any, purpose: str) -> Prepared:
        ready = self._prepared.get(purpose)
        if ready is None:
            ready = await prepare(connection, self._statements[purpose], load_problems if purpose == _LOAD else None)
            self._prepared[purpose] = ready
        return ready

    def _forget(self, error: SidecarError) -> None:
        """Have the statements looked at anew if what they are about is not what it was."""
        if error.metadata.get("code", "").startswith("42"):
            self._prepared.clear()

    async def _table_problem(self, connection: Any, table: str) -> dict[str, str]:
        try:
            await connection.prepare(note_sql(table))
            await settle(connection)
        except asyncpg.PostgresError as error:
            if error.sqlstate != _UNDEFINED_TABLE:
                raise
            what = (
                f"there is no table {table} to keep tokens in: make it with what `sidecar sql setup` prints, or set "
                f"{_NOTE}: null"
            )
            return {_NOTE: what}
        return {}
