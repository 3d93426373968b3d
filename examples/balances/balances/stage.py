"""All that the example needs, started and stopped: a PostgreSQL with accounts, its triggers, a sidecar before it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from balances.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONFIG = Path(__file__).parent.parent / "sidecar.yaml"
_SCHEMA = Path(__file__).parent / "schema.sql"
# What the configuration, and the service without a sidecar, read the database's URL from.
URL_VARIABLE = "BALANCES_DATABASE"
# The console script beside the interpreter that runs this.
_SIDECAR = Path(sys.executable).parent / "sidecar"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02


class SidecarFailedError(Exception):
    """The sidecar did not start; the text is what it said."""


class Stage(NamedTuple):
    """What runs."""

    postgres: Postgres
    sidecar: subprocess.Popen[bytes]


@contextmanager
def set_up(folder: Path, *, address: str, accounts: int, overrides: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Start everything for the length of a `with` block; data stay in `folder`.

    `overrides` are settings of the sidecar as environment variables (`SIDECAR_...`).
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(set_up_database(folder, accounts=accounts))
        environ = {
            **os.environ,
            "SIDECAR_STATE_DIR": str(folder / "state"),
            URL_VARIABLE: postgres.url,
            **(overrides or {}),
        }
        yield Stage(postgres, stack.enter_context(_sidecar(address, environ, folder / "sidecar.log")))


@contextmanager
def set_up_database(folder: Path, *, accounts: int) -> Iterator[Postgres]:
    """Start the database alone, with accounts and the triggers that the configuration asks for."""
    with Postgres(folder / "postgres") as postgres:
        postgres.run(_SCHEMA.read_text(encoding="utf-8"))
        postgres.run(made_up(accounts))
        environ = {**os.environ, URL_VARIABLE: postgres.url}
        postgres.run(_output([str(_SIDECAR), "sql", "triggers", "--config", str(CONFIG)], environ))
        yield postgres


def made_up(accounts: int, postings: int = 50) -> str:
    """Return SQL that makes so many accounts, with so many postings each, where there are none."""
    amounts = random.Random(17)  # noqa: S311 (figures of an example)
    names = [f"('account-{number}', 'patient-{number}')" for number in range(accounts)]
    rows = [
        f"('account-{number}', {amounts.randrange(-20_000, 50_000)}, 'opening')"
        for number in range(accounts)
        for _ in range(postings)
    ]
    return (  # made of numbers alone
        f"INSERT INTO account (id, patient) VALUES {', '.join(names)} ON CONFLICT DO NOTHING;\n"  # noqa: S608
        "INSERT INTO posting (account_id, cents, what) "
        f"SELECT * FROM (VALUES {', '.join(rows)}) AS made_up WHERE NOT EXISTS (SELECT FROM posting);\n"
        "ANALYZE account, posting;\n"
    )


@contextmanager
def _sidecar(address: str, environ: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(_SIDECAR), "serve", "--config", str(CONFIG), "--listen", address]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(environ), stdout=output, stderr=output)
    try:
        until = time.monotonic() + _START_SECONDS
        while subprocess.run([_SIDECAR, "health", "--address", address], capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > until:
                raise SidecarFailedError(log.read_text(encoding="utf-8", errors="replace").strip())
            time.sleep(_POLL_SECONDS)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(_STOP_SECONDS)


def _output(command: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SidecarFailedError(done.stderr.strip())
    return done.stdout
