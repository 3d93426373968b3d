"""`sidecar sql triggers`: what PostgreSQL itself makes of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.events.triggers import WatchedTable, quote_identifier, quote_literal, short_name, trigger_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.postgres import Database

CHANNEL = "posted"
POSTING = WatchedTable(schema="public", table="posting", key_columns=("account_id",))
TABLE = "CREATE TABLE posting (id bigint PRIMARY KEY, account_id bigint, amount numeric)"


class Listener:
    """A connection that changes rows, and one that hears of it."""

    def __init__(self, writer: Any, ear: Any) -> None:
        self.writer = writer
        self.ear = ear
        self.heard: list[str] = []

    async def told(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement and return what was told until it was committed."""
        self.heard.clear()
        await self.writer.execute(statement)
        # NOTIFY comes in the order of commits.
        await self.writer.execute(f"NOTIFY {quote_identifier(CHANNEL)}, 'end'")
        async with asyncio.timeout(20):
            while "end" not in self.heard:
                await asyncio.sleep(0.001)
        return [json.loads(payload) for payload in self.heard[:-1]]


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    """Return one in an empty database."""
    writer, ear = [await asyncpg.connect(database.url) for _ in range(2)]
    made = Listener(writer, ear)
    await ear.add_listener(CHANNEL, lambda *notice: made.heard.append(notice[3]))
    yield made
    await writer.close()
    await ear.close()


async def installed(listener: Listener, *tables: WatchedTable, create: str = TABLE) -> None:
    """Make a table, and its triggers twice: they replace themselves."""
    await listener.writer.execute(create)
    for _ in range(2):
        await listener.writer.execute(trigger_sql("ledger", CHANNEL, tables or (POSTING,)))


def accounts(told: list[dict[str, Any]]) -> list[Any]:
    """Return the keys that were told, in order."""
    return sorted(row["account_id"] for one in told for row in one["rows"])


async def test_an_insert(listener: Listener) -> None:
    """Tells the keys of the new rows, each once."""
    await installed(listener)
    told = await listener.told("INSERT INTO posting VALUES (1, 7, 1), (2, 7, 1), (3, 8, 1)")
    assert ([7, 8], "public", "posting", "INSERT") == (
        accounts(told), told[0]["schema"], told[0]["table"], told[0]["operation"],
    )  # fmt: skip


async def test_an_update_of_the_key(listener: Listener) -> None:
    """Tells old and new."""
    await installed(listener)
    await listener.told("INSERT INTO posting VALUES (1, 7, 1)")
    told = await listener.told("UPDATE posting SET account_id = 8")
    assert ([7, 8], "UPDATE") == (accounts(told), told[0]["operation"])


async def test_an_update_of_something_else(listener: Listener) -> None:
    """Tells the key once."""
    await installed(listener)
    await listener.told("INSERT INTO posting VALUES (1, 7, 1)")
    assert [7] == accounts(await listener.told("UPDATE posting SET amount = 2"))


async def test_a_delete(listener: Listener) -> None:
    """Tells the keys of the old rows."""
    await installed(listener)
    await listener.told("INSERT INTO posting VALUES (1, 7, 1), (2, 8, 1)")
    assert [7, 8] == accounts(await listener.told("DELETE FROM posting"))


async def test_a_truncate(listener: Listener) -> None:
    """Tells that any row may be concerned."""
    await installed(listener)
    (told,) = await listener.told("TRUNCATE posting")
    assert {"schema": "public", "table": "posting", "operation": "TRUNCATE", "many": True} == told


@pytest.mark.parametrize("statement", ["DELETE FROM posting WHERE false", "UPDATE posting SET amount = 1 WHERE false"])
async def test_a_statement_that_changes_nothing(listener: Listener, statement: str) -> None:
    """Tells nothing."""
    await installed(listener)
    assert [] == await listener.told(statement)


async def test_a_rollback(listener: Listener) -> None:
    """Tells nothing."""
    await installed(listener)
    assert [] == await listener.told("BEGIN; INSERT INTO posting VALUES (1, 7, 1); ROLLBACK")


async def test_nothing_is_told_before_the_commit(listener: Listener) -> None:
    """However long the transaction goes on."""
    await installed(listener)
    listener.heard.clear()
    async with listener.writer.transaction():
        await listener.writer.execute("INSERT INTO posting VALUES (1, 7, 1)")
        await listener.ear.fetchval("SELECT 1")
        before = list(listener.heard)
    async with asyncio.timeout(20):
        while not listener.heard:
            await asyncio.sleep(0.001)
    assert [] == before


async def test_an_upsert(listener: Listener) -> None:
    """Tells both what it inserted and what it updated."""
    await installed(listener)
    await listener.told("INSERT INTO posting VALUES (1, 7, 1)")
    told = await listener.told(
        "INSERT INTO posting VALUES (1, 9, 1), (2, 8, 1) ON CONFLICT (id) DO UPDATE SET account_id = 9"
    )
    assert [7, 8, 9] == accounts(told)


