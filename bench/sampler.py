"""The sidecar with a sampling profiler inside: `python -m bench.sampler FILE serve --config ...`.

A timer of the process's CPU time (setitimer(2), ITIMER_PROF) raises a signal; its handler runs in the main thread,
where the event loop is, and counts the stack that it finds. Python runs a handler between two of its instructions
only, so what C code takes (the loop's own system calls, protobuf, hiredis) is counted for the Python line that follows
it. A tracing profiler would name those functions, but it doubles the cost of each call and so shows another program.

When the sidecar has stopped, the stacks are written to FILE, a line each: `outermost;...;innermost count`, the form
that flame graph programs read.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.cli import main as sidecar_main

if TYPE_CHECKING:
    from types import FrameType

# The kernel's own tick, 4 ms in most builds, makes a finer interval pointless; a second of CPU time gives 250 stacks.
_INTERVAL_SECONDS = 0.004


class Sampler:
    """Counts the stacks of the main thread, for each few milliseconds of CPU time."""

    def __init__(self) -> None:
        self._stacks: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to count."""
        signal.signal(signal.SIGPROF, self._count)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)

    def write(self, file: Path) -> None:
        """Stop, and write what was counted."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        lines = [f"{stack} {count}\n" for stack, count in self._stacks.items()]
        file.write_text("".join(lines), encoding="utf-8")

    def _count(self, _signal: int, frame: FrameType | None) -> None:
        names: list[str] = []
        while frame is not None:
            code = frame.f_code
            names.append(f"{code.co_qualname} ({_short(code.co_filename)}:{code.co_firstlineno})")
            frame = frame.f_back
        self._stacks[";".join(reversed(names))] += 1


def _short(file: str) -> str:
    """Return the last two parts of a path: enough to find the file."""
    return "/".join(Path(file).parts[-2:])


def main() -> int:
    """Run the sidecar's command line, and write the stacks once it returns."""
    sampler = Sampler()
    sampler.start()
    try:
        return sidecar_main(sys.argv[2:])
    finally:
        sampler.write(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
