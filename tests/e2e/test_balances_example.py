"""The example of balances, run as its README says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.programs import PROJECT
from support.servers import free_port


@pytest.mark.usefixtures("database")
def test_a_posting_shows_in_a_balance_that_was_cached() -> None:
    """The demonstration reads a balance twice, posts by SQL alone, and reads the new balance."""
    # Not in a folder of the tests', which PostgreSQL's user may not enter.
    with tempfile.TemporaryDirectory(prefix="sidecar-balances-") as folder:
        Path(folder).chmod(0o755)
        ended = subprocess.run(
            [
                sys.executable, "-m", "balances", "--once", "--folder", folder,
                "--address", f"127.0.0.1:{free_port()}",
            ],
            env={**os.environ, "PYTHONPATH": str(PROJECT / "examples" / "balances")},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    assert (0, "") == (ended.returncode, ended.stderr)
    shown = [line.split() for line in ended.stdout.splitlines() if line.startswith("  account-17:")]
    cents = [round(float(words[1]) * 100) for words in shown]
    assert [cents[0], cents[0], cents[0] - 5_000] == cents
