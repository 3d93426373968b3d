"""`python -m balances`: start a PostgreSQL and a sidecar, show what a posting does to a cached balance, and serve."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from sidecar_client import SidecarClient

from balances.bank import balance, post
from balances.postgres import PostgresMissingError
from balances.stage import SidecarFailedError, set_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balances.bank import Balance

_ACCOUNTS = 1_000
_ACCOUNT = "account-17"
_COPAY_CENTS = -5_000
# An event is there within milliseconds; whoever waits for so long has no trigger.
_LONGEST_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m balances", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:50052", help="where the sidecar serves (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=_state(), help="where the data are (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="end after the demonstration")
    options = parser.parse_args(arguments)
    try:
        with set_up(options.folder, address=options.address, accounts=_ACCOUNTS) as stage:
            _say(f"PostgreSQL  127.0.0.1:{stage.postgres.port}, {_ACCOUNTS} accounts, data in {options.folder}")
            _say(f"sidecar     {options.address}\n")
            asyncio.run(_demonstrate(options.address, stage.postgres.url))
            if not options.once:
                _say("\nCtrl-C ends it. Until then:")
                _say(f"  .venv/bin/sidecar-client --address {options.address} get balances {_ACCOUNT}")
                _say(f"  psql {stage.postgres.url}")
                _wait()
    except (PostgresMissingError, SidecarFailedError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _demonstrate(address: str, database_url: str) -> None:
    async with (
        SidecarClient(address) as sidecar,
        asyncpg.create_pool(database_url, min_size=1, max_size=2) as database,
    ):
        before = await _look(sidecar)
        await _look(sidecar)
        await post(database, _ACCOUNT, _COPAY_CENTS, "copay")
        committed = time.perf_counter()
        _say(f"  posted {_COPAY_CENTS / 100:.2f}, in the database alone")
        while (
            (after := await balance(sidecar, _ACCOUNT)) is not None
            and before is not None
            and after.cents == before.cents
        ):
            if time.perf_counter() - committed > _LONGEST_SECONDS:
                raise SidecarFailedError("the balance does not change; has the trigger been made?")
        _say(f"  {after}  {(time.perf_counter() - committed) * 1_000:.1f} ms after the commit")


async def _look(sidecar: SidecarClient) -> Balance | None:
    begun = time.perf_counter()
    found = await balance(sidecar, _ACCOUNT)
    took_ms = (time.perf_counter() - begun) * 1_000
    _say(f"  {found}{', from memory,' if found and found.from_copy else ''}  in {took_ms:.1f} ms")
    return found


def _wait() -> None:
    """Wait for Ctrl-C or SIGTERM, with which everything is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _state() -> Path:
    """Return where data may lie that PostgreSQL's user, who is not root, has to reach."""
    if not os.geteuid():
        return Path("/var/tmp/sidecar-balances")  # noqa: S108 (root's home is closed to PostgreSQL)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "sidecar-balances"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
