"""`make fuzz`: each parser on its own for a while, in a process of its own. `python -m fuzz [--seconds N] [TARGET...]`.

With atheris, which follows the branches that an input takes; where it is not installed, with hypothesis. A crash, an
input that takes more than ten seconds, or more than half a gigabyte of memory ends a target, and the command with 1;
the input is left in a file `fuzz-TARGET-*`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_MOST_MEGABYTES = 512
_HANG_SECONDS = 10
_EXAMPLES = 1000


def _run_all(names: list[str], seconds: int) -> int:
    failed = []
    for name in names:
        print(f"== {name}, {seconds} s", flush=True)  # noqa: T201 (this is a command)
        command = [sys.executable, "-m", "fuzz", "--seconds", str(seconds), "--here", name]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed) or 'none'}")  # noqa: T201 (as above)
    return 1 if failed else 0


def _with_atheris(name: str, seconds: int) -> None:
    atheris: Any = importlib.import_module("atheris")  # it is not there everywhere

    with atheris.instrument_imports(include=["sidecar", "hpack", "fuzz.targets"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 (to be instrumented)
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        limits = [
            f"-max_total_time={seconds}",
            f"-timeout={_HANG_SECONDS}",
            f"-rss_limit_mb={_MOST_MEGABYTES}",
            "-verbosity=0",
        ]
        arguments = [sys.argv[0], *limits, "-max_len=4096", f"-artifact_prefix=fuzz-{name}-", corpus]
        atheris.Setup(arguments, target.run)
        atheris.Fuzz()


def _with_hypothesis(name: str, seconds: int) -> None:
    from fuzz.mutations import inputs  # noqa: PLC0415
    from fuzz.targets import TARGETS  # noqa: PLC0415
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415 (atheris needs its own imports first)

    target = TARGETS[name]
    until = time.monotonic() + seconds
    run: Any = given(inputs(target.seeds))(target.run)
    many = settings(
        max_examples=_EXAMPLES, deadline=_HANG_SECONDS * 1000, suppress_health_check=list(HealthCheck), database=None
    )(run)
    while time.monotonic() < until:
        many()
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > _MOST_MEGABYTES * 1024:
            raise MemoryError(name)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz the parsers.")
    parser.add_argument("--seconds", type=int, default=600, help="for each parser (default: 600)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("target", nargs="*")
    options = parser.parse_args()
    if not options.here:
        from fuzz.targets import TARGETS  # noqa: PLC0415 (the children instrument it)

        return _run_all(options.target or list(TARGETS), options.seconds)
    run = _with_atheris if importlib.util.find_spec("atheris") else _with_hypothesis
    run(options.target[0], options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
