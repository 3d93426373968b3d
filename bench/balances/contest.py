"""The ways to a balance take turns, in a changing order, under one load after the other.

At the beginning each sidecar is asked for as long as its near cache takes to know what is hot. Before each run its way
is called for a moment, so that what the last run's postings invalidated is there again.
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.balances.poster import Poster, remove_postings, zipf_accounts
from bench.balances.runs import Run
from bench.load import run_ghz
from bench.processes import family_cpu_seconds, machine_busy_seconds
from bench.profiles import CROWD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.balances.stage import Stage, Way
    from bench.profiles import Load

# Calls before each run: some for each balance that the last run's postings were about, but for the coldest.
_WARM_UP_CALLS = 500
_REST_SECONDS = 0.5
_POSTED = 1_000


class Resting(NamedTuple):
    """What was used of the cores while nobody asked and the postings went on."""

    postgres: float
    sidecar: float
    """The mean of the sidecars."""


class Measured(NamedTuple):
    """What all rounds showed."""

    runs: dict[str, dict[str, list[Run]]]
    """By the load's name and the way's, one for each round."""
    resting: list[Resting]
    """One for each round."""


class _Account(NamedTuple):
    """CPU times in seconds since who knows when, and counts."""

    wall: float
    busy: float
    postgres: float
    service: float
    sidecar: float
    store: float
    load: float
    all: float
    postings: float
    hits: float
    misses: float
    l1_hits: float
    loads: float


class Contest:
    """Measures on one stage; every run has the same length and the same postings."""

    def __init__(
        self,
        stage: Stage,
        *,
        ghz: Path,
        accounts: int,
        postings_per_second: int,
        seconds: float,
        first_calls: int,
        say: Callable[[str], None],
    ) -> None:
        self._stage = stage
        self._ghz = ghz
        # Not those, in that order, that are asked for.
        self._posted = zipf_accounts(accounts, _POSTED, seed=2)
        self._postings_per_second = postings_per_second
        self._seconds = seconds
        self._first_calls = first_calls
        self._say = say

    def run(self, loads: Mapping[str, tuple[Load, tuple[Way, ...]]], rounds: int) -> Measured:
        """Let the ways of each load take their turns; raises `Failure`."""
        measured = Measured({name: {way.name: [] for way in ways} for name, (_, ways) in loads.items()}, [])
        for way in {way: None for _, ways in loads.values() for way in ways}:
            self._say(f"warming up: {way.name}")
            self._warm_up(way, _WARM_UP_CALLS if way.service else self._first_calls)
        for number in range(rounds):
            self._say(f"round {number + 1} of {rounds}: postings alone")
            measured.resting.append(self._rest())
            for name, (load, ways) in loads.items():
                for way in ways if number % 2 == 0 else reversed(ways):
                    self._say(f"round {number + 1} of {rounds}: {name}, {way.name}")
                    measured.runs[name][way.name].append(self._take(way, load))
        return measured

    def _take(self, way: Way, load: Load) -> Run:
        with self._poster() as poster:
            self._warm_up(way, _WARM_UP_CALLS)
            way.check()
            before = self._account(way, poster)
            report = run_ghz(self._ghz, way.called.address, way.request, load, seconds=self._seconds, data=way.data)
            after = self._account(way, poster)
            way.check()
        remove_postings(self._stage.postgres)
        used = _Account(*(end - begin for begin, end in zip(before, after, strict=True)))
        return Run(
            seconds=used.wall,
            calls=report.calls,
            rps=report.rps,
            p50_ms=report.p50_ms,
            p95_ms=report.p95_ms,
            p99_ms=report.p99_ms,
            postgres_cpu=used.postgres,
            service_cpu=used.service,
            sidecar_cpu=used.sidecar,
            store_cpu=used.store,
            load_cpu=used.load,
            others_cores=max(0.0, used.busy - used.all) / used.wall,
            postings=int(used.postings),
            hits=int(used.hits),
            misses=int(used.misses),
            l1_hits=int(used.l1_hits),
            loads=int(used.loads),
        )

    def _warm_up(self, way: Way, calls: int) -> None:
        run_ghz(self._ghz, way.called.address, way.request, CROWD, calls=calls, data=way.data)

    def _rest(self) -> Resting:
        with self._poster():
            time.sleep(_REST_SECONDS)
            before = self._resting_account()
            time.sleep(self._seconds)
            wall, postgres, sidecars = (end - begin for begin, end in zip(before, self._resting_account(), strict=True))
        remove_postings(self._stage.postgres)
        return Resting(postgres / wall, sidecars / wall / len(self._stage.fronts))

    def _resting_account(self) -> tuple[float, float, float]:
        """Return wall time, and CPU time of PostgreSQL and of the sidecars."""
        sidecars = sum(front.target.server.cpu_seconds() for front in self._stage.fronts)
        return time.monotonic(), family_cpu_seconds(self._stage.postgres.process_id), sidecars

    def _poster(self) -> Poster:
        return Poster(self._stage.postgres, self._posted, per_second=self._postings_per_second)

    def _account(self, way: Way, poster: Poster) -> _Account:
        own = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        postgres = family_cpu_seconds(self._stage.postgres.process_id)
        stores = {front: front.watch.cpu_seconds() for front in self._stage.fronts}
        servers = {server: server.cpu_seconds() for server in self._stage.servers}
        hits, misses, l1_hits, loads = (0, 0, 0, 0) if way.front is None else way.front.counts()
        return _Account(
            wall=time.monotonic(),
            busy=machine_busy_seconds(),
            postgres=postgres,
            service=0.0 if way.service is None else servers[way.service],
            sidecar=0.0 if way.front is None else servers[way.front.target.server],
            store=0.0 if way.front is None else stores[way.front],
            load=own,
            all=own + postgres + sum(stores.values()) + sum(servers.values()),
            postings=poster.postings,
            hits=hits,
            misses=misses,
            l1_hits=l1_hits,
            loads=loads,
        )
