"""The PostgreSQL that other tests run against: a database of each one's own, and one that can be hurt."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.postgres import binary_of

if TYPE_CHECKING:
    from support.postgres import Database, PostgresServer


def test_a_database_keeps_what_is_written(database: Database) -> None:
    """Rows come back as they were written, NULL as nothing."""
    database.query("CREATE TABLE t (a text, b int); INSERT INTO t VALUES ('x', 1), (NULL, 2)")
    assert [["x", "1"], ["", "2"]] == database.query("SELECT a, b FROM t ORDER BY b")


def test_a_crash_keeps_what_was_committed(postgres: PostgresServer) -> None:
    """After a crash and another start there is what was committed before."""
    postgres.query("CREATE TABLE t (a int); INSERT INTO t VALUES (7)")
    postgres.query("CHECKPOINT")
    postgres.kill()
    postgres.start()
    assert [["7"]] == postgres.query("SELECT a FROM t")


def test_a_paused_server_does_not_answer(postgres: PostgresServer) -> None:
    """A paused server takes a connection and says nothing; once resumed it answers."""
    postgres.pause()
    command = [binary_of("psql"), "-X", "-At", "-d", postgres.url(), "-c", "SELECT 5"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, check=True, capture_output=True, timeout=0.3)
    postgres.resume()
    assert b"5\n" == subprocess.run(command, check=True, capture_output=True).stdout


def test_a_wrong_password_is_refused(shared_postgres: PostgresServer) -> None:
    """Over TCP the password counts."""
    wrong = shared_postgres.url().replace(":not-a-secret@", ":wrong@")
    done = subprocess.run([binary_of("psql"), "-X", "-d", wrong, "-c", "SELECT 1"], check=False, capture_output=True)
    assert done.returncode != 0
    assert b"authentication failed" in done.stderr
