"""How long something takes, without what a busy machine adds to it.

Promises about time are about the sidecar, and hold when it has a processor. So a stopwatch leaves out the time for
which the threads of the processes in question were ready to run and waited for a processor (the second number of
`/proc/PID/task/TID/schedstat`), and the time that a hypervisor took from the whole machine (the eighth of `cpu` in
`/proc/stat`, proc(5)). On a machine with nothing else to do both are next to nothing, and what is slow there is found.

Waits of threads that wait side by side are added up, so on a busy machine a stopwatch says less than it should: enough
time may have passed, too much has not. Where the system tells none of this, all the time counts.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_NANOS_PER_SECOND = 1_000_000_000
_STOLEN = 8


class Stopwatch:
    """Measures from when it is made, for this process and others that take part."""

    def __init__(self, *process_ids: int) -> None:
        self._process_ids = {os.getpid(), *process_ids}
        self._begun = time.monotonic()
        self._lost = self._lost_now()

    @property
    def wall_seconds(self) -> float:
        """The time that has passed."""
        return time.monotonic() - self._begun

    @property
    def lost_seconds(self) -> float:
        """What the machine has added to it; of threads that have ended meanwhile nothing is known."""
        return max(0.0, self._lost_now() - self._lost)

    @property
    def seconds(self) -> float:
        """The time that has passed, without what the machine has added."""
        passed = self.wall_seconds
        return passed - self.lost_seconds

    def _lost_now(self) -> float:
        return stolen_seconds() + sum(waited_seconds(process_id) for process_id in self._process_ids)


def waited_seconds(process_id: int) -> float:
    """Return for how long the threads of a process were ready to run and had no processor."""
    waited = 0
    for path in Path(f"/proc/{process_id}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            waited += int(path.read_text().split()[1])
    return waited / _NANOS_PER_SECOND


def stolen_seconds() -> float:
    """Return for how long processors of this machine were not this machine's, as its hypervisor tells."""
    try:
        with Path("/proc/stat").open() as told:
            fields = told.readline().split()
    except OSError:
        return 0.0
    return int(fields[_STOLEN]) / os.sysconf("SC_CLK_TCK")
