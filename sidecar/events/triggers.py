"""The SQL that makes PostgreSQL notify a channel of each change of a table. Pure.

One function for each table, and four triggers that call it once for each statement: a statement that changes ten
thousand rows is no ten thousand events. PostgreSQL hands the function the old and new rows as tables; it takes the key
columns of both, each combination once, and sends them as JSON in as many payloads as they need, since a payload has
less than 8000 bytes:

    {"schema": "public", "table": "posting", "operation": "UPDATE", "rows": [{"account_id": 7}, {"account_id": 8}]}

A change of a key so tells of both the old and the new one. Where the rows are too many, or a key is too long, or the
table was truncated, there are no rows but `"many": true`: any may have changed.

NOTIFY is sent when the transaction commits, and not at all when it does not, so nothing is invalidated too early.
Everything that comes from the settings is quoted: a name is a name, whatever it holds. The text is the same for the
same settings, and may be run again: it replaces what it made before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# NAMEDATALEN of PostgreSQL, less one: it cuts off what is longer, so that two names might become one.
_NAME_BYTES = 63
_DIGEST = 8
# Below the 8000 bytes of a payload, with room for the names around the rows: one of 63 bytes may be written as
# \u0000 for each of them.
_PAGE_BYTES = 6_000
_ROW_BYTES = 1_000
# Some hundred payloads; PostgreSQL's queue holds 8 GB for all who are slow.
_MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTable:
    """A table whose changes are told."""

    schema: str
    table: str
    key_columns: tuple[str, ...]


def trigger_sql(event: str, channel: str, tables: Iterable[WatchedTable]) -> str:
    """Return what makes the functions and triggers of an event, in one transaction."""
    parts = [_of_table(event, channel, table) for table in tables]
    return "BEGIN;\n\n" + "\n".join(parts) + "\nCOMMIT;\n"


def quote_identifier(name: str) -> str:
    """Return a name as SQL writes it, whatever it holds."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def quote_literal(text: str) -> str:
    """Return a text as SQL writes it, however `standard_conforming_strings` is set."""
    doubled = text.replace("'", "''")
    if "\\" not in text:
        return f"'{doubled}'"
    escaped = doubled.replace("\\", "\\\\")
    return f" E'{escaped}'"


def short_name(*parts: str) -> str:
    """Return a name made of these; one that would be cut off has a digest of the whole at its end instead."""
    name = "_".join(parts)
    if len(name.encode()) <= _NAME_BYTES:
        return name
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGEST]
    kept = name.encode()[: _NAME_BYTES - _DIGEST - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


def _of_table(event: str, channel: str, table: WatchedTable) -> str:
    schema, name = quote_identifier(table.schema), quote_identifier(table.table)
    function = f"{schema}.{quote_identifier(short_name('sidecar', event, table.table, 'changed'))}"
    body = _body(channel, table.key_columns)
    tag = _dollar_tag(body)
    lines = [
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger",
        f"LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS {tag}",
        body + f"{tag};",
        "",
    ]
    for operation, transition in _TRIGGERS:
        trigger = quote_identifier(short_name("sidecar", event, operation.lower()))
        lines += [
            f"DROP TRIGGER IF EXISTS {trigger} ON {schema}.{name};",
            f"CREATE TRIGGER {trigger} AFTER {operation} ON {schema}.{name}{transition}",
            f"    FOR EACH STATEMENT EXECUTE FUNCTION {function}();",
        ]
    return "\n".join(lines) + "\n"


_TRIGGERS = (
    ("INSERT", " REFERENCING NEW TABLE AS sidecar_new"),
    ("UPDATE", " REFERENCING OLD TABLE AS sidecar_old NEW TABLE AS sidecar_new"),
    ("DELETE", " REFERENCING OLD TABLE AS sidecar_old"),
    ("TRUNCATE", ""),
)


def _body(channel: str, columns: Sequence[str]) -> str:
    # Each column is named with its table, so that no variable can be meant.
    key = ", ".join(f"{quote_literal(one)}, r.{quote_identifier(one)}" for one in columns)
    told = f"SELECT jsonb_build_object({key}) AS told FROM"
    old, new = f"{told} sidecar_old AS r", f"{told} sidecar_new AS r"
    return _BODY.format(
        inserted=f"{new} GROUP BY 1",
        updated=f"{old} UNION {new}",
        deleted=f"{old} GROUP BY 1",
        most=_MOST_ROWS,
        row_bytes=_ROW_BYTES,
        page_bytes=_PAGE_BYTES,
        channel=quote_literal(channel),
    )


_BODY = """
DECLARE
    head text := jsonb_build_object('schema', TG_TABLE_SCHEMA, 'table', TG_TABLE_NAME, 'operation', TG_OP)::text;
    told text[];
    page text;
BEGIN
    head := left(head, -1);
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(k.told::text) INTO told FROM (
            SELECT u.told FROM ({inserted}) AS u LIMIT {most} + 1
        ) AS k;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT array_agg(k.told::text) INTO told FROM (
            SELECT u.told FROM ({updated}) AS u LIMIT {most} + 1
        ) AS k;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(k.told::text) INTO told FROM (
            SELECT u.told FROM ({deleted}) AS u LIMIT {most} + 1
        ) AS k;
    END IF;
    IF TG_OP <> 'TRUNCATE' AND told IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' OR cardinality(told) > {most}
        OR (SELECT max(octet_length(o.one)) FROM unnest(told) AS o(one)) > {row_bytes}
    THEN
        PERFORM pg_notify({channel}, head || ', "many": true}}');
        RETURN NULL;
    END IF;
    FOR page IN
        SELECT string_agg(p.one, ', ') FROM (
            SELECT o.one, sum(octet_length(o.one) + 2) OVER (ROWS UNBOUNDED PRECEDING) / {page_bytes} AS place
            FROM unnest(told) AS o(one)
        ) AS p GROUP BY p.place
    LOOP
        PERFORM pg_notify({channel}, head || ', "rows": [' || page || ']}}');
    END LOOP;
    RETURN NULL;
END
"""


def _dollar_tag(body: str) -> str:
    """Return what quotes a body: nothing that stands in it."""
    number = 0
    while f"$sidecar{number}$" in body:
        number += 1
    return f"$sidecar{number}$"
