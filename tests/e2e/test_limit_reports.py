"""Reports of limits over the workers of a sidecar, and across a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.programs import SidecarProgram, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = """
rate_limits:
  calls:
    algorithm: token_bucket
    rate: 1/d
    burst: 5
    candidate: {algorithm: sliding_log, limit: LIMIT, window: 1d}
    personal: PERSONAL
"""
_KEY = "user:ada"
_CALLS = 40


@pytest.fixture
def program(tmp_path: Path) -> Iterator[SidecarProgram]:
    """Return a running sidecar of two workers, with a limit of 5 and a candidate of 3."""
    with SidecarProgram(tmp_path / "sidecar", config=_config(), arguments=["--workers", "2"]) as made:
        yield made


def _config(limit: int = 3, *, personal: bool = False) -> str:
    return _CONFIG.replace("LIMIT", str(limit)).replace("PERSONAL", str(personal).lower())


def _check(program: SidecarProgram, times: int) -> None:
    """Check over connections of their own, so that the kernel spreads them."""
    for _ in range(times):
        with program.api() as api:
            api.limits.Check(pb.CheckRequest(policy="calls", key=_KEY), timeout=30)


def _report(program: SidecarProgram) -> pb.ReportLimitsResponse:
    with program.api() as api:
        return api.limits.ReportLimits(pb.ReportLimitsRequest(policy="calls"), timeout=30)


def _tried(report: pb.ReportLimitsResponse) -> tuple[int, int, int, int]:
    candidate = report.candidate
    return (
        candidate.both_allowed,
        candidate.both_refused,
        candidate.only_candidate_refused,
        candidate.only_live_refused,
    )


def test_a_report_is_of_all_workers(program: SidecarProgram) -> None:
    """Each tells by itself what it has seen, and whichever is asked adds it up, exactly."""
    _check(program, _CALLS)
    wait_until(lambda: _report(program).refused == _CALLS - 5, "both workers have told")
    reports = [_report(program) for _ in range(8)]
    told = {(report.processes, report.keys[0].key, report.keys[0].refused, _tried(report)) for report in reports}
    assert {(2, _KEY, _CALLS - 5, (3, _CALLS - 5, 2, 0))} == told
    assert {2} == {len(report.candidate.sample) for report in reports}


def test_a_reload_goes_on_counting_refusals_and_begins_another_trial(program: SidecarProgram) -> None:
    """What the candidate before it had counted stays counted: one more fits. Keys are pseudonyms from now on."""
    _check(program, 8)
    wait_until(lambda: _report(program).refused == 3, "both workers have told")
    new = program.folder / "new.yaml"
    new.write_text(_config(4, personal=True))
    new.replace(program.folder / "sidecar.yaml")
    versions = {_report(program).version}
    wait_until(
        lambda: all(report.hashed and report.version not in versions for report in map(_report, [program] * 8)),
        "both workers have the new policy",
    )
    _check(program, 2)
    wait_until(lambda: _tried(_report(program)) == (0, 1, 0, 1), "both workers have told anew")
    assert 5 == _report(program).refused
    assert [] == [key.key for key in _report(program).keys if key.key == _KEY]
