"""Reading a configuration by another process: what is said where that process cannot do it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from sidecar.config import reading
from sidecar.config.reading import read
from sidecar.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path


def _program(folder: Path, body: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("exit 3", "the process for it ended with 3"),
        ("kill -9 $$", "the process for it ended with -9"),
        ("cat >/dev/null; echo nonsense", "the process for it answered with not a parcel (UnpicklingError)"),
    ],
)
def test_a_process_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, why: str) -> None:
    """With what became of it."""
    monkeypatch.setattr(sys, "executable", _program(tmp_path, body))
    with pytest.raises(StartupError) as caught:
        read(None, {}, {})
    assert f"the configuration cannot be read: {why}" == str(caught.value)


def test_a_process_that_cannot_be_started_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the program that was to be one, and why it is not."""
    missing = str(tmp_path / "python")
    monkeypatch.setattr(sys, "executable", missing)
    with pytest.raises(StartupError) as caught:
        read(None, {}, {})
    why = f"no other process can be started by {missing}: No such file or directory"
    assert f"the configuration cannot be read: {why}" == str(caught.value)


def test_a_file_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it, at the start or to end, goes on."""
    endless = tmp_path / "sidecar.yaml"
    os.mkfifo(endless)
    monkeypatch.setattr(reading, "_MOST_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(StartupError, match=r"had not ended after 0\.5 s"):
        read(endless, os.environ, {})
    assert time.monotonic() - begun < 60


def test_a_defect_in_reading_is_named_by_its_type_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What an exception says may quote a secret of the file, and standard error is the log."""

    def fail(*_: object) -> None:
        raise ValueError("hunter2")

    monkeypatch.setattr("sidecar.config.loader.load", fail)
    assert reading._judge(None, {}) != 0
    told = capfd.readouterr()
    assert ("", True, False) == (told.out, "ValueError" in told.err, "hunter2" in told.err)
