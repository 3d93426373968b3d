"""A PostgreSQL database as an origin: what it has under keys, and changes that are made once or not at all."""

# ruff: noqa: E501, S608 (in the tables a case stays on one line; the statements are made of constants)

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.cutting_proxy import CuttingProxy
from support.origins import MAX_VALUE_BYTES, Made, call_within, gate_policy, made, said

from sidecar.cache.origin import Change, OriginValue
from sidecar.origins.applied import DEFAULT_TABLE, setup_sql
from sidecar.origins.policies import DatabasePolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.postgres import Database, PostgresServer

    from sidecar.origins.gate import GatePolicy

TABLES = f"""
CREATE TABLE things (name text PRIMARY KEY, content text NOT NULL CHECK (content <> 'bad'));
CREATE TABLE ledger (entry int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name text, content text);
{setup_sql(DEFAULT_TABLE)}
"""
LOAD = "SELECT name AS key, content AS value FROM things WHERE name = ANY(:keys)"
STORE = """
INSERT INTO things (name, content) VALUES (:key, :value)
ON CONFLICT (name) DO UPDATE SET content = excluded.content
"""
REMOVE = "DELETE FROM things WHERE name = :key"
KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Not idempotent: a second effect shows.
APPEND = "INSERT INTO ledger (name, content) VALUES (:key, :value)"


def policy_for(url: str, *, gate: GatePolicy | None = None, table: str | None = DEFAULT_TABLE) -> DatabasePolicy:
    """Return a policy for a database."""
    return DatabasePolicy(gate=gate or gate_policy(), url=url, applied_table=table)


@pytest.fixture
def tables(database: Database) -> Database:
    """Return a database with tables."""
    database.query(TABLES)
    return database


@pytest.fixture
async def home(tables: Database) -> AsyncIterator[Made]:
    """Return the origin of a cache of things."""
    thing = made(policy_for(tables.url), {"load": LOAD, "store": STORE, "remove": REMOVE})
    yield thing
    await thing.origins.close()


@pytest.fixture
async def appending(tables: Database) -> AsyncIterator[Made]:
    """Return an origin to which each change adds a row."""
    thing = made(policy_for(tables.url), {"load": LOAD, "store": APPEND})
    yield thing
    await thing.origins.close()


async def loaded(database: Database, statement: str, keys: list[str]) -> list[object]:
    """Return what a statement brings for keys."""
    thing = made(policy_for(database.url), {"load": statement})
    try:
        return said(await thing.origin.load(keys, call_within()))
    finally:
        await thing.origins.close()


@pytest.mark.parametrize("asked", [{"load": LOAD}, {"load": LOAD, "store": STORE}])
async def test_what_was_looked_at_is_not_held(tables: Database, asked: dict[str, str]) -> None:
    """Once the statements are prepared the connection is in no transaction, holds no lock, and no time runs out."""
    held = """
    SELECT state, xact_start IS NULL, (SELECT count(*) FROM pg_locks WHERE pg_locks.pid = pg_stat_activity.pid)
      FROM pg_stat_activity WHERE application_name = 'sidecar' AND datname = current_database()
    """
    thing = made(policy_for(tables.url), asked)
    found = await thing.origins.check()
    rows = await asyncio.to_thread(tables.query, held)
    await thing.origins.close()
    assert (((), {}), [["idle", "t", "0"]]) == (found, rows)


async def test_values_come_in_the_order_of_the_keys(home: Made, tables: Database) -> None:
    """A load answers for each key, in their order, and with nothing where there is no row."""
    tables.query("INSERT INTO things VALUES ('a', '1'), ('b', '2')")
    assert [b"2", None, b"1"] == said(await home.origin.load(["b", "x", "a"], call_within()))


