"""SQL with named parameters as a real PostgreSQL reads it: what is a parameter for it is one here, and nothing else."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.config.named_parameters import take_apart

if TYPE_CHECKING:
    from support.postgres import Database

EXAMPLES = 5_000 if "SIDECAR_LONG" in os.environ else 150
GIVEN = {"key": "it's :value $1", "value": "b\\"}


class Item(NamedTuple):
    """An expression of a SELECT, the text that it is worth, and the parameters in it."""

    sql: str
    worth: str
    names: tuple[str, ...] = ()


# What means something to a lexer, in any mixture, and whatever else there is.
TRICKY = st.text(st.sampled_from(":'\"$\\-/*ekäy \n\r[]{}"), max_size=12)
ANY = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6)
TEXTS = st.one_of(TRICKY, ANY, st.sampled_from([":key", "'':key", "$$:key$$", "*/ :key", "\n:key", "--:key"]))
NAMES = st.sampled_from(sorted(GIVEN))
TAGS = st.sampled_from(["", "a", "ä", "_1", "key"])
BETWEEN = st.sampled_from([
    " ", "\n", "\t", "/* :key */", "/* ' /* :key $$ */ \" */", "-- :key '\n", "--'\r", " /**/ ",
])  # fmt: skip


def plain(text: str) -> Item:
    """Return a string."""
    return Item("'" + text.replace("'", "''") + "'", text)


def escaping(text: str) -> Item:
    """Return a string with escapes."""
    return Item("E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'", text)


def coded(text: str) -> Item:
    """Return a string with code points."""
    return Item("U&'" + text.replace("\\", "\\\\").replace("'", "''") + "\\0021'", f"{text}!")


def continued(text: str) -> Item:
    """Return a string in two parts, with a comment between them."""
    return Item("'a' --:key'\n '" + text.replace("'", "''") + "'", f"a{text}")


def dollars(tag: str, text: str) -> Item:
    """Return a string in dollars."""
    quote = f"${tag}$"
    inside = f"{text} ".replace("$", "S")
    return Item(f"{quote}{inside}{quote}", inside)


def named(alias: str) -> Item:
    """Return a string under a quoted name, which PostgreSQL may cut."""
    quoted = alias[:10].replace('"', '""')
    return Item(f"'x' AS \"n{quoted}\"", "x")


def parameter(name: str) -> Item:
    """Return a parameter by itself."""
    return Item(f":{name}::text", GIVEN[name], (name,))


def within(name: str, text: str) -> Item:
    """Return a parameter between strings and operators."""
    string = text.replace("'", "''")
    return Item(f"'{string}'||:{name}||'{string}'", f"{text}{GIVEN[name]}{text}", (name,))


ITEMS = st.one_of(
    TEXTS.map(plain),
    TEXTS.map(escaping),
    TEXTS.map(coded),
    TEXTS.map(continued),
    st.builds(dollars, TAGS, TEXTS),
    TEXTS.map(named),
    NAMES.map(parameter),
    st.builds(within, NAMES, TEXTS),
    st.sampled_from([
        Item("('{1,2,3}'::int[])[1: 2]::text", "{1,2}"),
        Item("('{1,2,3}'::int[])[length(:key) - 13 : 2]::text", "{1,2}", ("key",)),
        Item("'{\"a\": \":key\"}'::json->>'a'", ":key"),
        Item("('{\"a\": {\"b\": 1}}'::jsonb#>>'{a,b}')", "1"),
        Item("('[1, 2]'::jsonb@>'[1]')::text", "true"),
        Item("(jsonb_build_object('a',:value::text)->>'a')", GIVEN["value"], ("value",)),
        Item("(ARRAY[:key,:value])[2]", GIVEN["value"], ("key", "value")),
        Item("(3 - -1)::text", "4"),
        Item("(8/2*-1)::text", "-4"),
        Item("(date '2026-01-02'::date)::text", "2026-01-02"),
        Item("(SELECT a$b FROM (SELECT 'c' AS a$b) AS key)", "c"),
    ]),
)  # fmt: skip


def test_any_mixture_means_what_it_means_to_postgresql(database: Database) -> None:
    """Each expression is worth what it should be, so nothing was taken for a parameter that is none, or overlooked."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database.url, statement_cache_size=0))

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(ITEMS, min_size=1, max_size=6), BETWEEN, BETWEEN)
        def check(items: list[Item], before: str, after: str) -> None:
            sql = "SELECT" + before + (after + "," + before).join(item.sql for item in items) + after
            statement = take_apart(sql, GIVEN)
            assert tuple(name for item in items for name in item.names) == statement.names
            row = runner.run(connection.fetchrow(statement.render(), *[GIVEN[name] for name in statement.parameters]))
            assert [item.worth for item in items] == list(row.values())

        check()
        runner.run(connection.close())
