"""A second implementation of the envelope, in Go and from its document, reads the frozen vectors."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).parent.parent / "go" / "envelope"


def test_go_reads_the_vectors() -> None:
    """Go opens every frozen envelope and refuses every tampered one."""
    go = shutil.which("go")
    if go is None:
        if "SIDECAR_REQUIRE_GO" in os.environ:
            pytest.fail("SIDECAR_REQUIRE_GO is set, but there is no go on the PATH")
        pytest.skip("no go on the PATH")
    # The module has no dependencies and wants no newer toolchain: nothing is downloaded.
    offline = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOWORK": "off"}
    done = subprocess.run(
        [go, "test", "-count=1", "./..."], cwd=MODULE, env=offline, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
