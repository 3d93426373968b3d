"""Processes that write and send are killed again and again; a ledger in a PostgreSQL says what became of it."""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.behind_process import SET_UP, BehindProcess
from support.programs import wait_until
from support.servers import StoreServer
from support.write_behind import CACHE, TENANT

from sidecar.store.keys import KeySpace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import Database

_log = logging.getLogger(__name__)

KILLS = 200 if "SIDECAR_LONG" in os.environ else 8
STOPS = 50 if "SIDECAR_LONG" in os.environ else 1
KEYS = 12
# Each change of a key is a transaction of its own, by a program that is started for it.
_PACE_SECONDS = 0.02


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[StoreServer]:
    """Return a Valkey of this test's own."""
    server = StoreServer("valkey", tmp_path)
    server.start()
    yield server
    server.stop()


class Writer:
    """Writes numbers to keys, one write of a key at a time; a key whose write was lost is not written any more."""

    def __init__(self, prefix: str = "key") -> None:
        self._keys = [f"{prefix}k{number}" for number in range(KEYS)]
        self._number = 0
        self._under_way: dict[str, str] = {}
        self._seen: dict[BehindProcess, int] = {}
        self.acknowledged: dict[str, list[int]] = {}
        self.lost = 0

    def write_on(self, process: BehindProcess, seconds: float) -> None:
        """Write for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.begin(process)
            self._take_in(process)
            time.sleep(_PACE_SECONDS)
        self._take_in(process)

    def begin(self, process: BehindProcess) -> None:
        """Write to each key that nothing is written to."""
        for key in self._keys:
            if key not in self._under_way:
                self._number += 1
                self._under_way[key] = f"{key} {self._number}"
                process.write(key, str(self._number))

    def _take_in(self, process: BehindProcess) -> None:
        lines = process.acknowledged[self._seen.get(process, 0) :]
        for line in lines:
            key, number = line.split()
            self.acknowledged.setdefault(key, []).append(int(number))
            self._under_way.pop(key, None)
        self._seen[process] = self._seen.get(process, 0) + len(lines)

    def finish(self, process: BehindProcess) -> None:
        """Wait until all that was begun is acknowledged."""

        def is_done() -> bool:
            self._take_in(process)
            return not self._under_way

        wait_until(is_done, "all is acknowledged")

    def after_the_end_of(self, process: BehindProcess) -> None:
        """Take in what it has acknowledged to its end, and give up the keys of which it has not."""
        known = {f"{key} {number}" for key, numbers in self.acknowledged.items() for number in numbers}
        for line in process.acknowledged:
            if line not in known:
                key, number = line.split()
                self.acknowledged.setdefault(key, []).append(int(number))
                self._under_way.pop(key, None)
        self.lost += len(self._under_way)
        self._keys = [f"{key}x" if key in self._under_way else key for key in self._keys]
        self._under_way.clear()


def settle(server: StoreServer) -> None:
    """Wait until nothing is pending."""
    oracle = server.oracle()
    partitions = KeySpace(TENANT).behind(CACHE)
    wait_until(
        lambda: (
            not any(oracle.exists(partition.stream) and oracle.xlen(partition.stream) for partition in partitions)
            and not any(oracle.hlen(partition.taken) for partition in partitions)
        ),
        "nothing is pending",
    )


def rows(database: Database) -> dict[str, list[int]]:
    """Return the ledger, by key."""
    written: dict[str, list[int]] = {}
    for key, value in database.query("SELECT key, value FROM ledger ORDER BY id"):
        written.setdefault(key, []).append(int(value))
    return written


@pytest.mark.slow
@pytest.mark.timeout(60 + KILLS * 5)
@pytest.mark.parametrize("coalesce", [False, True], ids=["each", "coalescing"])
def test_kills_lose_nothing_and_double_nothing(valkey: StoreServer, database: Database, *, coalesce: bool) -> None:
    """What was acknowledged is in the ledger once, in its key's order; at least the newest where changes coalesce."""
    database.query(SET_UP)
    chance = random.Random(18)  # the kills of a failed run come again
    writer = Writer()
    kills = KILLS // 2
    following = BehindProcess(valkey.port, database, coalesce=coalesce)
    for _ in range(kills):
        # The next is there before the last is gone, to succeed it.
        process, following = following, BehindProcess(valkey.port, database, coalesce=coalesce)
        with process:
            writer.write_on(process, chance.uniform(0.02, 0.4))
            process.kill()
            writer.after_the_end_of(process)
    with following:
        settle(valkey)
    ledger = rows(database)
    tokens = Counter(token for (token,) in database.query("SELECT token FROM ledger"))
    _log.info(
        "%d kills, %d writes acknowledged, %d unknown, %d changes in the ledger",
        kills,
        sum(map(len, writer.acknowledged.values())),
        writer.lost,
        sum(map(len, ledger.values())),
    )
    assert set(tokens.values()) <= {1}
    for key, numbers in writer.acknowledged.items():
        made = ledger[key]
        assert sorted(set(made)) == made
        assert made[-1] >= numbers[-1]
        if not coalesce:
            assert set(numbers) <= set(made)
            assert len(made) <= len(numbers) + 1


def shares(server: StoreServer) -> list[int]:
    """Return how many partitions each process sends the changes of."""
    oracle = server.oracle()
    owners = [oracle.hget(keys.owner, "h") for keys in KeySpace(TENANT).behind(CACHE)]
    return sorted(Counter(owner for owner in owners if owner).values())


def write_until(writer: Writer, process: BehindProcess, server: StoreServer, expected: list[int]) -> None:
    """Write on until the partitions are shared out so."""

    def shared() -> bool:
        writer.write_on(process, 0.1)
        return shares(server) == expected

    wait_until(shared, f"the partitions are shared out as {expected}")


@pytest.mark.slow
def test_processes_share_the_sending(valkey: StoreServer, database: Database) -> None:
    """One, three, two after a crash, one after a SIGTERM: nothing is lost, doubled or out of its key's order."""
    database.query(SET_UP)
    writer = Writer()

    def started() -> BehindProcess:
        return BehindProcess(valkey.port, database, coalesce=False)

    with started() as first:
        write_until(writer, first, valkey, [16])
        with started() as second, started() as third:
            write_until(writer, first, valkey, [5, 5, 6])
            third.kill()
            write_until(writer, first, valkey, [8, 8])
            assert 0 == second.stop()
        write_until(writer, first, valkey, [16])
        writer.finish(first)
        settle(valkey)
    tokens = Counter(token for (token,) in database.query("SELECT token FROM ledger"))
    assert set(tokens.values()) == {1}
    assert writer.acknowledged == rows(database)


@pytest.mark.timeout(60 + STOPS * 15)
def test_sigterm_sends_what_waits(valkey: StoreServer, database: Database) -> None:
    """What was acknowledged is in the ledger when the process has ended, with code 0."""
    database.query(SET_UP)
    for number in range(STOPS):
        writer = Writer(f"stop{number}")
        with BehindProcess(valkey.port, database, coalesce=False) as process:
            writer.write_on(process, 0.2)
            code = process.stop()
            writer.after_the_end_of(process)
        ledger = rows(database)
        missing = {key: set(numbers) - set(ledger[key]) for key, numbers in writer.acknowledged.items()}
        assert (0, set()) == (code, set().union(*missing.values()))
