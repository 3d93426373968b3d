"""Show where a sidecar under load spends its time: `python -m bench.hotspots get`.

It loads a sidecar that counts its own stacks (`sampler.py`), and prints the functions that were found on top of them,
and those that were found anywhere in them. `--stacks FILE` keeps the stacks for a flame graph.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.echo import ENGINES
from bench.processes import Failure
from bench.profiles import PIPELINE_STREAM, PROFILES
from bench.progress import progress
from bench.report import table
from bench.rig import RigOptions, set_up

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOICES = {each.name: each for each in (*PROFILES, PIPELINE_STREAM)}


def functions(stacks: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Return how often each function was on top of a stack, and how often it was in one at all."""
    top: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for stack, count in stacks.items():
        names = stack.split(";")
        top[names[-1]] += count
        for name in set(names):
            anywhere[name] += count
    return top, anywhere


def run(options: argparse.Namespace) -> None:
    """Load, and print the two tables."""
    chosen = _CHOICES[options.profile]
    rig_options = RigOptions(engine=options.engine, seconds=options.seconds)
    with set_up(rig_options, progress) as rig, ExitStack() as stack:
        file = rig.folder / "stacks"
        sidecar = rig.start_sidecar(stack, program=[sys.executable, "-m", "bench.sampler", str(file)])
        progress(f"{chosen.title}, {chosen.load}")
        sample = rig.meter.take(sidecar, chosen)
        progress("")
        sidecar.server.stop()  # and with it the stacks are written
        lines = file.read_text(encoding="utf-8").splitlines()
    stacks = {text: int(count) for text, _, count in (line.rpartition(" ") for line in lines)}
    if options.stacks:
        options.stacks.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    total = sum(stacks.values())
    print(
        f"engine {options.engine}; {chosen.title}, {chosen.load}: {sample.report.rps:,.0f} RPC/s, "
        f"{sample.cpu_us:.0f} µs of CPU each; {total:,} stacks, start and stop included"
    )
    for heading, counts in zip(("itself", "with what it calls"), functions(stacks), strict=True):
        rows = [[name, f"{count / total:.1%}"] for name, count in counts.most_common(options.top)]
        print(f"\n{table(('function', heading), rows)}")


def main() -> int:
    """Run, and say in a sentence why it cannot."""
    parser = argparse.ArgumentParser(prog="python -m bench.hotspots", description="Show where the sidecar's time goes.")
    parser.add_argument("profile", choices=_CHOICES, nargs="?", default="get", help=f"the call: {', '.join(_CHOICES)}")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the run (default: 10)")
    parser.add_argument("--top", type=int, default=25, metavar="N", help="functions to show (default: 25)")
    parser.add_argument("--engine", choices=ENGINES, default="fast", help="the server implementation")
    parser.add_argument("--stacks", type=Path, metavar="FILE", help="write the stacks there, for a flame graph")
    try:
        run(parser.parse_args())
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
