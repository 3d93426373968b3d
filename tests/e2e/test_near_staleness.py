"""Sidecars with near caches over a bad network: nothing is read that is older than it may be.

`NEAR_OPERATIONS` and `NEAR_SIDECARS` say how many there are; `SIDECAR_LONG` makes it 100,000 over four, and the network
one of toxiproxy's, with resets and silence (`NEAR_NETWORK`: `toxiproxy`, or `slow` for the project's own).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import grpc
import pytest
from support.near_callers import KEYS, Callers, config
from support.outside_writers import BEHIND, ORIGINS, tables
from support.programs import SidecarProgram, run_sidecar
from support.servers import StoreServer
from support.slow_network import slow_network
from support.toxiproxy import Toxiproxy, toxiproxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.postgres import Database

LONG = "SIDECAR_LONG" in os.environ
OPERATIONS = int(os.environ.get("NEAR_OPERATIONS", "100000" if LONG else "3400"))
SIDECARS = int(os.environ.get("NEAR_SIDECARS", "4" if LONG else "2"))
NETWORK = os.environ.get("NEAR_NETWORK", "toxiproxy" if LONG else "slow")
SEED = int(os.environ.get("NEAR_SEED", "1"))
CALLERS = 64
# How calls may end on a network that is reset; on one that is slow none may fail.
EXPECTED = {"UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED"}


class Stage:
    """A store, sidecars, and a network of its own from each to the store and to the database."""

    def __init__(self, stack: ExitStack, folder: Path, database: Database) -> None:
        self._stack = stack
        store = StoreServer("valkey", folder)
        store.start()
        stack.callback(store.stop)
        self.store_port = store.port
        self.proxy: Toxiproxy | None = None
        link: Callable[[int], int] = self._slow_link
        if NETWORK == "toxiproxy":
            self.proxy = stack.enter_context(toxiproxy())
            link = self.proxy.link
        self._programs = []
        for number in range(SIDECARS):
            url = database.url.replace(f":{database.server.port}/", f":{link(database.server.port)}/")
            text = config(link(store.port), url)
            program = SidecarProgram(folder / str(number), config=text)
            if number == 0:
                database.query(tables(KEYS))
                path = folder / "triggers.yaml"
                path.write_text(text)
                database.query(run_sidecar("sql", "setup").stdout)
                database.query(run_sidecar("sql", "triggers", "--config", str(path)).stdout)
            stack.callback(program.spawn().stop)
            self._programs.append(program)
        self.addresses = [program.wait_ready().address for program in self._programs]

    def _slow_link(self, target: int) -> int:
        return self._stack.enter_context(slow_network(target, seed=target))


@pytest.fixture
def stage(tmp_path: Path, database: Database) -> Iterator[Stage]:
    """Return what the callers call."""
    with ExitStack() as stack:
        yield Stage(stack, tmp_path, database)


@pytest.mark.timeout(120 + OPERATIONS // 50)
async def test_nothing_is_read_that_is_older_than_it_may_be(stage: Stage, database: Database) -> None:
    """Whatever is late, lost in order or in between; what is read within the bound may be old, and some of it is."""
    channels = [grpc.aio.insecure_channel(address) for address in stage.addresses]
    callers = Callers(channels, stage.store_port, database, operations=OPERATIONS, seed=SEED)
    await callers.outside.open()
    happened: Counter[str] = Counter()
    trouble = None
    if stage.proxy is not None:
        trouble = asyncio.create_task(stage.proxy.trouble(random.Random(SEED), happened))
    begun_at = time.monotonic()
    await asyncio.gather(*(callers.call() for _ in range(CALLERS)))
    took = time.monotonic() - begun_at
    if trouble is not None:
        trouble.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await trouble
    await callers.outside.close()
    for channel in channels:
        await channel.close()

    verdicts = callers.verdicts()
    for cache, verdict in verdicts.items():
        print(  # noqa: T201 (the figures are of interest)
            f"{cache}: {verdict.reads} found, {verdict.copies} copies, {verdict.late} behind by "
            f"{verdict.most_behind * 1000:.1f} ms at most, {len(verdict.wrong)} wrong"
        )
    for cache, lags in callers.outside.lags.items():
        ordered = sorted(lags) or [0.0]
        print(  # noqa: T201 (as above)
            f"{cache}: {len(lags)} events, effect after {ordered[len(ordered) // 2] * 1000:.0f} ms, "
            f"at most {ordered[-1] * 1000:.0f} ms"
        )
    print(f"from outside: {dict(callers.outside.done)}, failed calls: {dict(callers.failures)}")  # noqa: T201 (as above)
    print(f"{OPERATIONS} operations, {SIDECARS} sidecars, {took:.1f} s, {NETWORK}: {dict(happened)}")  # noqa: T201 (as above)
    assert {cache: [] for cache in verdicts} == {cache: verdict.wrong for cache, verdict in verdicts.items()}
    assert [] == callers.outside.lost
    assert verdicts["strong"].copies == verdicts["strong"].late == 0
    # Those of the write-behind cache are written more often, and expire.
    assert verdicts[BEHIND].copies > 0
    for cache in ("plain", *ORIGINS):
        assert verdicts[cache].copies > verdicts[cache].reads / 10
        assert cache not in ORIGINS or callers.outside.lags[cache]
    # The checker sees what is old: the network makes it so, and the bound allows it.
    assert sum(verdict.late for verdict in verdicts.values()) > 0
    assert set(callers.failures) <= (EXPECTED if stage.proxy is not None else set())
