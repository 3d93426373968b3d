"""The README's transcript, run line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d+(\.\d+)?")


def transcript() -> list[tuple[str, str]]:
    """Return the commands of the README's transcript with their outputs."""
    block = _BLOCK.search((ROOT / "README.md").read_text())
    assert block is not None
    parts = re.split(r"^\$ ", block[1], flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def without_numbers(text: str) -> str:
    """Return a text in which versions, times and ports are all the same."""
    return _NUMBER.sub("N", text)


def test_the_transcript_is_true_today(sidecar_address: str) -> None:
    """Each command prints what the README says, but for its numbers."""
    programs = Path(sys.executable).parent
    environ = {**os.environ, "SIDECAR_ADDRESS": sidecar_address, "SIDECAR_LISTEN": sidecar_address}
    seen = []
    for command, _ in transcript():
        here = command.replace(".venv/bin/", f"{programs}/")
        done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, env=environ, check=False, cwd=ROOT)
        seen.append((command, without_numbers(done.stdout + done.stderr)))
    assert [(command, without_numbers(output)) for command, output in transcript()] == seen
