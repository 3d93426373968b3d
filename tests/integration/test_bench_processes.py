"""What the benchmarks say that processes have cost."""

from __future__ import annotations

import subprocess
import sys

from bench.processes import family_cpu_seconds

_BURN = """
import time
while time.process_time() < {seconds}:
    pass
"""
# A child that has ended, and one that lives; both have worked before the line comes.
_FAMILY = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {_BURN.format(seconds=0.2)!r}], check=True)
child = subprocess.Popen(
    [sys.executable, "-c", {_BURN.format(seconds=0.3)!r} + "print('done', flush=True)\\ninput()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
child.stdout.readline()
print("done", flush=True)
input()
child.communicate(b"\\n")
"""


def test_a_familys_time_has_that_of_the_dead_and_of_the_living() -> None:
    """A database's processes come and go, and what they have done remains done."""
    command = [sys.executable, "-c", _FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as family:
        assert family.stdout is not None
        family.stdout.readline()
        used = family_cpu_seconds(family.pid)
        family.communicate(b"\n")
    # Ticks of 10 ms, of three processes.
    assert 0.5 - 0.03 <= used <= 1.5