async def test_a_value_may_be_text_json_or_bytes(database: Database) -> None:
    """Text comes as UTF-8, JSON as it is written, bytes as they are; NULL is nothing."""
    assert ["ä".encode()] == await loaded(database, "SELECT k AS key, 'ä' AS value FROM unnest(:keys::text[]) k", ["a"])
    json = "SELECT k AS key, jsonb_build_object('n', 1) AS value FROM unnest(:keys::text[]) k"
    assert [b'{"n": 1}'] == await loaded(database, json, ["a"])
    raw = "SELECT k AS key, '\\x00ff'::bytea AS value FROM unnest(:keys::text[]) k"
    assert [b"\x00\xff"] == await loaded(database, raw, ["a"])
    assert [None] == await loaded(database, "SELECT k AS key, NULL AS value FROM unnest(:keys::text[]) k", ["a"])


async def test_a_row_may_bring_its_ttl_and_tags(database: Database) -> None:
    """The columns `ttl_ms` and `tags` come with the value."""
    statement = "SELECT k AS key, 'v' AS value, 1500 AS ttl_ms, ARRAY['x', k] AS tags FROM unnest(:keys::text[]) k"
    assert [OriginValue(b"v", 1500, ("x", "a"))] == await loaded(database, statement, ["a"])


async def test_keys_may_be_numbers(database: Database) -> None:
    """A key is read as the column's type; one that cannot be is refused, and the others are loaded."""
    database.query("CREATE TABLE n (id bigint, v jsonb); INSERT INTO n VALUES (7, '1')")
    statement = "SELECT id AS key, v AS value FROM n WHERE id = ANY(:keys)"
    assert [b"1", "REFUSED 22P02", None] == await loaded(database, statement, ["7", "seven", "8"])


async def test_a_key_that_is_none_costs_the_others_little(database: Database) -> None:
    """Of a thousand keys one fails, after some twenty questions: whoever asks for it is not to hold up the rest."""
    database.query(
        "CREATE TABLE n (id bigint, v text); INSERT INTO n SELECT i, i::text FROM generate_series(0, 999) AS i"
    )
    thing = made(policy_for(database.url), {"load": "SELECT id AS key, v AS value FROM n WHERE id = ANY(:keys)"})
    keys = [str(number) for number in range(1_000)]
    keys[617] = "x"
    answers = said(await thing.origin.load(keys, call_within()))
    outcomes = thing.outcomes()
    await thing.origins.close()
    assert [b"%d" % number if number != 617 else "REFUSED 22P02" for number in range(1_000)] == answers
    assert (True, {"ok", "refused"}) == (sum(outcomes.values()) < 25, set(outcomes))


async def test_a_key_is_never_a_part_of_the_statement(home: Made, tables: Database) -> None:
    """Whatever a key is, it is compared and not run."""
    tables.query("INSERT INTO things VALUES ('a', '1')")
    keys = ["'; DROP TABLE things; --", "{a}", 'a","b', "\\", "$1", ":keys", "NULL"]
    assert [None] * len(keys) == said(await home.origin.load(keys, call_within()))
    assert [b"1"] == said(await home.origin.load(["a"], call_within()))


async def test_a_row_for_what_was_not_asked(database: Database) -> None:
    """A row with another key makes the keys without a row doubtful, and leaves the others alone."""
    statement = "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[] || '{z}') k WHERE k <> 'b'"
    assert [b"v", "ANSWER"] == await loaded(database, statement, ["a", "b"])


async def test_two_rows_for_a_key(database: Database) -> None:
    """A key with two rows has no answer; the others have theirs."""
    statement = "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[] || '{a}') k"
    assert ["ANSWER", b"v"] == await loaded(database, statement, ["a", "b"])


async def test_a_value_that_is_too_large(home: Made, tables: Database) -> None:
    """A value over the limit is refused by itself."""
    tables.query(f"INSERT INTO things VALUES ('a', repeat('x', {MAX_VALUE_BYTES + 1})), ('b', '2')")
    assert ["ANSWER", b"2"] == said(await home.origin.load(["a", "b"], call_within()))


