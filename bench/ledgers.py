"""The example of balances under measurement: its PostgreSQL with accounts and triggers, and sidecars before it.

The example's modules are no package that is installed, so they are put on the path here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.processes import Failure, Server, free_port
from bench.servers import SIDECAR
from bench.targets import accepts

_EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "balances"
sys.path.append(str(_EXAMPLE))

from balances.postgres import Postgres, PostgresMissingError  # noqa: E402 (as said above)
from balances.stage import made_up  # noqa: E402 (as above)

if TYPE_CHECKING:
    from contextlib import ExitStack

_CONFIG = _EXAMPLE / "sidecar.yaml"
_SCHEMA = _EXAMPLE / "balances" / "schema.sql"
URL_VARIABLE = "BALANCES_DATABASE"
"""What the example's configuration reads the database's URL from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A database with accounts, whose triggers tell what is posted."""

    url: str

    @property
    def environ(self) -> dict[str, str]:
        """What a sidecar's environment says of it; no setting comes from the shell's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
        return {**kept, URL_VARIABLE: self.url}


def start_ledger(stack: ExitStack, folder: Path, accounts: int) -> Ledger:
    """Start a PostgreSQL with so many accounts, and with the triggers that `sidecar sql triggers` makes."""
    # PostgreSQL runs as another user where this does as root.
    folder.chmod(0o755)
    try:
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        ledger = Ledger(url=postgres.url)
        postgres.run(tables(accounts))
        postgres.run(triggers(ledger.environ))
    except PostgresMissingError as error:
        raise Failure(str(error)) from None
    return ledger


def start_sidecar(stack: ExitStack, folder: Path, ledger: Ledger, store_port: int, near: dict[str, Any] | None) -> str:
    """Start a sidecar with the example's configuration and return its address; `near` is the cache's `l1`."""
    address = f"127.0.0.1:{free_port()}"
    state = folder / f"sidecar-{address.rpartition(':')[2]}"
    file = state.with_suffix(".json")
    file.write_text(configuration(address, f"redis://127.0.0.1:{store_port}", near), encoding="utf-8")
    command = [*SIDECAR, "serve", "--config", str(file)]
    log, environ = state.with_suffix(".log"), {**ledger.environ, "SIDECAR_STATE_DIR": str(state)}
    stack.enter_context(Server("sidecar", command, log=log, is_ready=accepts(address), environ=environ))
    return address


def configuration(address: str, store_url: str, near: dict[str, Any] | None) -> str:
    """Return the example's configuration as JSON, with another store and address; `near` is the cache's `l1`."""
    settings: dict[str, Any] = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
    settings["caches"]["balances"]["l1"] = near
    settings |= {"listen": [{"address": address}], "store": {"url": store_url}}
    return json.dumps(settings)


def tables(accounts: int, postings: int = 50) -> str:
    """Return SQL that makes so many accounts with so many postings each."""
    return _SCHEMA.read_text(encoding="utf-8") + made_up(accounts, postings)


def triggers(environ: dict[str, str]) -> str:
    """Return what `sidecar sql triggers` says for the example; raises `Failure`."""
    command = [*SIDECAR, "sql", "triggers", "--config", str(_CONFIG)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"the triggers could not be made: {done.stderr.strip()}")
    return done.stdout
