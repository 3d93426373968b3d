"""Measure the sidecar against its targets and its peers: `python -m bench.compare`, or `make bench`.

Each part starts what it compares, on one store, and stops it again. `README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contest import HEADINGS
from bench.echo import ENGINES
from bench.parts import PARTS
from bench.peers.binaries import DAPRD, LIMITADOR, RATELIMIT, Missing
from bench.processes import Failure
from bench.progress import progress
from bench.report import others_line, table
from bench.rig import RigOptions, set_up

if TYPE_CHECKING:
    from bench.parts import Outcome, Part


def run(options: argparse.Namespace) -> None:
    """Measure the chosen parts and print a table for each, then a line for each target."""
    outcomes: dict[Part, Outcome] = {}
    left_out: dict[Part, str] = {}
    rig_options = RigOptions(
        engine=options.engine,
        rounds=options.rounds,
        seconds=options.seconds,
        trace_ratio=options.trace_ratio,
        daprd=options.daprd,
        ratelimit=options.ratelimit,
        limitador=options.limitador,
        python=options.python,
    )
    with set_up(rig_options, progress) as rig:
        machine = (
            f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, grpcio {version('grpcio')}, "
            f"{rig.meter.watch.name()}"
        )
        print(f"engine {options.engine}; {machine}; medians of {options.rounds} rounds of {options.seconds:g} s")
        for part in PARTS:
            if options.parts and part.name not in options.parts:
                continue
            try:
                outcomes[part] = part.run(rig)
            except Missing as missing:
                left_out[part] = str(missing)
                continue
            finally:
                progress("")
            entries = outcomes[part].entries
            print(f"\n{part.title}\n", table(HEADINGS, [entry.cells(entries[0]) for entry in entries]), sep="\n")
        traced = rig.traced()
    _print_verdicts(outcomes, left_out)
    samples = [sample for outcome in outcomes.values() for entry in outcome.entries for sample in entry.samples]
    print(f"\n{others_line(samples)}")
    if traced is not None:
        print(f"{traced:.2%} of the sidecar's calls were traced and exported (asked: {options.trace_ratio:.2%}).")
    if options.json:
        _write_json(options, machine, outcomes, left_out, traced)


def _print_verdicts(outcomes: dict[Part, Outcome], left_out: dict[Part, str]) -> None:
    print()
    for outcome in outcomes.values():
        for verdict in outcome.verdicts:
            print(verdict)
    for part, why in left_out.items():
        print(f"left out: {part.name} ({part.title}): {why}")


def _write_json(
    options: argparse.Namespace,
    machine: str,
    outcomes: dict[Part, Outcome],
    left_out: dict[Part, str],
    traced: float | None,
) -> None:
    content: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine,
        "engine": options.engine,
        "seconds": options.seconds,
        "traced": traced,
        "parts": {
            part.name: {
                "entries": [entry.as_json() for entry in outcome.entries],
                "verdicts": [verdict.as_json() for verdict in outcome.verdicts],
            }
            for part, outcome in outcomes.items()
        },
        "left_out": {part.name: why for part, why in left_out.items()},
    }
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Measure the sidecar and its peers.")
    parser.add_argument(
        "--parts", nargs="+", choices=[part.name for part in PARTS], metavar="NAME",
        help=f"only these: {', '.join(part.name for part in PARTS)}",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each server (default: 5)")
    parser.add_argument("--engine", choices=ENGINES, default="fast", help="the sidecar's server implementation")
    parser.add_argument(
        "--trace-ratio", type=float, default=0.01, help="share of calls that are traced (default: 0.01)"
    )
    for binary in (DAPRD, RATELIMIT, LIMITADOR):
        parser.add_argument(
            binary.option, type=Path, metavar="PATH",
            help=f"the program of {binary.peer} (default: ${binary.variable}, or `{binary.program}` on the PATH)",
        )  # fmt: skip
    parser.add_argument(
        "--python", type=Path, metavar="PATH",
        help="the interpreter of an environment with another build of the sidecar, for the part `build`",
    )  # fmt: skip
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
