"""Rate limits that change while the sidecar runs."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2
from support.metrics_page import MetricsPage
from support.programs import SidecarProgram, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = """
rate_limits:
  calls: {algorithm: token_bucket, rate: 1/d, burst: BURST}
"""
_WORKERS: dict[str, list[str]] = {"one process": [], "two workers": ["--workers", "2"]}


@pytest.fixture(params=_WORKERS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SidecarProgram]:
    """Return a running sidecar with a limit of 5."""
    with SidecarProgram(tmp_path / "sidecar", config=_config(5), arguments=_WORKERS[request.param]) as made:
        yield made


def _config(burst: int) -> str:
    return _CONFIG.replace("BURST", str(burst))


def _write(program: SidecarProgram, config: str) -> None:
    """Put another file in the configuration's place, as editors and Kubernetes do."""
    new = program.folder / "new.yaml"
    new.write_text(config)
    new.replace(program.folder / "sidecar.yaml")


def _limits(program: SidecarProgram) -> set[int]:
    """Return the limits that some calls over connections of their own are told, so that each worker is asked."""
    asked = rate_limit_pb2.PeekRequest(policy="calls", key="k")
    return {program.api().limits.Peek(asked, timeout=30).limit for _ in range(12)}


def _reloads(program: SidecarProgram, outcome: str) -> float:
    return MetricsPage(program.metrics_address)("sidecar_config_reloads_total", outcome=outcome)


def test_a_changed_file_is_taken_in(program: SidecarProgram) -> None:
    """By itself, by every worker, and by those that are started later; what was used stays used."""
    taken = program.api().limits.Check(rate_limit_pb2.CheckRequest(policy="calls", key="k", cost=3), timeout=30)
    assert 2 == taken.remaining
    _write(program, _config(8))
    wait_until(lambda: _limits(program) == {8}, "the new limit is in force")
    left = program.api().limits.Peek(rate_limit_pb2.PeekRequest(policy="calls", key="k"), timeout=30)
    assert 2 == left.remaining
    assert 1 == _reloads(program, "applied")
    for process_id in program.worker_ids[:1]:
        os.kill(process_id, signal.SIGKILL)
        wait_until(lambda: len(program.worker_ids) == 2, "another worker is there")
        wait_until(lambda: MetricsPage(program.metrics_address)("sidecar_workers", state="serving") == 2, "it serves")
        assert {8} == _limits(program)


def test_a_file_with_problems_is_refused_whole(program: SidecarProgram) -> None:
    """Each problem is logged, and what was in force stays, until the file is right."""
    _write(program, _config(0) + "  other: {algorithm: sliding_window, limit: 1, window: 1s}\nno_such: 1\n")
    wait_until(lambda: _reloads(program, "refused") == 1, "the file was refused")
    assert {5} == _limits(program)
    for said in ("sidecar.yaml:3: rate_limits.calls.burst", "no_such"):
        assert said in program.errors
    _write(program, _config(6))
    wait_until(lambda: _limits(program) == {6}, "the mended file is in force")


def test_a_signal_reloads_at_once(program: SidecarProgram) -> None:
    """SIGHUP, also where nothing has changed; nothing is stopped by it."""
    program.signal(signal.SIGHUP)
    wait_until(lambda: _reloads(program, "unchanged") == 1, "the signal was heard")
    assert {5} == _limits(program)


def test_what_cannot_change_is_said(program: SidecarProgram) -> None:
    """And what can change is taken in all the same."""
    _write(program, _config(7) + "tenant: other\n")
    wait_until(lambda: _limits(program) == {7}, "the new limit is in force")
    assert "tenant has changed in the configuration; that takes effect at the next start" in program.errors
