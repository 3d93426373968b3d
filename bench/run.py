"""Measure the sidecar beside an echo of its own engine: `python -m bench.run`, or `make bench`.

A machine's speed drifts by a fifth within the hour, so a figure by itself says little. Every run of a profile therefore
stands between two runs of the echo, and what is compared is the profile's CPU time and the mean of those two.
`README.md` says how to read the table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bench.collector import Collector
from bench.echo import ENGINES
from bench.load import install_ghz
from bench.measure import Meter
from bench.processes import Failure
from bench.profiles import ECHO, PROFILES
from bench.progress import progress
from bench.report import HEADINGS, Row, others_line, table
from bench.servers import SidecarOptions, start_echo, start_sidecar
from bench.targets import StoreWatch
from sidecar.store.embedded import EmbeddedPolicy, EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.profiles import Load, Profile
    from bench.report import Sample
    from bench.targets import Target

# On grpcio, Get may cost this much of the echo, with metrics on and 1 % of the calls traced.
_GET_TARGET = 1.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything that a measurement needs."""

    meter: Meter
    echo: Target
    sidecar: Target

    def run(self, profile: Profile) -> Sample:
        """Load the server of a profile, and return what it cost."""
        return self.meter.take(self._target(profile), profile)

    def warm_up(self, profile: Profile) -> None:
        """Run a profile briefly, and keep nothing of it."""
        self.meter.warm_up(self._target(profile), profile)

    def _target(self, profile: Profile) -> Target:
        return self.echo if profile.name == ECHO.name else self.sidecar


def measure(bench: Bench, profiles: Sequence[Profile], repeats: int, say: Callable[[str], None]) -> list[Row]:
    """Run all profiles `repeats` times, each between two runs of the echo under the same load."""
    samples: dict[Profile, list[Sample]] = {}
    ratios: dict[Profile, list[float]] = {}
    groups: list[tuple[Profile, list[Profile]]] = [
        (replace(ECHO, load=load), list(group)) for load, group in groupby(profiles, _load_of)
    ]
    for echo, group in groups:
        for profile in (echo, *group):
            bench.warm_up(profile)
            samples[profile], ratios[profile] = [], []
    for repeat in range(repeats):
        for echo, group in groups:
            say(f"repeat {repeat + 1} of {repeats}, {echo.load.callers} callers: echo")
            yardstick = bench.run(echo)
            samples[echo].append(yardstick)
            # In another order each time: what one profile does to the machine must not always hit the same next one.
            for profile in random.sample(group, len(group)):
                say(f"repeat {repeat + 1} of {repeats}, {echo.load.callers} callers: {profile.name}, echo")
                sample = bench.run(profile)
                next_yardstick = bench.run(echo)
                samples[profile].append(sample)
                samples[echo].append(next_yardstick)
                ratios[profile].append(2 * sample.cpu_us / (yardstick.cpu_us + next_yardstick.cpu_us))
                yardstick = next_yardstick
    return [Row(profile=profile, samples=samples[profile], ratios=ratios[profile]) for profile in samples]


def _load_of(profile: Profile) -> Load:
    return profile.load


def run(options: argparse.Namespace) -> None:
    """Start the servers, measure, print the table, stop the servers."""
    chosen = [profile for profile in PROFILES if not options.profiles or profile.name in options.profiles]
    ghz = install_ghz()
    tenant = f"bench-{os.getpid()}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-")))
        collector = stack.enter_context(Collector())
        sidecar_options = SidecarOptions(
            engine=options.engine,
            redis=options.redis,
            tenant=tenant,
            trace_ratio=options.trace_ratio,
            otlp_endpoint=collector.endpoint,
        )
        sidecar = start_sidecar(stack, folder, sidecar_options)
        watch = StoreWatch(
            options.redis or str(EmbeddedValkey(EmbeddedPolicy(directory=folder / "state" / "embedded")).address)
        )
        if options.redis:
            stack.callback(watch.forget, tenant)
        echo = start_echo(stack, folder, options.engine)
        bench = Bench(meter=Meter(ghz=ghz, watch=watch, seconds=options.seconds), echo=echo, sidecar=sidecar)
        machine = f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, grpcio {version('grpcio')}, {watch.name()}"
        rows = measure(bench, chosen, options.repeats, progress)
        progress("")
        sidecar.server.stop()  # and with it the last spans are exported
        traced = collector.server_spans / sidecar.calls
    print(f"engine {options.engine}; {machine}; median of {options.repeats} runs of {options.seconds:g} s\n")
    print(table(HEADINGS, [row.cells() for row in rows]))
    print(f"\n{traced:.2%} of the calls were traced and exported (asked: {options.trace_ratio:.2%}).", end=" ")
    print(others_line([sample for row in rows for sample in row.samples]))
    for row in rows:
        if row.profile.name == "get" and options.engine == "grpcio":
            verdict = "met" if row.ratio <= _GET_TARGET else "missed"
            print(f"Get costs {row.ratio:.2f} x the echo; the target of {_GET_TARGET} is {verdict}.")
    if options.json:
        _write_json(options, rows, machine, traced)


def _write_json(options: argparse.Namespace, rows: Sequence[Row], machine: str, traced: float) -> None:
    content = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine,
        "engine": options.engine,
        "seconds": options.seconds,
        "traced": traced,
        "rows": [
            {
                "profile": row.profile.name,
                "load": asdict(row.profile.load),
                "ratio": row.ratio if row.ratios else 1.0,
                "ratios": row.ratios,
                "samples": [asdict(sample) for sample in row.samples],
            }
            for row in rows
        ],
    }
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description="Measure the sidecar beside an echo.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run (default: 3)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each profile (default: 5)")
    parser.add_argument(
        "--profiles", nargs="+", choices=[profile.name for profile in PROFILES], metavar="NAME",
        help=f"only these: {', '.join(profile.name for profile in PROFILES)}",
    )  # fmt: skip
    parser.add_argument("--engine", choices=ENGINES, default="fast", help="the server implementation")
    parser.add_argument("--redis", metavar="URL", help="the store (default: an embedded Valkey)")
    parser.add_argument(
        "--trace-ratio", type=float, default=0.01, help="share of calls that are traced (default: 0.01)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    return parser


def main() -> int:
    """Run, and say in a sentence why it cannot."""
    if not sys.platform.startswith("linux"):
        print("the benchmark reads CPU times from /proc, which only Linux has", file=sys.stderr)
        return 2
    try:
        run(_parser().parse_args())
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
