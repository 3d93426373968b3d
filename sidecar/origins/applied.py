"""The table in which a database keeps the tokens of changes, so that one that is sent again has no second effect.

The token is written in the transaction that makes the change: both are there, or neither. A second transaction with the
same token waits at the primary key for the first one's end, and then finds it there.

The table grows by a row for each change. Tokens that nobody will send again are of no use: write-behind gives up a
change after 31 days, whatever became of it, and those who wait for an answer give up after minutes. A token is kept for
a day longer, by the database's clock, and deleted by it: the sidecar's user need not have the right to.
"""

from __future__ import annotations

from string import Template

DEFAULT_TABLE = "sidecar_applied"
TOKEN_DAYS = 32
"""A day more than the life of a change (`cache/write_behind/policy.py`): clocks may differ."""
_SETUP = Template("""\
-- The tokens of the changes that sidecars have made here; a change that is sent again has no second effect.
CREATE TABLE IF NOT EXISTS $table (
    token text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS ${name}_by_time ON $table (applied_at);
-- The sidecar's user needs no more than this:
--   GRANT INSERT, SELECT ON $table TO app;
-- Once a day, from a job of the database's (changes are sent again for up to 31 days, so keep the tokens for longer):
--   DELETE FROM $table WHERE applied_at < now() - interval '$days days';
""")


def setup_sql(table: str) -> str:
    """Return the SQL that makes the table, for whoever may; to run it again changes nothing."""
    return _SETUP.substitute(table=table, name=table.rpartition(".")[2], days=TOKEN_DAYS)


def note_sql(table: str) -> str:
    """Return the statement that notes tokens (`$1`, a text[]), and returns those that are new."""
    # INSERT ... RETURNING needs the right to SELECT what it returns.
    return f"INSERT INTO {table} (token) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING token"