@pytest.mark.parametrize(
    ("purpose", "sql", "problem"),
    [
        ("load", "SELECT name AS key, content AS value FORM things WHERE name = ANY(:keys)", 'syntax error at or near "FORM" (SQLSTATE 42601)'),
        ("load", "SELECT name AS key, nothing AS value FROM things WHERE name = ANY(:keys)", 'column "nothing" does not exist (SQLSTATE 42703)'),
        ("load", "SELECT name, content AS value FROM things WHERE name = ANY(:keys)", "returns no column `key`"),
        ("load", "SELECT name AS key, 1.5 AS value FROM things WHERE name = ANY(:keys)", "returns `value` as numeric: cast it to text, jsonb or bytea"),
        ("load", "SELECT name AS key, content AS value, now() AS ttl_ms FROM things WHERE name = ANY(:keys)", "returns `ttl_ms` as timestamptz: cast it to bigint"),
        ("load", "SELECT name AS key, content AS value FROM things WHERE name = :keys", "takes :keys for one text: it is an array, so write = ANY(:keys)"),
        ("store", "UPDATE things SET content = :value WHERE nme = :key", 'column "nme" does not exist (SQLSTATE 42703)'),
    ],
)  # fmt: skip
async def test_a_statement_that_is_none(tables: Database, purpose: str, sql: str, problem: str) -> None:
    """What is wrong with a statement is found by preparing it, and said with the setting that it stands in."""
    thing = made(policy_for(tables.url), {"load": LOAD, purpose: sql})
    findings = await thing.origins.check()
    await thing.origins.close()
    assert (f"caches.things.origin.{purpose}: {problem}",) == findings.problems


async def test_statements_that_were_checked_long_ago_still_answer(tables: Database) -> None:
    """What was checked leaves nothing running in the database that its time-out could end."""
    thing = made(policy_for(tables.url, gate=gate_policy(timeout=0.3)), {"load": LOAD})
    tables.query("INSERT INTO things VALUES ('a', 'one')")
    try:
        findings = await thing.origins.check()
        tables.query("SELECT pg_sleep(0.6)")
        answer = said(await thing.origin.load(["a"], call_within()))
    finally:
        await thing.origins.close()
    assert ((), [b"one"]) == (findings.problems, answer)


async def test_a_database_without_a_table_for_tokens(database: Database) -> None:
    """The missing table is named, with what makes it."""
    database.query("CREATE TABLE things (name text, content text)")
    thing = made(policy_for(database.url), {"load": LOAD, "store": "INSERT INTO things VALUES (:key, :value)"})
    findings = await thing.origins.check()
    await thing.origins.close()
    problem = (
        "there is no table sidecar_applied to keep tokens in: make it with what `sidecar sql setup` prints, or set "
    )
    assert (f"origins.home.applied_table: {problem}applied_table: null",) == findings.problems


async def test_a_table_that_changes(tables: Database, home: Made) -> None:
    """After a change of a column's type loads and changes go on, at the second call at the latest."""
    tables.query("INSERT INTO things VALUES ('7', '1')")
    assert [b"1"] == said(await home.origin.load(["7"], call_within()))
    tables.query("ALTER TABLE things ALTER COLUMN name TYPE bigint USING name::bigint")
    await home.origin.load(["7"], call_within())
    assert [b"1"] == said(await home.origin.load(["7"], call_within()))
    await home.origin.store([Change("8", b"2")], call_within())
    assert [None] == await home.origin.store([Change("8", b"3")], call_within())


# --- changes ---


async def test_changes_are_made_in_their_order(home: Made, tables: Database) -> None:
    """Of several changes of a key the last one stays; a removal removes."""
    changes = [Change("a", b"1"), Change("b", b"1"), Change("a", b"2"), Change("b", None), Change("c", b"3")]
    assert [None] * 5 == await home.origin.store(changes, call_within())
    assert [["a", "2"], ["c", "3"]] == tables.query("SELECT * FROM things ORDER BY name")


