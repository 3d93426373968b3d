"""How many workers a machine has use for."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.config.quantities import MOST_WORKERS

if TYPE_CHECKING:
    from sidecar.config.quantities import WorkerCount

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def count_workers(setting: WorkerCount) -> int:
    """Return how many workers a setting means on this machine."""
    if setting.number is not None:
        return setting.number
    cpu_max = _CPU_MAX.read_text() if _CPU_MAX.is_file() else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers_for(cores, cpu_max, MOST_WORKERS)


def workers_for(cores: int, cpu_max: str, most: int) -> int:
    """Return how many workers make use of a machine: one for each core that this process may keep busy.

    `cpu_max` is the text of a cgroup's `cpu.max` (Control Group v2, "CPU Interface Files"): `max 100000` or
    `50000 100000`, the time in microseconds that may be used in each period; empty where there is none. A container is
    often allowed less time than it sees cores.
    """
    quota, _, period = cpu_max.strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, min(cores, most))
