"""Processes of callers (`hammering.py`) against several sidecars, and what they got."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.programs import SidecarProgram

_TESTS = Path(__file__).parents[1]


def hammered(
    processes: int, callers: int, calls: int, policies: Sequence[str], sidecars: Sequence[SidecarProgram]
) -> list[subprocess.Popen[bytes]]:
    """Let processes of callers check one key, through each of the sidecars in turn; begin, and do not wait."""
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "support.hammering", sidecars[number % len(sidecars)].address, "key"),
                *(str(callers), str(calls), *policies),
            ],
            stdout=subprocess.PIPE,
            cwd=_TESTS,
        )
        for number in range(processes)
    ]


def allowed_by(hammering: Sequence[subprocess.Popen[bytes]]) -> Counter[str]:
    """Wait for the callers, and return what each policy let through."""
    allowed: Counter[str] = Counter()
    for process in hammering:
        told, _ = process.communicate(timeout=100)
        allowed.update(json.loads(told))
    return allowed
