"""What an idle sidecar weighs, and by how much it has grown after a million calls and ten thousand connections.

`python -m bench.footprint`, or `make bench`. The calls are Gets, by ghz; each of the connections is made for one call,
on a socket of its own, and closed by the caller. Metrics are on; no call is traced unless asked for, since the
exporter of spans is grpcio's, which takes as much memory as half a sidecar.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.echo import ENGINES
from bench.load import run_ghz
from bench.processes import Failure
from bench.profiles import profile
from bench.progress import progress
from bench.report import table
from bench.rig import RigOptions, set_up
from bench.verdicts import Bound, Verdict
from bench.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load import Report
    from bench.rig import Rig
    from bench.targets import Target

_GET = profile("get")
# ghz keeps a record of each call, and its report is to stay small.
_CALLS_AT_ONCE = 100_000
_WARM_UP_CALLS = 10_000
# Long enough for the last spans to be exported and the last connections to be forgotten.
_SETTLE_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """The resident memory at one moment."""

    when: str
    rss_mib: float


def weigh(rig: Rig, *, calls: int, connections: int) -> list[Weight]:
    """Return what a sidecar weighs idle, warm, after all calls and after all connections."""
    weights = []
    with ExitStack() as stack:
        sidecar = rig.start_sidecar(stack)

        def note(when: str) -> None:
            progress(f"{when}: waiting until it is at rest")
            time.sleep(_SETTLE_SECONDS)
            weights.append(Weight(when=when, rss_mib=sidecar.server.rss_mib()))

        note("idle")
        for seed in _GET.seeds:
            sidecar.call(seed)
        sidecar.check(_GET)
        _call(rig, sidecar, min(calls, _WARM_UP_CALLS))
        note(f"after {min(calls, _WARM_UP_CALLS):,} calls")
        done = min(calls, _WARM_UP_CALLS)
        while done < calls:
            progress(f"{done:,} of {calls:,} calls")
            done += _call(rig, sidecar, min(calls - done, _CALLS_AT_ONCE)).calls
        note(f"after {done:,} calls")
        _connect(sidecar, connections)
        note(f"and {connections:,} connections")
        sidecar.check(_GET)
    progress("")
    return weights


def _call(rig: Rig, sidecar: Target, calls: int) -> Report:
    # A long run must not outlive the entry that it reads.
    for seed in _GET.seeds:
        sidecar.call(seed)
    return run_ghz(rig.meter.ghz, sidecar.address, _GET.request, _GET.load, calls=calls)


def _connect(sidecar: Target, connections: int) -> None:
    message = _GET.request.message.SerializeToString()
    for number in range(connections):
        if number % 1000 == 0:
            progress(f"{number:,} of {connections:,} connections")
        with Wire(sidecar.address) as wire:
            wire.open(_GET.request.method)
            wire.send(message, last=True)
            if len(wire.receive()) != 1:
                raise Failure("a call on a connection of its own was not answered")


def _verdicts(weights: Sequence[Weight]) -> list[Verdict]:
    idle, last = weights[0].rss_mib, weights[-1].rss_mib
    return [
        Verdict(what="one idle worker: RSS", figures=[idle], bound=Bound.AT_MOST, target=60, unit="MiB"),
        Verdict(
            what="growth under calls and connections", figures=[last - idle], bound=Bound.BELOW, target=5, unit="MiB"
        ),
    ]


def run(options: argparse.Namespace) -> None:
    """Measure, and print a table and the verdicts."""
    with set_up(RigOptions(engine=options.engine, trace_ratio=options.trace_ratio), progress) as rig:
        weights = weigh(rig, calls=options.calls, connections=options.connections)
    print(f"engine {options.engine}; Python {sys.version.split()[0]}; one worker\n")
    rows = [[weight.when, f"{weight.rss_mib:.1f}", f"{weight.rss_mib - weights[0].rss_mib:+.1f}"] for weight in weights]
    print(table(("sidecar", "RSS MiB", "to idle"), rows))
    print()
    verdicts = _verdicts(weights)
    for verdict in verdicts:
        print(verdict)
    if options.json:
        content = {
            "engine": options.engine,
            "weights": [asdict(weight) for weight in weights],
            "verdicts": [verdict.as_json() for verdict in verdicts],
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Run, and say in a sentence why it cannot."""
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description="Weigh the sidecar.")
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls in all (default: 1000000)")
    parser.add_argument("--connections", type=int, default=10_000, help="short connections (default: 10000)")
    parser.add_argument("--engine", choices=ENGINES, default="fast", help="the server implementation")
    parser.add_argument("--trace-ratio", type=float, default=0.0, help="share of calls that are traced (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    if not sys.platform.startswith("linux"):
        print("the benchmark reads memory from /proc, which only Linux has", file=sys.stderr)
        return 2
    try:
        run(parser.parse_args())
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
