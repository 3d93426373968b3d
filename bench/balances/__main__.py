"""`python -m bench.balances`: measure, print the tables, and with `--write` renew docs/benchmarks.md and its chart."""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

from bench.balances.contest import Contest
from bench.balances.document import write
from bench.balances.figures import SATURATION, STEADY, Figures, load_figures
from bench.balances.stage import Stage, set_up
from bench.balances.tables import text
from bench.load import install_ghz
from bench.processes import Failure
from bench.profiles import CROWD, Load
from bench.progress import progress

# Balances are read through a service in all of these; the sidecar alone is compared at saturation only.
_SERVICES = 3


def measure(options: argparse.Namespace) -> Figures:
    """Start everything, let all take their turns, and return what that showed; raises `Failure`."""
    pace = Load(CROWD.callers, CROWD.connections, rps=options.pace)
    ghz = install_ghz()
    with set_up(options.accounts, progress) as stage:
        contest = Contest(
            stage,
            ghz=ghz,
            accounts=options.accounts,
            postings_per_second=options.postings,
            seconds=options.seconds,
            first_calls=options.warm_up,
            say=progress,
        )
        loads = {SATURATION: (CROWD, stage.ways), STEADY: (pace, stage.ways[:_SERVICES])}
        measured = contest.run(loads, options.rounds)
        machine = _machine(stage)
    progress("")
    return Figures(
        day=time.strftime("%Y-%m-%d"),
        machine=machine,
        cores=os.cpu_count() or 1,
        command=f"make bench-balances{_arguments(options)}",
        seconds=options.seconds,
        rounds=options.rounds,
        accounts=options.accounts,
        postings_per_second=options.postings,
        loads={
            SATURATION: f"{CROWD.callers} callers on {CROWD.connections} connections, each waiting for its answer",
            STEADY: f"{options.pace:,} calls begun per second",
        },
        resting_postgres=[resting.postgres for resting in measured.resting],
        resting_sidecar=[resting.sidecar for resting in measured.resting],
        runs=measured.runs,
    )


def _machine(stage: Stage) -> str:
    return (
        f"Python {sys.version.split()[0]}, grpcio {version('grpcio')}, asyncpg {version('asyncpg')}, "
        f"PostgreSQL {stage.postgres.version()}, {stage.fronts[0].watch.name()}"
    )


def _arguments(options: argparse.Namespace) -> str:
    """Return what else was measured than what `make` asks for by itself, as its user writes it."""
    usual = _parser().parse_args([])
    words = [
        f"--{name.replace('_', '-')} {getattr(options, name):g}"
        for name in ("seconds", "rounds", "accounts", "postings", "pace", "warm_up")
        if getattr(options, name) != getattr(usual, name)
    ]
    return f' ARGS="{" ".join(words)}"' if words else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.balances", description="Measure the example of balances without a sidecar and with one."
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each way (default: %(default)s)")
    parser.add_argument("--accounts", type=int, default=10_000, help="accounts (default: %(default)s)")
    parser.add_argument("--postings", type=_rate, default=50, help="transactions a second (default: %(default)s)")
    parser.add_argument(
        "--pace", type=int, default=500, help="calls a second of the steady load (default: %(default)s)"
    )
    parser.add_argument(
        "--warm-up",
        type=int,
        default=60_000,
        metavar="CALLS",
        help="calls of each sidecar before all (default: %(default)s)",
    )
    parser.add_argument("--figures", type=Path, metavar="FILE", help="write every run there")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing: take the runs of such a file")
    parser.add_argument("--write", action="store_true", help="renew docs/benchmarks.md and what lies beside it")
    return parser


def _rate(text: str) -> int:
    rate = int(text)
    if rate < 1:
        raise argparse.ArgumentTypeError("at least 1: without postings nothing is ever invalidated")
    return rate


def main() -> int:
    """Run, and say in a sentence why it cannot."""
    if not sys.platform.startswith("linux"):
        print("the benchmark reads CPU times from /proc, which only Linux has", file=sys.stderr)
        return 2
    options = _parser().parse_args()
    try:
        figures = load_figures(options.read) if options.read else measure(options)
        print(text(figures))
        if options.figures:
            figures.save(options.figures)
        if options.write:
            write(figures)
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