async def test_a_refused_change_leaves_the_others(home: Made, tables: Database) -> None:
    """One change that breaks a constraint is refused with its SQLSTATE, and the others are made."""
    changes = [Change("a", b"1"), Change("b", b"bad"), Change("c", b"\xff"), Change("d", b"4")]
    assert [None, "REFUSED 23514", "REFUSED 22021", None] == said(await home.origin.store(changes, call_within()))
    assert [["a", "1"], ["d", "4"]] == tables.query("SELECT * FROM things ORDER BY name")


async def test_what_a_database_says_is_not_repeated(home: Made) -> None:
    """An error's text holds neither the key nor the value, which PostgreSQL quotes."""
    (error,) = await home.origin.store([Change("key-4711", b"bad")], call_within())
    assert error is not None
    assert "the origin 'home' refuses it (23514)" == error.message


async def test_a_constraint_that_is_checked_at_the_commit(database: Database) -> None:
    """A deferred constraint refuses the change that breaks it, and no other."""
    database.query(
        "CREATE TABLE parents (id text PRIMARY KEY); INSERT INTO parents VALUES ('p');"
        "CREATE TABLE children (id text, of text REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"
    )
    asked = {"load": "SELECT id AS key, of AS value FROM children WHERE id = ANY(:keys)"}
    asked["store"] = "INSERT INTO children VALUES (:key, :value)"
    thing = made(policy_for(database.url, table=None), asked)
    changes = [Change("a", b"p"), Change("b", b"q"), Change("c", b"p")]
    assert [None, "REFUSED 23503", None] == said(await thing.origin.store(changes, call_within()))
    await thing.origins.close()
    assert [["a"], ["c"]] == database.query("SELECT id FROM children ORDER BY id")


async def test_a_removal_without_a_statement(appending: Made) -> None:
    """A removal is refused where none is configured."""
    assert ["REFUSED no_remove"] == said(await appending.origin.store([Change("a", None)], call_within()))


async def test_values_are_cast_to_what_the_statement_wants(database: Database) -> None:
    """Numbers, JSON and bytes are stored as such; what is none is refused."""
    database.query("CREATE TABLE v (k text, n numeric, j jsonb, b bytea)")
    results = []
    for column, value in (("n", b"1.50"), ("j", b'{"a":1}'), ("b", b"\x00\xff"), ("n", b"one"), ("j", b"{")):
        asked = {"load": "SELECT k AS key, k AS value FROM v WHERE k = ANY(:keys)"}
        asked["store"] = f"INSERT INTO v (k, {column}) VALUES (:key, :value)"
        thing = made(policy_for(database.url, table=None), asked)
        results += said(await thing.origin.store([Change(column, value)], call_within()))
        await thing.origins.close()
    assert [None, None, None, "REFUSED 22P02", "REFUSED 22P02"] == results
    assert [["1.50", '{"a": 1}', "\\x00ff"]] == database.query("SELECT max(n), max(j::text), max(b::text) FROM v")


# --- once ---


async def test_a_change_that_is_sent_again_has_no_second_effect(appending: Made, tables: Database) -> None:
    """A token that was applied is not applied again, whether it comes alone, among others or twice at once."""
    first, second = Change("a", b"1", "t1"), Change("a", b"2", "t2")
    assert [None] == await appending.origin.store([first], call_within())
    assert [None] * 3 == await appending.origin.store([first, second, second], call_within())
    assert [None] == await appending.origin.store([second], call_within())
    assert [["1"], ["2"]] == tables.query("SELECT content FROM ledger ORDER BY entry")


