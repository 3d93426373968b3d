"""A PostgreSQL of the example's own, on a Unix socket and a port of 127.0.0.1, with its data in a folder.

It needs PostgreSQL's programs and nothing else; `apt-get install postgresql` brings them on Debian. PostgreSQL refuses
to run as root: where the example does, it runs as the user `postgres`, or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEBIAN = Path("/usr/lib/postgresql")
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02


class PostgresMissingError(Exception):
    """There is no PostgreSQL on this machine, or it does not start; the text says what to do."""


class Postgres:
    """A server, started on entering a `with` block and stopped on leaving it; its data stay."""

    def __init__(self, folder: Path, *, settings: Sequence[str] = ()) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._settings = settings
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._make_data()
        self.port = _free_port()
        log = (self._folder / "postgres.log").open("wb")
        settings = [
            f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}",
            *self._settings,
        ]  # fmt: skip
        words = [word for setting in settings for word in ("-c", setting)]
        with log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self._data, *words],
                stdout=log, stderr=log, cwd="/", start_new_session=True, **self._as_user(),
            )  # fmt: skip
        self._wait(self._process)
        return self

    def __exit__(self, *failure: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_STOP_SECONDS)

    @property
    def url(self) -> str:
        """The URL of the database."""
        return f"postgresql://balances@127.0.0.1:{self.port}/postgres"

    @property
    def process_id(self) -> int:
        """The id of its first process, the parent of all others."""
        if self._process is None:
            raise PostgresMissingError("PostgreSQL was not started")
        return self._process.pid

    def version(self) -> str:
        """Return the server's version, as in 15.18."""
        said = subprocess.run([_program("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
        return said.removeprefix("postgres (PostgreSQL)").split()[0]

    def run(self, sql: str) -> None:
        """Run statements; raises `PostgresMissingError` with what is wrong with them."""
        command = [_program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", self.url]
        done = subprocess.run(command, input=sql, text=True, capture_output=True, check=False)
        if done.returncode:
            raise PostgresMissingError(f"psql ended with {done.returncode}: {done.stderr.strip()}")

    def _make_data(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        if (self._data / "PG_VERSION").exists():
            return
        # On this machine's loopback, behind which there are made-up figures alone, nobody is asked who they are.
        command = [
            _program("initdb"),
            "-D",
            str(self._data),
            "-U",
            "balances",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._as_user())
        if done.returncode:
            raise PostgresMissingError(f"initdb ended with {done.returncode}: {done.stderr.strip()}")

    def _as_user(self) -> dict[str, Any]:
        user = self._user
        return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _START_SECONDS
        ready = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if process.poll() is not None or time.monotonic() > until:
                log = (self._folder / "postgres.log").read_text(encoding="utf-8", errors="replace")
                raise PostgresMissingError(f"PostgreSQL did not start; the last it said:\n{log[-2000:]}")
            time.sleep(_POLL_SECONDS)


def _program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs, of its newest version."""
    versions = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True)
    found = str(versions[0]) if versions else shutil.which(name)
    if found is None:
        raise PostgresMissingError(f"there is no {name} on this machine; install PostgreSQL (Debian: postgresql)")
    return found


def _unprivileged() -> pwd.struct_passwd | None:
    """Return whom PostgreSQL runs as; None for whoever runs the example."""
    if os.geteuid():
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
