"""Processes of a test's own that all begin at once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

PROCESSES = 8
# A busy machine takes its time to start so many.
PATIENCE_SECONDS = 300.0
_TESTS = Path(__file__).parents[1]
# By this, processes that a measured one starts are measured too (`patch = ["subprocess"]`). These go through nothing
# that others do not, and measured they keep the processors busy for a quarter longer.
_MEASURED = "COVERAGE_PROCESS_CONFIG"


async def outputs_of(module: str, *arguments: object) -> list[bytes]:
    """Run a module in so many processes, which say that they are ready and are then let go; return what each prints."""
    unmeasured = {name: value for name, value in os.environ.items() if name != _MEASURED}
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *map(str, arguments)),
            cwd=_TESTS,
            env=unmeasured,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for process in processes:
                assert process.stdout is not None
                assert b"ready\n" == await process.stdout.readline()
            told = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
    return [output for output, _ in told]
