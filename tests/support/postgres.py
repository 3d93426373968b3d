"""Real PostgreSQL servers, started, hurt and ended by the tests that own them.

What `initdb` makes is made once and copied, so that a server is there within a fraction of a second. A server that is
for one test costs more than a database that is: tests that do not hurt theirs share one (`database` in conftest.py).
PostgreSQL does not run as root; where the tests do, it has a user of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import pytest

from support.servers import PATIENCE_SECONDS, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

USER = "sidecar"
PASSWORD = "not-a-secret"
# Where Debian keeps them, a folder for each major version; the newest wins.
_DEBIAN = Path("/usr/lib/postgresql")
# In this order: the first is there once Debian's package has been installed.
_UNPRIVILEGED = ("postgres", "nobody")
# What a test's data are worth: nothing once it has ended.
_SETTINGS = (
    "fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off", "jit=off", "shared_buffers=16MB",
    "max_connections=200", "log_min_messages=fatal", "listen_addresses=127.0.0.1",
)  # fmt: skip
_POLL_SECONDS = 0.005


class _Runner(NamedTuple):
    """As whom PostgreSQL's programs run; None for as whom the tests do."""

    uid: int | None
    gid: int | None

    def give(self, folder: Path) -> None:
        """Make a folder or a file this user's own."""
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid)

    def run(self, command: Sequence[str | Path]) -> str:
        """Run a program to its end and return what it writes."""
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd="/", user=self.uid, group=self.gid,
            extra_groups=None if self.uid is None else [],
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr}")
        return done.stdout


class PostgresServer:
    """One server on 127.0.0.1 and on a Unix socket, with data of its own."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._runner = _runner()
        # Not in a folder of the tests', which PostgreSQL's user may not enter; and a socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="sidecar-pg-"))
        self._runner.give(self.folder)
        self._data = self.folder / "data"
        self._runner.run(["cp", "-r", "--reflink=auto", _template(), self._data])
        settings = [*_SETTINGS, f"port={self.port}", f"unix_socket_directories={self.folder}", *options]
        self._command = [binary_of("postgres"), "-D", str(self._data)]
        self._command += [part for setting in settings for part in ("-c", setting)]
        self._process: subprocess.Popen[bytes] | None = None

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Have it take TLS, from its next start on, with a certificate."""
        for name, source in (("server.crt", certificate), ("server.key", key)):
            copied = self._data / name
            shutil.copyfile(source, copied)
            copied.chmod(0o600)
            self._runner.give(copied)
        self._command += ["-c", "ssl=on"]

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, by TCP and with the password."""
        return f"postgresql://{USER}:{quote(PASSWORD)}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = "postgres") -> str:
        """Return the URL of a database by the Unix socket, which asks for no password."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self.folder), safe='')}&port={self.port}"

    @property
    def process_id(self) -> int:
        """The id of its first process."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
            user=self._runner.uid, group=self._runner.gid, extra_groups=None if self._runner.uid is None else [],
        )  # fmt: skip
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            if self._says_ready():
                return
            time.sleep(_POLL_SECONDS)
        raise RuntimeError(f"{self._command[0]} did not start")

    def query(self, statement: str, database: str = "postgres") -> list[list[str]]:
        """Run SQL by a client of another make, and return the rows as text; NULL is an empty text."""
        output = self._runner.run([
            binary_of("psql"), "-X", "-q", "-A", "-t", "-F", "\x1f", "-R", "\x1e", "-v", "ON_ERROR_STOP=1",
            "-d", self.socket_url(database), "-c", statement,
        ])  # fmt: skip
        return [row.split("\x1f") for row in output.removesuffix("\n").split("\x1e") if row]

    def create_database(self, name: str) -> None:
        """Make an empty database."""
        self.query(f'CREATE DATABASE "{name}" STRATEGY = FILE_COPY')

    def kill(self) -> None:
        """End it as a crash would: nothing is written down, and its next start has to recover."""
        self._signal(signal.SIGQUIT)
        self._wait()

    def drop_connections(self) -> None:
        """End all connections of clients, in the middle of whatever they do."""
        self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def resume(self) -> None:
        """End the hang."""
        for child in self._children():
            os.kill(child, signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good, and remove its data."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._signal(signal.SIGQUIT)
            self._wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _says_ready(self) -> bool:
        """Look at the last line of its file `postmaster.pid`, where it writes what state it is in."""
        # It is not there at first, and then empty.
        with contextlib.suppress(OSError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == self.process_id and lines[-1].strip() == "ready"
        return False

    def _children(self) -> list[int]:
        if self._process is None or self._process.poll() is not None:
            return []
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(child) for child in listed.split()]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(PATIENCE_SECONDS)


class Database(NamedTuple):
    """An empty database of a test's own, on a server that tests share."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        """Its URL, by TCP and with the password."""
        return self.server.url(self.name)

    def query(self, statement: str) -> list[list[str]]:
        """Run SQL in it, as `PostgresServer.query` does."""
        return self.server.query(statement, self.name)


def binary_of(program: str) -> str:
    """Return the path of one of PostgreSQL's programs; skips the test if it is missing."""
    folders = sorted(_DEBIAN.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    found = shutil.which(program, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    if found is None:
        if "SIDECAR_REQUIRE_POSTGRES" in os.environ:
            pytest.fail(f"SIDECAR_REQUIRE_POSTGRES is set, but there is no {program} of PostgreSQL")
        pytest.skip(f"no {program} of PostgreSQL")
    return found


def remove_template() -> None:
    """Remove what servers were copied from, once the last was."""
    if _template.cache_info().currsize:
        shutil.rmtree(_template().parent, ignore_errors=True)
        _template.cache_clear()


@cache
def _runner() -> _Runner:
    if os.geteuid() != 0:
        return _Runner(None, None)
    for name in _UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return _Runner(user.pw_uid, user.pw_gid)
    raise RuntimeError("PostgreSQL does not run as root, and there is no other user")


@cache
def _template() -> Path:
    """Return the data of a server that was never started."""
    initdb = binary_of("initdb")
    folder = Path(tempfile.mkdtemp(prefix="sidecar-pg-template-"))
    runner = _runner()
    runner.give(folder)
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    data = folder / "data"
    runner.run([
        initdb, "-D", data, "-U", USER, "--no-sync", "--encoding=UTF8", "--locale=C", "--auth-local=trust",
        "--auth-host=scram-sha-256", f"--pwfile={password}",
    ])  # fmt: skip
    return data
