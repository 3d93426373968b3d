"""The balances' benchmark, run as briefly as it can be."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.programs import PROJECT

from bench.balances.figures import SATURATION, STEADY, load_figures

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("database")
def test_every_way_to_a_balance_is_measured(tmp_path: Path) -> None:
    """Calls by each way end well, transactions are posted meanwhile, and sidecars find what they are asked for."""
    if not (PROJECT / ".tools" / "bin" / "ghz").exists():
        pytest.skip("there is no ghz in .tools/bin; any benchmark builds it")
    file = tmp_path / "figures.json"
    ended = subprocess.run(
        [
            sys.executable, "-m", "bench.balances", "--seconds", "1", "--rounds", "1", "--accounts", "200",
            "--warm-up", "3000", "--pace", "100", "--figures", file,
        ],
        cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert (0, "") == (ended.returncode, ended.stderr)
    figures = load_figures(file)
    assert {SATURATION: 5, STEADY: 3} == {load: len(ways) for load, ways in figures.runs.items()}
    runs = [run for ways in figures.runs.values() for (run,) in ways.values()]
    assert all(run.calls > 0 and run.postings > 0 for run in runs)
    assert all(run.hits > run.misses for way, (run,) in figures.runs[SATURATION].items() if way != "service-database")
    (l1,) = figures.runs[SATURATION]["direct-l1"]
    assert 0 < l1.l1_hits < l1.calls