@pytest.mark.parametrize(
    ("breaks", "mends", "code"),
    [
        ("ALTER TABLE things RENAME TO gone", "ALTER TABLE gone RENAME TO things", "42P01"),
        ("ALTER TABLE things RENAME content TO text", "ALTER TABLE things RENAME text TO content", "42703"),
        ("ALTER TABLE sidecar_applied RENAME TO gone", "ALTER TABLE gone RENAME TO sidecar_applied", "42P01"),
    ],
)
@pytest.mark.parametrize("is_prepared", [True, False])
async def test_what_is_not_as_configured_is_no_refusal(
    tables: Database, breaks: str, mends: str, code: str, *, is_prepared: bool
) -> None:
    """Nothing is made of several changes, which all can be made once it is mended; the breaker stays closed."""
    statements = {"load": "SELECT 'k' AS key, 'v' AS value WHERE 'k' = ANY(:keys)", "store": STORE, "remove": REMOVE}
    home = made(policy_for(tables.url, gate=gate_policy(failures=1)), statements)
    if is_prepared:
        assert [None] == await home.origin.store([Change("z", b"0", "t0")], call_within())
    tables.query(breaks)
    changes = [Change("a", b"1", "t1"), Change("b", b"2", "t2")]
    for _ in range(3):
        assert [f"UNAVAILABLE {code}"] * 2 == said(await home.origin.store(changes, call_within()))
    assert [b"v"] == said(await home.origin.load(["k"], call_within()))
    tables.query(mends)
    assert [None, None] == await home.origin.store(changes, call_within())
    assert [["1"], ["2"]] == tables.query("SELECT content FROM things WHERE name <> 'z' ORDER BY name")
    await home.origins.close()


async def test_a_refused_change_keeps_no_token(home: Made, tables: Database) -> None:
    """A change that was refused can be made under the same token once what it broke is gone."""
    assert ["REFUSED 23514"] == said(await home.origin.store([Change("a", b"bad", "t")], call_within()))
    tables.query("ALTER TABLE things DROP CONSTRAINT things_content_check")
    assert [None] == await home.origin.store([Change("a", b"bad", "t")], call_within())
    assert [["bad"]] == tables.query("SELECT content FROM things")


async def test_the_same_change_sent_by_many_at_once(tables: Database) -> None:
    """Of twenty who send the same changes at the same time one has an effect, and none an error."""
    changes = [Change(f"k{number}", b"1", f"t{number}") for number in range(10)]
    senders = [made(policy_for(tables.url), {"load": LOAD, "store": APPEND}) for _ in range(5)]
    calls = [sender.origin.store(changes[::step], call_within()) for sender in senders for step in (1, -1, 1, -1)]
    assert {None} == {result for results in await asyncio.gather(*calls) for result in results}
    for sender in senders:
        await sender.origins.close()
    assert [["10", "10"]] == tables.query("SELECT count(*), count(DISTINCT name) FROM ledger")


@pytest.mark.parametrize("passes_on", [False, True])
@pytest.mark.parametrize("pattern", [b"BEGIN", b"what is sent", b"COMMIT"])
async def test_a_change_whose_connection_is_cut(tables: Database, pattern: bytes, *, passes_on: bool) -> None:
    """Wherever the connection is cut, a change with a token is made once, and says so."""
    async with CuttingProxy(tables.server.port) as proxy:
        url = tables.url.replace(f":{tables.server.port}/", f":{proxy.port}/")
        thing = made(policy_for(url), {"load": LOAD, "store": APPEND})
        await thing.origin.store([Change("a", b"0", "t0")], call_within())
        proxy.cut_at(pattern, passes_on=passes_on)
        assert [None] == await thing.origin.store([Change("a", b"what is sent", "t1")], call_within())
        await thing.origins.close()
    assert 1 == proxy.was_cut
    assert [["0"], ["what is sent"]] == tables.query("SELECT content FROM ledger ORDER BY entry")


