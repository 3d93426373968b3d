"""The Go client on a real sidecar: what the protos promise holds in a second language."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_MODULE = Path(__file__).resolve().parents[2] / "clients" / "go"

# The first run compiles grpc-go, which takes a minute on a small machine.
_BUILD_AND_RUN_S = 600


@pytest.mark.slow
@pytest.mark.timeout(_BUILD_AND_RUN_S + 30)
def test_the_go_client_passes_its_tests(sidecar_address: str) -> None:
    """Calls, errors, health and limits before routes are as they are in Python; no test of the module is skipped."""
    go = shutil.which("go")
    if go is None:
        if os.environ.get("SIDECAR_REQUIRE_GO"):
            pytest.fail("SIDECAR_REQUIRE_GO is set, and there is no go on the path")
        pytest.skip("there is no go on the path; SIDECAR_REQUIRE_GO=1 makes this a failure")
    run = subprocess.run(
        [go, "test", "-count=1", "-v", "./..."],
        cwd=_MODULE,
        env={**os.environ, "SIDECAR_ADDRESS": sidecar_address},
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_AND_RUN_S,
    )
    print(run.stdout)  # noqa: T201 (what a failed test shows)
    assert run.returncode == 0, run.stderr
    assert "--- SKIP" not in run.stdout
    assert "--- PASS: TestSetThenGet" in run.stdout
    assert "--- PASS: TestTheEleventhLoginOnARealSidecar" in run.stdout
