"""From COMMIT to nobody serving the old value: `python -m bench.triggers`, a minute.

Four sidecars read account balances through from a PostgreSQL, as the example in `examples/balances` does, and a
trigger tells them what is posted. Before each transaction every sidecar is read from until it answers with the old
balance, where there is a near cache from the copy in its own memory; while it is committed, all are read from, and its
time is over when each of them has answered with the new balance. That is measured from when COMMIT was sent, so it
holds the database's own work, and from when COMMIT was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import uvloop
from sidecar_client import SidecarClient

from bench.processes import Failure
from bench.report import table
from bench.servers import start_redis
from bench.verdicts import Bound, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDECARS = 4
ACCOUNTS = 100
TARGET_MS = 50.0
NEAR: dict[str, dict[str, Any] | None] = {"without": None, "all keys": {"admission": "all", "max_staleness": "1s"}}
HEADINGS = ("near cache", "transactions", "p50 ms", "p99 ms", "worst ms", "p99 ms from the answer", "worst ms from it")
# Whoever still has the old balance then has no trigger.
_LONGEST_SECONDS = 10.0
# All readers share the machine with all sidecars: what they ask beyond need makes what they wait for late.
_PAUSE_SECONDS = 0.001


class Took(NamedTuple):
    """How long a transaction took to show everywhere, in seconds."""

    from_sent: float
    from_answered: float


class Reader:
    """Reads one account's balance beside one sidecar, again and again."""

    def __init__(self, client: SidecarClient, account: str, *, copied: bool) -> None:
        self._balances = client.cache("balances")
        self._account = account
        self._copied = copied
        self.had = 0
        """The balance, in cents, that its sidecar had before."""
        self.is_ready = asyncio.Event()
        """Set once the sidecar answers as it is to before a transaction."""

    async def read_on(self) -> float:
        """Return when the first answer with another balance was there."""
        until = time.perf_counter() + _LONGEST_SECONDS
        while time.perf_counter() < until:
            found = await self._balances.get(self._account)
            now = time.perf_counter()
            if found.value is None:
                raise Failure(f"there is no balance of {self._account}")
            cents = json.loads(found.value)["cents"]
            if not self.is_ready.is_set():
                self.had = cents
                if found.from_copy == self._copied:
                    self.is_ready.set()
            elif cents != self.had:
                if cents != self.had + 1:
                    raise Failure(f"nobody posted what is now the balance of {self._account}")
                return now
            await asyncio.sleep(_PAUSE_SECONDS)
        raise Failure(f"after {_LONGEST_SECONDS:.0f} s a sidecar still has the old balance of {self._account}")


async def measure(addresses: Sequence[str], database_url: str, transactions: int, *, copied: bool) -> list[Took]:
    """Post to one account after another; `copied` says whether every sidecar is to have a copy before.

    Raises `Failure` if a sidecar goes on with an old balance, has none, or has one that nobody posted.
    """
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(SidecarClient(address, timeout=30)) for address in addresses]
        writer = await asyncpg.connect(database_url)
        stack.push_async_callback(writer.close)
        return [
            await _post(clients, writer, f"account-{number % ACCOUNTS}", copied=copied)
            for number in range(transactions)
        ]


async def _post(clients: Sequence[SidecarClient], writer: asyncpg.Connection, account: str, *, copied: bool) -> Took:
    readers = [Reader(client, account, copied=copied) for client in clients]
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(reader.read_on()) for reader in readers]
            for reader in readers:
                await reader.is_ready.wait()
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute("INSERT INTO posting (account_id, cents, what) VALUES ($1, 1, 'measured')", account)
            sent = time.perf_counter()
            await transaction.commit()
            answered = time.perf_counter()
    except ExceptionGroup as group:
        failures = group.subgroup(Failure)
        if failures is None:
            raise
        raise failures.exceptions[0] from None
    if len({reader.had for reader in readers}) != 1:
        raise Failure(f"the sidecars did not agree on the balance of {account}")
    shown = max(task.result() for task in reading)
    return Took(shown - sent, max(0.0, shown - answered))


def percentile(figures: Sequence[float], share: float) -> float:
    """Return the least figure that this share of all does not exceed."""
    ordered = sorted(figures)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def run(name: str, transactions: int) -> list[Took]:
    """Return what one kind of near cache comes to."""
    from bench.ledgers import start_ledger, start_sidecar  # noqa: PLC0415 (it changes the path)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-triggers-")))
        ledger = start_ledger(stack, folder, ACCOUNTS)
        port = start_redis(stack, folder)
        near = NEAR[name]
        addresses = [start_sidecar(stack, folder, ledger, port, near) for _ in range(SIDECARS)]
        return uvloop.run(measure(addresses, ledger.url, transactions, copied=near is not None))


def main() -> int:
    """Run, and print the table; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.triggers", description="Measure invalidation by triggers.")
    parser.add_argument("--transactions", type=int, default=300, help="of each kind (default: 300)")
    options = parser.parse_args()
    rows, verdicts = [], []
    try:
        for name in NEAR:
            took = run(name, options.transactions)
            sent, answered = ([figure * 1_000 for figure in figures] for figures in zip(*took, strict=True))
            p99 = percentile(sent, 0.99)
            figures = (percentile(sent, 0.5), p99, max(sent), percentile(answered, 0.99), max(answered))
            rows.append([name, str(len(took)), *(f"{figure:.1f}" for figure in figures)])
            what = f"COMMIT to nobody serving the old value, near cache {name}: p99"
            verdicts.append(Verdict(what=what, figures=[p99], bound=Bound.AT_MOST, target=TARGET_MS, unit="ms"))
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2
    print(f"{SIDECARS} sidecars, {ACCOUNTS} accounts, one transaction at a time")
    print(table(HEADINGS, rows))
    print("\n".join(map(str, verdicts)))
    return 0 if all(verdict.is_met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
