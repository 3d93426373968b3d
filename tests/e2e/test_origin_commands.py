"""Origins as an operator meets them: SQL to set up, a check against the real database, and a start that is refused."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2
from support.contract import refusal
from support.programs import SidecarProgram, environment, is_alive, run_sidecar
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import Database

LOAD = "SELECT id AS key, total::text AS value FROM balance WHERE id = any(:keys)"
STORE = "INSERT INTO balance (id, total) VALUES (:key, :value) ON CONFLICT (id) DO UPDATE SET total = excluded.total"
_LOGGED = re.compile(r"^\S+Z? ?(?:\S+ )?(?:DEBUG|INFO|WARNING) ")
TABLES = "CREATE TABLE balance (id text PRIMARY KEY, total numeric NOT NULL, told timestamptz)"


def written(folder: Path, text: str) -> Path:
    """Return a configuration file."""
    path = folder / "sidecar.yaml"
    path.write_text(text)
    return path


def caches(**asked: str) -> str:
    """Return the section of caches that ask the origin `ledger`, by their names."""
    lines = [f"  {name}: {{strategy: read_through, origin: {{name: ledger, {keys}}}}}" for name, keys in asked.items()]
    return "\n".join(["caches:", *lines, ""])


def quoted(sql: str) -> str:
    """Return SQL as it stands in a flow mapping."""
    return '"' + sql.replace('"', '\\"') + '"'


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Return a port where connections are taken, and nothing is said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


class TestSqlSetup:
    """`sidecar sql setup`."""

    def test_makes_what_the_sidecar_needs(self, tmp_path: Path, database: Database) -> None:
        """As the check of the configuration sees: before it is run and after; to run it again changes nothing."""
        table = "bank.tokens"
        database.query(f"{TABLES}; CREATE SCHEMA bank")
        path = written(
            tmp_path,
            f"origins: {{ledger: {{kind: postgres, url: '{database.url}', applied_table: {table}}}}}\n"
            + caches(balances=f"load: {quoted(LOAD)}, store: {quoted(STORE)}").replace("read_through", "write_through"),
        )
        before = run_sidecar("check-config", "--connect", str(path))
        printed = run_sidecar("sql", "setup", "--table", table)
        assert (0, "") == (printed.returncode, printed.stderr)
        for _ in range(2):
            database.query(printed.stdout)
        after = run_sidecar("check-config", "--connect", str(path))
        said = f"origins.ledger.applied_table: there is no table {table} to keep tokens in: make it with what "
        assert (2, said) == (before.returncode, before.stderr[: len(said)])
        assert (0, f"{path}: no problems found\n", "") == (after.returncode, after.stdout, after.stderr)
        database.query("INSERT INTO bank.tokens (token) VALUES ('t')")
        assert [["t", "t"]] == database.query("SELECT token, applied_at <= now() FROM bank.tokens")

    def test_a_table_that_is_no_name(self) -> None:
        """Is refused: it becomes part of SQL."""
        printed = run_sidecar("sql", "setup", "--table", "a; DROP TABLE b")
        assert (2, "") == (printed.returncode, printed.stdout)
        assert "--table is a name of small letters, digits and _" in printed.stderr


class TestCheckConfigConnect:
    """`sidecar check-config --connect`."""

    def test_every_statement_that_the_database_does_not_take(self, tmp_path: Path, database: Database) -> None:
        """Is said at once, each with its setting: what does not parse, what there is not, what has the wrong type."""
        database.query(TABLES)
        config = caches(
            good=f"load: {quoted(LOAD)}",
            syntax=f"load: {quoted(LOAD.replace('FROM', 'FORM'))}",
            column=f"load: {quoted(LOAD.replace('total', 'totl'))}",
            table=f"load: {quoted(LOAD.replace('balance', 'balances'))}",
            number=f"load: {quoted(LOAD.replace('::text', ''))}",
            life=f"load: {quoted(LOAD.replace(' FROM', ', told AS ttl_ms FROM'))}",
            names=f"load: {quoted(LOAD.replace(' AS key', ''))}",
            one=f"load: {quoted(LOAD.replace('any(:keys)', ':keys'))}",
            two=f"load: {quoted(LOAD)}".replace("(:keys)", "(:keys); DELETE FROM balance"),
            stored=f"load: {quoted(LOAD)}, store: {quoted(STORE.replace('total)', 'totl)'))}",
        ).replace("stored: {strategy: read_through", "stored: {strategy: write_through")
        origin = f"origins: {{ledger: {{kind: postgres, url: '{database.url}', applied_table: null}}}}\n"
        checked = run_sidecar("check-config", "--connect", str(written(tmp_path, origin + config)))
        assert (2, "") == (checked.returncode, checked.stdout)
        assert [
            'caches.syntax.origin.load: syntax error at or near "FORM" (SQLSTATE 42601)',
            'caches.column.origin.load: column "totl" does not exist (SQLSTATE 42703)',
            'caches.table.origin.load: relation "balances" does not exist (SQLSTATE 42P01)',
            "caches.number.origin.load: returns `value` as numeric: cast it to text, jsonb or bytea",
            "caches.life.origin.load: returns `ttl_ms` as timestamptz: cast it to bigint",
            "caches.names.origin.load: returns no column `key`",
            "caches.one.origin.load: takes :keys for one text: it is an array, so write = ANY(:keys)",
            "caches.two.origin.load: cannot insert multiple commands into a prepared statement (SQLSTATE 42601)",
            'caches.stored.origin.store: column "totl" of relation "balance" does not exist (SQLSTATE 42703)',
        ] == checked.stderr.splitlines()
        assert [["0"]] == database.query("SELECT count(*) FROM balance")

    def test_every_database_that_cannot_be_asked(self, tmp_path: Path, database: Database, silent_port: int) -> None:
        """Is said with the reason, and no password."""
        nobody = free_port()
        urls = {
            "nobody": f"postgresql://app:secret-canary@127.0.0.1:{nobody}/bank",
            "nowhere": "postgresql://app:secret-canary@db.invalid/bank",
            "login": database.url.replace("not-a-secret", "secret-canary"),
            "missing": database.url.replace(database.name, "no_such_database"),
            "plain": f"{database.url}?sslmode=require",
            "odd": f"{database.url}?shared_bufers=1",
            "hang": f"postgresql://app:secret-canary@127.0.0.1:{silent_port}/bank",
        }
        origins = "\n".join(f"  {name}: {{kind: postgres, url: '{url}', timeout: 1s}}" for name, url in urls.items())
        asked = "\n".join(
            f"  of_{name}: {{strategy: read_through, origin: {{name: {name}, load: {quoted(LOAD)}}}}}" for name in urls
        )
        path = written(tmp_path, f"origins:\n{origins}\ncaches:\n{asked}\n")
        checked = run_sidecar("check-config", "--connect", str(path))
        assert (2, "") == (checked.returncode, checked.stdout)
        assert [
            'origins.odd.url: unrecognized configuration parameter "shared_bufers" (SQLSTATE 42704)',
            "origins.nobody: the origin 'nobody' cannot be reached: connection refused",
            "origins.nowhere: the origin 'nowhere' cannot be reached: its host name does not resolve",
            "origins.login: the origin 'login' refuses the login (SQLSTATE 28P01)",
            "origins.missing: the origin 'missing' has no such database (SQLSTATE 3D000)",
            "origins.plain: the origin 'plain' cannot be reached: it takes no TLS",
            "origins.hang: the origin 'hang' has not answered in its time",
        ] == checked.stderr.splitlines()

    def test_variables_and_files(self, tmp_path: Path, database: Database) -> None:
        """Those that are not there, or do not hold what they should, are said at once, without what they hold."""
        (tmp_path / "no.pem").write_text("secret-canary")
        origins = {
            "url": "kind: postgres, url_env: URL_UNSET",
            "no_url": "kind: postgres, url_env: URL_WRONG",
            "password": f"kind: postgres, url: '{database.url}', password_env: PASSWORD_UNSET",
            "mode": f"kind: postgres, url: '{database.url}?sslmode=ful'",
            "roots": f"kind: postgres, url: '{database.url}?sslmode=verify-full&sslrootcert=/none.pem'",
            "key": f"kind: postgres, url: '{database.url}?sslmode=require&sslkey=/none.key'",
            "bearer": "kind: http, url: 'https://billing.example', bearer_env: BEARER_UNSET",
            "web": f"kind: http, url: 'https://billing.example', ca_file: {tmp_path}/no.pem",
            "service": f"kind: service, address: 'billing:1', ca_file: {tmp_path}/no.pem",
            "file": "kind: service, address: 'billing:1', ca_file: /none.pem",
        }
        asked = {name: f", load: {quoted(LOAD)}" if "postgres" in origin else "" for name, origin in origins.items()}
        asked |= dict.fromkeys(("bearer", "web"), ", load: '/{key}'")
        lines = ["origins:", *(f"  {name}: {{{origin}}}" for name, origin in origins.items()), "caches:"]
        lines += [f"  of_{name}: {{origin: {{name: {name}{asked[name]}}}}}" for name in origins]
        path = written(tmp_path, "\n".join(lines) + "\n")
        environ = environment(URL_WRONG="mysql://app:secret-canary@db/bank")
        checked = run_sidecar("check-config", "--connect", str(path), environ=environ)
        assert [
            "origins.url.url_env: the environment variable URL_UNSET is not set",
            "origins.no_url.url_env: URL_WRONG: the database's URL must begin with postgresql://",
            "origins.password.password_env: the environment variable PASSWORD_UNSET is not set",
            "origins.roots.url: sslrootcert: /none.pem: No such file or directory",
            "origins.key.url: sslkey: /none.key: No such file or directory",
            "origins.bearer.bearer_env: the environment variable BEARER_UNSET is not set",
            f"origins.web.ca_file: {tmp_path}/no.pem: holds no certificates (PEM)",
            f"origins.service.ca_file: {tmp_path}/no.pem: holds no certificates (PEM)",
            "origins.file.ca_file: /none.pem: No such file or directory",
        ] == checked.stderr.splitlines()
        assert (2, "") == (checked.returncode, checked.stdout)

    def test_variables_that_are_set(self, tmp_path: Path, database: Database) -> None:
        """The URL and the password come from them."""
        database.query(TABLES)
        path = written(
            tmp_path,
            "origins: {ledger: {kind: postgres, url_env: LEDGER_URL, password_env: LEDGER_PASSWORD}}\n"
            + caches(balances=f"load: {quoted(LOAD)}"),
        )
        url = database.url.replace(":not-a-secret", "")
        environ = environment(LEDGER_URL=url, LEDGER_PASSWORD="not-a-secret")
        checked = run_sidecar("check-config", "--connect", str(path), environ=environ)
        assert (0, "") == (checked.returncode, checked.stderr)


class TestServe:
    """`sidecar serve` with what cannot be."""

    @pytest.mark.parametrize("workers", [1, 2])
    def test_malformed_sql(self, tmp_path: Path, database: Database, workers: int) -> None:
        """Ends the start with code 2 and the statement's setting; nothing that was started goes on."""
        program = SidecarProgram(
            tmp_path,
            config="listen: ['{address}']\n"
            f"workers: {workers}\n"
            f"origins: {{ledger: {{kind: postgres, url: '{database.url}'}}}}\n"
            + caches(balances=f"load: {quoted(LOAD.replace('FROM', 'FORM'))}"),
        ).spawn()
        try:
            assert 2 == program.wait()
        finally:
            program.stop()
        problem = 'caches.balances.origin.load: syntax error at or near "FORM" (SQLSTATE 42601)'
        assert ("", [problem]) == (program.output, told_by(program))
        assert [] == left_behind(tmp_path)
        assert not listens(program.address)
        assert [["0"]] == database.query("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sidecar%'")

    def test_malformed_event_rules(self, tmp_path: Path) -> None:
        """End it with code 2 before anything was started, each rule with a line."""
        program = SidecarProgram(
            tmp_path,
            config="""\
listen: ['{address}']
caches: {plain: {}, bare: {format: raw, key_prefix: 'x:'}}
events:
  posted:
    pubsub: {channels: [posted]}
    rules:
      - {cache: nope, keys: ["{id}"]}
      - {cache: plain, tags: ["{id}"]}
      - {cache: bare, keys: ["{id}"]}
""",
        ).spawn()
        try:
            assert 2 == program.wait()
        finally:
            program.stop()
        path = tmp_path / "sidecar.yaml"
        lines = program.errors.splitlines()
        assert all(re.match(rf"{re.escape(str(path))}:\d+: events\.posted\.rules\[", line) for line in lines), lines
        assert [0, 1, 2] == sorted(int(line.partition("rules[")[2][0]) for line in lines)
        assert ("", False, []) == (program.output, program.state.exists(), left_behind(tmp_path))

    def test_a_database_that_is_not_there(self, tmp_path: Path) -> None:
        """Is no reason not to start: it is told, and asked when it is used."""
        config = "listen: ['{address}']\n" + (
            f"origins: {{ledger: {{kind: postgres, url: 'postgresql://app:secret-canary@127.0.0.1:{free_port()}/bank'}}}}\n"
            + caches(balances=f"load: {quoted(LOAD)}")
        )
        with SidecarProgram(tmp_path, config=config) as program, program.api() as api:
            refused = refusal(lambda: api.cache.Get(cache_pb2.GetRequest(cache="balances", key="a")))
            told = program.errors
        said = "the origin 'ledger' cannot be reached: connection refused"
        assert f"WARNING sidecar.origins: {said}; its statements are looked at when it is first used" in told
        assert ("ORIGIN_UNAVAILABLE", f"{said}; nothing was changed") == (refused.reason, refused.message)
        assert "secret-canary" not in told


def told_by(program: SidecarProgram) -> list[str]:
    """Return what a program wrote to standard error beside its log."""
    return [line for line in program.errors.splitlines() if not _LOGGED.search(line)]


def listens(address: str) -> bool:
    """Say whether anybody takes connections at an address."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def left_behind(folder: Path) -> list[int]:
    """Return the processes that have a folder in their command line or environment, and are not this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            about = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if bytes(folder) in about and int(process.name) != os.getpid() and is_alive(int(process.name)):
                found.append(int(process.name))
    return found
