"""The table in which a database keeps the tokens of changes, so that one that is sent again has no second effect.

The token is written in the transaction that makes the change: both are there, or neither. A second transaction with the
same token waits at the primary key for the first one's end, and then finds it there.

The table grows by a row for each change. Tokens that nobody will send again are of no use: whoever sends changes gives
up after hours, not weeks.
"""

from __future__ import annotations

from string import Template

DEFAULT_TABLE = "sidecar_applied"
_SETUP = Template("""\
-- The tokens of the changes that sidecars have made here; a change that is sent again has no second effect.
CREATE TABLE IF NOT EXISTS $table (
    token text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS ${name}_by_time ON $table (applied_at);
-- The sidecar's user needs no more than this:
--   GRANT INSERT, SELECT ON $table TO app;
-- Once a day, from a job of the database's:
--   DELETE FROM $table WHERE applied_at < now() - interval '30 days';
""")


def setup_sql(table: str) -> str:
    """Return the SQL that makes the table, for whoever may; to run it again changes nothing."""
    return _SETUP.substitute(table=table, name=table.rpartition(".")[2])


def note_sql(table: str) -> str:
    """Return the statement that notes tokens (`$1`, a text[]), and returns those that are new."""
    # INSERT ... RETURNING needs the right to SELECT what it returns.
    return f"INSERT INTO {table} (token) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING token"