async def test_ten_thousand_rows(listener: Listener) -> None:
    """Are told in as many payloads as they need, and none of them is too long."""
    await installed(listener)
    told = await listener.told("INSERT INTO posting SELECT n, n + 1000000, 1 FROM generate_series(1, 10000) AS n")
    longest = max(len(payload.encode()) for payload in listener.heard)
    assert (list(range(1_000_001, 1_010_001)), True, True) == (accounts(told), 10 < len(told) < 100, longest < 8000)


async def test_more_rows_than_are_named(listener: Listener) -> None:
    """Are told as one."""
    await installed(listener)
    told = await listener.told("INSERT INTO posting SELECT n, n, 1 FROM generate_series(1, 10001) AS n")
    assert [(True, "INSERT")] == [(one["many"], one["operation"]) for one in told]


async def test_many_rows_of_few_keys(listener: Listener) -> None:
    """Are few keys."""
    await installed(listener)
    told = await listener.told("INSERT INTO posting SELECT n, n % 3, 1 FROM generate_series(1, 20000) AS n")
    assert [0, 1, 2] == accounts(told)


async def test_a_key_that_is_too_long(listener: Listener) -> None:
    """Is told as one of many: no statement of the application fails for it."""
    table = WatchedTable(schema="public", table="page", key_columns=("path",))
    await installed(listener, table, create="CREATE TABLE page (path text)")
    (told,) = await listener.told("INSERT INTO page SELECT repeat('ä', 5000)")
    assert True is told["many"]


async def test_keys_of_all_sorts(listener: Listener) -> None:
    """As JSON writes them: null, text with quotes, a UUID, a fraction."""
    table = WatchedTable(schema="public", table="sorts", key_columns=("a", "b", "c", "d"))
    await installed(listener, table, create="CREATE TABLE sorts (a text, b uuid, c numeric, d int)")
    uuid = "00000000-0000-4000-8000-000000000001"
    row = f"""'it''s "\\ ä', '{uuid}', 12.50, NULL"""
    told = await listener.told("INSERT INTO sorts VALUES (" + row + ")")  # noqa: S608 (as above)
    assert '"c": 12.50' in listener.heard[0]
    assert [{"a": "it's \"\\ ä", "b": uuid, "c": 12.5, "d": None}] == told[0]["rows"]


@pytest.mark.parametrize(
    "name",
    [
        "Order",
        "select",
        'a"b',
        "a'b",
        "a b",
        "a\\b",
        "$$",
        "$sidecar0$",
        "x" * 63,
        "ä" * 31,
        'x"; DROP TABLE t; --',
        "{a}",
    ],
)
async def test_odd_names(listener: Listener, name: str) -> None:
    """Of schema, table and column are names, whatever they hold."""
    table = WatchedTable(schema=name, table=name, key_columns=(name,))
    quoted = quote_identifier(name)
    create = f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} int); CREATE TABLE t ()"
    await installed(listener, table, create=create)
    told = await listener.told(f"INSERT INTO {quoted}.{quoted} VALUES (1)")  # noqa: S608 (a name of the test's)
    assert [(name, [{name: 1}])] == [(one["table"], one["rows"]) for one in told]
    await listener.writer.execute("SELECT FROM t")


async def test_an_odd_channel(listener: Listener) -> None:
    """Is a text, however strings are read."""
    channel = 'it\'s a \\ "channel" $sidecar0$'
    heard: list[str] = []
    await listener.ear.add_listener(channel, lambda *notice: heard.append(notice[3]))
    await listener.writer.execute(f"SET standard_conforming_strings = off; {TABLE}")
    await listener.writer.execute(trigger_sql("it's", channel, [POSTING]))
    await listener.told("INSERT INTO posting VALUES (1, 7, 1)")
    assert [7] == accounts([json.loads(heard[0])])


async def test_two_events_of_one_table(listener: Listener) -> None:
    """Have triggers of their own."""
    await installed(listener)
    await listener.writer.execute(trigger_sql("other", CHANNEL, [POSTING]))
    told = await listener.told("INSERT INTO posting VALUES (1, 7, 1)")
    # PostgreSQL sends a payload once that a transaction gives twice.
    assert [7] == accounts(told)
    triggers = await listener.writer.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal")
    assert 8 == triggers


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_quoting_keeps_all_it_quotes(text: str) -> None:
    """A quote within is doubled, and there is no other."""
    assert text == quote_identifier(text)[1:-1].replace('""', '"')
    assert quote_literal(text).strip().removeprefix("E")[0] == quote_literal(text)[-1] == "'"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=3))
def test_a_short_name_is_one_that_postgresql_keeps(parts: list[str]) -> None:
    """And begins as its parts do."""
    name = short_name(*parts)
    assert (True, True) == (len(name.encode()) <= 63, "_".join(parts).startswith(name[:20]) or len(name) > 20)


def test_short_names_of_long_ones_differ() -> None:
    """Even where PostgreSQL would cut them to the same."""
    assert short_name("x" * 70, "a") != short_name("x" * 70, "b")
