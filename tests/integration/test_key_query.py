"""A query of a PostgreSQL that says which keys are worth loading."""

# ruff: noqa: S608 (the statements are made of constants)

from __future__ import annotations

import asyncio
import itertools

import pytest
from support.origins import gate_policy
from support.postgres import Database, PostgresServer

from sidecar.cache.warm_list import Listed
from sidecar.config.named_parameters import take_apart
from sidecar.config.warming import QUERY_PARAMETERS
from sidecar.errors import Reason, SidecarError
from sidecar.origins.catalog import Findings, Origins
from sidecar.origins.key_query import KeyQuery
from sidecar.origins.policies import CacheOriginPolicy, DatabasePolicy, KeyQueryPolicy
from sidecar.telemetry.metrics import Metrics

LOAD = "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k"
ACTIVE = """
SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()
"""


_numbers = itertools.count()


@pytest.fixture(scope="module")
def database(shared_postgres: PostgresServer) -> Database:
    """Return a database that the tests of this file share, as long as they follow each other."""
    name = f"key_query_{next(_numbers)}"
    shared_postgres.create_database(name)
    return Database(shared_postgres, name)


def origins_of(database: Database, sql: str, *, seconds: float = 30.0, timeout: float = 10.0) -> Origins:
    """Return the origins of a cache `things` that has a query."""
    query = KeyQueryPolicy(statement=take_apart(sql, QUERY_PARAMETERS), seconds=seconds, tenant="north")
    cache = CacheOriginPolicy(
        cache="things", origin="home", statements={"load": take_apart(LOAD, ("keys",))}, key_query=query
    )
    policy = DatabasePolicy(gate=gate_policy(timeout=timeout), url=database.url)
    return Origins([policy], [cache], max_value_bytes=1000, metrics=Metrics(), draw=lambda: 0.0)


async def first(database: Database, sql: str, limit: int = 100, **times: float) -> Listed:
    """Return what a query returns."""
    origins = origins_of(database, sql, **times)
    try:
        return await origins.key_queries["things"].first(limit)
    finally:
        await origins.close()


async def findings(database: Database, sql: str) -> Findings:
    """Return what is found when a query is looked at."""
    origins = origins_of(database, sql)
    try:
        return await origins.check()
    finally:
        await origins.close()


async def active(database: Database) -> int:
    """Return how many sleeping queries the server is at."""
    return int((await asyncio.to_thread(database.query, ACTIVE))[0][0])


async def test_keys_come_in_the_querys_order(database: Database) -> None:
    """Each once, the most wanted first."""
    rows = "(VALUES ('b', 9), ('a', 5), ('b', 4), ('c', 1)) AS t (name, reads)"
    assert Listed(["b", "a", "c"]) == await first(database, f"SELECT name AS key FROM {rows} ORDER BY reads DESC")


@pytest.mark.parametrize("rows", [3000, 2001])
async def test_no_more_than_the_limit_are_taken(database: Database, rows: int) -> None:
    """That there were more is said, also where it is one more than a page of them."""
    listed = await first(database, f"SELECT n AS key FROM generate_series(1, {rows}) n", 2000)
    assert Listed([str(number) for number in range(1, 2001)], cut=True) == listed


async def test_as_many_as_the_limit_are_all(database: Database) -> None:
    """Nothing is cut, though nothing more would have fitted."""
    assert Listed(["1", "2"]) == await first(database, "SELECT n AS key FROM generate_series(1, 2) n", 2)


async def test_the_limit_and_the_tenant_are_parameters(database: Database) -> None:
    """Each sent as the type that stands there."""
    sql = "SELECT :tenant || '-' || n AS key FROM generate_series(1, 99) n LIMIT :limit::int"
    assert Listed(["north-1", "north-2"]) == await first(database, sql, 2)
    assert Listed(["north"]) == await first(database, "SELECT t AS key FROM (SELECT 'north' AS t) s WHERE t = :tenant")


