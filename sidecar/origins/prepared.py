"""A cache's statements as a database takes them: found out on first use, from what the database says of each.

What callers bring is text, but for bytes where a `bytea` is wanted; a statement wants keys that are numbers, values
that are JSON. The database knows the type of each parameter, by where it stands. So it is asked once, and from then on
the parameter is sent as text and cast there: `$1` becomes `($1::text::"pg_catalog"."int8")`. Then it is PostgreSQL
that reads what is written, with its own rules and its own errors, whatever the type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from sidecar.origins.failures import UnfitError, refused
from sidecar.origins.sql_rows import column_problems
from sidecar.origins.sql_states import INVALID_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.config.named_parameters import Statement

    Problems = Callable[[Mapping[str, str], Mapping[str, Any]], list[str]]
    """Says what is wrong with a statement, by its columns' types and its parameters'."""

_BYTES: Final = frozenset({"bytea", "bytea[]"})
_KEYS: Final = "keys"
_DATATYPE_MISMATCH: Final = "42804"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that is ready to be sent."""

    sql: str
    parameters: tuple[str, ...]
    as_bytes: frozenset[str]
    """The parameters that are sent as bytes."""

    def arguments(self, origin: str, given: dict[str, str | bytes | list[str]]) -> list[Any]:
        """Return the parameters' values in their order; raises ORIGIN_REFUSED for bytes that are no text."""
        return [self._argument(origin, name, given[name]) for name in self.parameters]

    def _argument(self, origin: str, name: str, value: str | bytes | list[str]) -> str | bytes | list[Any]:
        if name in self.as_bytes:
            if isinstance(value, list):
                return [item.encode() for item in value]
            return value.encode() if isinstance(value, str) else value
        if not isinstance(value, bytes):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise refused(origin, INVALID_TEXT) from None


async def prepare(connection: Any, statement: Statement, problems: Problems | None = None) -> Prepared:
    """Ask the database what a statement wants; raises UnfitError, or an error of asyncpg for what else is wrong.

    `problems` says what is wrong with what it returns, and takes.
    """
    try:
        asked = await connection.prepare(statement.render())
        types = dict(zip(statement.parameters, asked.get_parameters(), strict=True))
        if problems is not None:
            found = problems({column.name: column.type.name for column in asked.get_attributes()}, types)
            if found:
                await settle(connection)
                raise UnfitError("; ".join(found), _DATATYPE_MISMATCH)
        as_bytes = frozenset(name for name, of in types.items() if of.name in _BYTES)

        def write(name: str, number: int) -> str:
            return f"${number}" if name in as_bytes else f"(${number}::text{_cast(types[name])})"

        sql = statement.render(write)
        # What the casts make of it must do as well: a parameter may stand where no expression can.
        await connection.prepare(sql)
        await settle(connection)
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(("42", "0A", "22", "3F")):
            raise UnfitError(f"{error.message} (SQLSTATE {error.sqlstate})", error.sqlstate) from None
        raise
    return Prepared(sql, statement.parameters, as_bytes)


async def settle(connection: Any) -> None:
    """End what the driver has begun by preparing something, and leaves as it is until the next command.

    It asks for the answer without a Sync (PostgreSQL's manual, 55.2.3), and up to that the server is in a transaction:
    it has locked the tables, keeps every ALTER TABLE waiting, and counts its `statement_timeout` down, so that a
    connection that lies idle afterwards fails at whatever comes next.
    """
    await connection.execute("SELECT 1")


def load_problems(columns: Mapping[str, str], types: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the columns and parameters of a load."""
    problems = column_problems(columns)
    if _KEYS in types and types[_KEYS].kind != "array":
        problems.append(f"takes :{_KEYS} for one {types[_KEYS].name}: it is an array, so write = ANY(:{_KEYS})")
    return problems


def _cast(of: Any) -> str:
    """Return the rest of a cast from text, or from an array of texts, to a type."""
    name, is_array = of.name.removesuffix("[]"), of.kind == "array"
    brackets = "[]" if is_array else ""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (of.schema, name))
    return f"{brackets}::{quoted}{brackets}"