async def test_a_change_without_a_token_whose_commit_is_cut(tables: Database) -> None:
    """Without a token nobody can know, and the change is not sent again."""
    async with CuttingProxy(tables.server.port) as proxy:
        url = tables.url.replace(f":{tables.server.port}/", f":{proxy.port}/")
        thing = made(policy_for(url), {"load": LOAD, "store": APPEND})
        proxy.cut_at(b"COMMIT", passes_on=True)
        assert ["OUTCOME_UNKNOWN"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
        await thing.origins.close()


async def test_a_change_that_stays_unknown(tables: Database) -> None:
    """If the second attempt's commit is cut too, the outcome is unknown, and a third with the token has it once."""
    async with CuttingProxy(tables.server.port) as proxy:
        url = tables.url.replace(f":{tables.server.port}/", f":{proxy.port}/")
        thing = made(policy_for(url), {"load": LOAD, "store": APPEND})
        proxy.cut_at(b"COMMIT", passes_on=False, times=2)
        assert ["OUTCOME_UNKNOWN"] == said(await thing.origin.store([Change("a", b"1", "t")], call_within()))
        assert [None] == await thing.origin.store([Change("a", b"1", "t")], call_within())
        await thing.origins.close()
    assert [["1"]] == tables.query("SELECT content FROM ledger")


async def test_sends_repeated_under_killed_connections(tables: Database) -> None:
    """Changes that are sent until they succeed, while connections are killed, are each made exactly once."""
    thing = made(policy_for(tables.url, gate=gate_policy(max_concurrency=4)), {"load": LOAD, "store": APPEND})
    batches = [[Change(f"k{b}-{n}", b"v", f"t{b}-{n}") for n in range(5)] for b in range(40)]

    async def send(batch: list[Change]) -> None:
        while any(await thing.origin.store(batch, call_within())):
            pass

    async def kill() -> None:
        while True:
            await asyncio.to_thread(tables.query, KILL)

    killing = asyncio.create_task(kill())
    for begun in range(0, len(batches), 8):
        await asyncio.gather(*(send(batch) for batch in batches[begun : begun + 8]))
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    await thing.origins.close()
    assert [["200", "200"]] == tables.query("SELECT count(*), count(DISTINCT name) FROM ledger")
    assert [["200"]] == tables.query("SELECT count(*) FROM sidecar_applied")


def test_old_tokens_are_deleted_by_what_the_setup_says(tables: Database) -> None:
    """Those that no change is sent with any more, by the index."""
    tables.query(
        "INSERT INTO sidecar_applied SELECT 'old' || n, now() - interval '33 days' FROM generate_series(1, 9) n"
    )
    tables.query("INSERT INTO sidecar_applied VALUES ('young', now() - interval '31 days'), ('new', now())")
    statement = next(line for line in setup_sql(DEFAULT_TABLE).splitlines() if "DELETE" in line).removeprefix("--")
    plan = tables.query(f"SET enable_seqscan = off; EXPLAIN {statement}")
    tables.query(statement)
    assert any("sidecar_applied_by_time" in row[0] for row in plan)
    assert [["new"], ["young"]] == tables.query("SELECT token FROM sidecar_applied ORDER BY 1")


# --- a database that is slow, or gone ---


async def test_a_slow_load_ends_at_the_origins_timeout(database: Database) -> None:
    """The origin's own bound ends a load, whatever the caller's deadline; the next one is served."""
    slow = "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k, pg_sleep(CASE k WHEN 'slow' THEN 30 ELSE 0 END)"
    thing = made(policy_for(database.url, gate=gate_policy(timeout=0.3, max_concurrency=1)), {"load": slow})
    await thing.origin.load(["a"], call_within())
    assert ["TIMED_OUT"] == said(await thing.origin.load(["slow"], call_within(30)))
    assert [b"v"] == said(await thing.origin.load(["a"], call_within()))
    await thing.origins.close()


async def test_a_slow_load_ends_at_the_deadline(database: Database) -> None:
    """The call's deadline ends a load before that."""
    slow = "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k, pg_sleep(30)"
    thing = made(policy_for(database.url), {"load": slow})
    assert ["TIMED_OUT"] == said(await thing.origin.load(["a"], call_within(0.2)))
    await thing.origins.close()


async def test_a_change_that_is_too_late_changes_nothing(database: Database) -> None:
    """What ends before its commit was sent changed nothing, and says that."""
    database.query("CREATE TABLE s (k text)")
    asked = {"load": "SELECT k AS key, k AS value FROM s WHERE k = ANY(:keys)"}
    asked["store"] = "INSERT INTO s SELECT :key::text || :value::text FROM pg_sleep(0.6)"
    thing = made(policy_for(database.url, table=None, gate=gate_policy(timeout=0.2)), asked)
    assert ["UNAVAILABLE"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
    await thing.origins.close()
    await asyncio.sleep(0.5)
    assert [] == database.query("SELECT * FROM s")


async def test_a_database_that_hangs(postgres: PostgresServer) -> None:
    """While it hangs loads end in their time; once it answers again they succeed."""
    asked = {"load": "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k"}
    thing = made(policy_for(postgres.url(), gate=gate_policy(timeout=0.3)), asked)
    await thing.origin.load(["a"], call_within())
    postgres.pause()
    assert ["TIMED_OUT"] == said(await thing.origin.load(["a"], call_within()))
    postgres.resume()
    assert [b"v"] == said(await thing.origin.load(["a"], call_within()))
    await thing.origins.close()


async def test_a_database_that_is_gone_and_comes_back(postgres: PostgresServer) -> None:
    """Without a server loads and changes are unavailable, with a wait; with it again they succeed."""
    asked = {"load": "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k", "store": "SELECT :key, :value"}
    thing = made(policy_for(postgres.url(), table=None), asked)
    await thing.origin.load(["a"], call_within())
    postgres.kill()
    (error,) = await thing.origin.load(["a"], call_within())
    assert ["UNAVAILABLE"] == said([error])
    assert getattr(error, "retry_after_ms", None)
    assert ["UNAVAILABLE"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
    assert {"home": "the origin 'home' cannot be reached: connection refused"} == (
        await thing.origins.check()
    ).unreachable
    postgres.start()
    assert [b"v"] == said(await thing.origin.load(["a"], call_within()))
    await thing.origins.close()


async def test_a_restart_costs_no_load(postgres: PostgresServer) -> None:
    """Loads over connections that died meanwhile go over a fresh one."""
    asked = {"load": "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k"}
    thing = made(policy_for(postgres.url()), asked)
    await asyncio.gather(*(thing.origin.load(["a"], call_within()) for _ in range(4)))
    postgres.kill()
    postgres.start()
    assert [b"v"] == said(await thing.origin.load(["a"], call_within()))
    await thing.origins.close()


async def test_a_wrong_password(shared_postgres: PostgresServer) -> None:
    """A refused login is no refusal of what was asked: it may do later. Its code is said, the password is not."""
    asked = {"load": "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k"}
    policy = DatabasePolicy(gate=gate_policy(), url=shared_postgres.url(), password="wrong-password")
    thing = made(policy, asked)
    (error,) = await thing.origin.load(["a"], call_within())
    await thing.origins.close()
    assert "the origin 'home' refuses the login (SQLSTATE 28P01); nothing was changed" == str(error)
    assert "wrong-password" not in repr(policy)
    assert "not-a-secret" not in repr(policy)


async def test_a_cancelled_load_leaves_no_connection_behind(database: Database) -> None:
    """Whoever gives up a load frees its place for the next one."""
    slow = "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k, pg_sleep(CASE k WHEN 'slow' THEN 30 ELSE 0 END)"
    thing = made(policy_for(database.url, gate=gate_policy(max_concurrency=1)), {"load": slow})
    await thing.origin.load(["a"], call_within())
    loading = asyncio.ensure_future(thing.origin.load(["slow"], call_within()))
    await asyncio.sleep(0.05)
    loading.cancel()
    await asyncio.wait([loading])
    assert [b"v"] == said(await thing.origin.load(["a"], call_within()))
    await thing.origins.close()