@pytest.mark.parametrize(
    ("column", "key"),
    [("7::bigint", "7"), ("'a'::varchar", "a"), ("'\\x61'::bytea", "a"), ("NULL::text", ""), ("'ä'", "ä")],
)
async def test_a_key_is_what_a_load_takes_for_one(database: Database, column: str, key: str) -> None:
    """Text, a number, bytes; NULL is the empty key, which fails as that."""
    assert Listed([key]) == await first(database, f"SELECT {column} AS key")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC" (SQLSTATE 42601)'),
        ("SELECT id AS key FROM nothing", 'relation "nothing" does not exist (SQLSTATE 42P01)'),
        ("SELECT 'a' AS name", "returns no column `key`"),
        ("SELECT 1.5 AS key", "returns `key` as numeric: cast it to text"),
        (
            "SELECT 'a' AS key, 'v' AS value",
            "returns `value`, which is not taken from it: it names the keys, and `load` gets their values",
        ),
    ],
)
async def test_a_query_that_is_none_is_said_with_its_setting(database: Database, sql: str, said: str) -> None:
    """Before it is ever run."""
    assert Findings((f"caches.things.warm.query: {said}",), {}) == await findings(database, sql)


async def test_a_query_that_is_one_is_no_finding(database: Database) -> None:
    """With its parameters."""
    assert Findings((), {}) == await findings(database, "SELECT :tenant::text AS key LIMIT :limit")


async def test_a_query_changes_nothing(database: Database) -> None:
    """It is run in a transaction that reads only."""
    database.query("CREATE TABLE things (name text); INSERT INTO things VALUES ('a')")
    with pytest.raises(SidecarError) as caught:
        await first(database, "DELETE FROM things RETURNING name AS key")
    assert (Reason.ORIGIN_REFUSED, "25006") == (caught.value.reason, caught.value.metadata["code"])
    assert [["a"]] == database.query("SELECT name FROM things")


async def test_it_may_take_longer_than_a_load(database: Database) -> None:
    """It has a time-out of its own, here and at the server."""
    sql = "SELECT 'a' AS key FROM pg_sleep(0.5)"
    assert Listed(["a"]) == await first(database, sql, seconds=30.0, timeout=0.05)


async def test_its_time_out_ends_it_at_the_server_too(database: Database) -> None:
    """Nothing goes on that nobody waits for."""
    with pytest.raises(SidecarError) as caught:
        await first(database, "SELECT 'a' AS key FROM pg_sleep(60)", seconds=0.2)
    assert Reason.ORIGIN_TIMED_OUT is caught.value.reason
    await _ends(database)


async def test_who_leaves_ends_it_at_the_server_too(database: Database) -> None:
    """Long before its time-out."""
    origins = origins_of(database, "SELECT 'a' AS key FROM pg_sleep(60)", seconds=60.0)
    asked = asyncio.create_task(origins.key_queries["things"].first(1))
    async with asyncio.timeout(30):
        while not await active(database):
            await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await _ends(database)
    await origins.close()


async def test_a_connection_is_of_use_afterwards(database: Database) -> None:
    """Whether the query came to its end, was cut, or failed."""
    origins = origins_of(database, "SELECT (10 / (3 - n))::text AS key FROM generate_series(1, 9) n")
    query = origins.key_queries["things"]
    assert isinstance(query, KeyQuery)
    for limit, expected in ((1, Listed(["5"], cut=True)), (9, None), (1, Listed(["5"], cut=True))):
        if expected is None:
            with pytest.raises(SidecarError):
                await query.first(limit)
        else:
            assert expected == await query.first(limit)
    await origins.close()


async def _ends(database: Database) -> None:
    async with asyncio.timeout(30):
        while await active(database):
            await asyncio.sleep(0.01)


async def test_why_a_database_cannot_be_reached_is_said_with_a_query_too() -> None:
    """What looks at the query does not hide what was found with the statements of the same origin."""
    query = KeyQueryPolicy(statement=take_apart("SELECT 'a' AS key", QUERY_PARAMETERS), seconds=30.0, tenant="north")
    cache = CacheOriginPolicy(
        cache="things", origin="home", statements={"load": take_apart(LOAD, ("keys",))}, key_query=query
    )
    nobody = DatabasePolicy(gate=gate_policy(), url="postgresql://app@127.0.0.1:1/nothing")
    origins = Origins([nobody], [cache], max_value_bytes=1000, metrics=Metrics(), draw=lambda: 0.0)
    found = await origins.check()
    assert {"home": "the origin 'home' cannot be reached: connection refused"} == found.unreachable
    await origins.close()


async def test_what_is_wrong_with_the_configuration_is_no_refusal(database: Database) -> None:
    """As with a load: once the statement or the database is mended the keys can be had."""
    with pytest.raises(SidecarError) as caught:
        await first(database, "SELECT 'a' AS key FROM nothing_of_that_name")
    assert (Reason.ORIGIN_UNAVAILABLE, "42P01") == (caught.value.reason, caught.value.metadata["code"])
