"""One run: load a server, and ask the kernel and the store what that cost."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.load import run_ghz
from bench.processes import machine_busy_seconds
from bench.report import Rest, Sample

if TYPE_CHECKING:
    from pathlib import Path

    from bench.profiles import Profile
    from bench.targets import StoreWatch, Target

_WARM_UP_SECONDS = 1.0
_MICROS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Takes samples, each of the same length, on one store."""

    ghz: Path
    watch: StoreWatch
    seconds: float

    def take(self, target: Target, profile: Profile) -> Sample:
        """Seed, load a server by ghz or the profile's own way, and return what it cost; raises `Failure`.

        The answers are checked before and after: a server that does not do its work is not measured.
        """
        for seed in profile.seeds:
            target.call(seed)
        target.check(profile)
        commands, before = self.watch.commands(), self._accounts(target)
        if profile.drive is None:
            report = run_ghz(self.ghz, target.address, profile.request, profile.load, seconds=self.seconds)
        else:
            report = profile.drive(target.address, profile, self.seconds)
        after, commands = self._accounts(target), self.watch.commands() - commands
        target.check(profile)
        # A load of its own is one call of many messages.
        target.calls += report.calls if profile.drive is None else 1
        wall, busy, server, store, own = (end - begin for begin, end in zip(before, after, strict=True))
        return Sample(
            report=report,
            cpu_us=server / report.calls * _MICROS,
            store_us=store / report.calls * _MICROS if target.uses_store else 0.0,
            store_commands=commands / report.calls if target.uses_store else 0.0,
            load_us=own / report.calls * _MICROS,
            rss_mib=target.server.rss_mib(),
            others_cores=max(0.0, busy - server - store - own) / wall,
            seconds=wall,
        )

    def rest(self) -> Rest:
        """Wait for the length of a run, and return what the store does meanwhile with whatever is connected to it."""
        commands, cpu, begun = self.watch.commands(), self.watch.cpu_seconds(), time.monotonic()
        time.sleep(self.seconds)
        cpu, commands = self.watch.cpu_seconds() - cpu, self.watch.commands() - commands
        seconds = time.monotonic() - begun
        return Rest(cpu / seconds * _MICROS, commands / seconds)

    def warm_up(self, target: Target, profile: Profile) -> None:
        """Load a server briefly, and keep nothing of it."""
        replace(self, seconds=_WARM_UP_SECONDS).take(target, profile)

    def _accounts(self, target: Target) -> tuple[float, float, float, float, float]:
        """Return wall time, and CPU time of the machine, the server, the store, and of this program with its ghz."""
        own = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        server, store = target.server.cpu_seconds(), self.watch.cpu_seconds()
        return time.monotonic(), machine_busy_seconds(), server, store, own
