"""What the client makes of a report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2, timestamp_pb2
from sidecar_client import CandidateRefusal, CandidateReport, LimitReport, RefusedKey, SidecarClient
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from played_sidecar import Play

THEN = timestamp_pb2.Timestamp(seconds=1_800_000_000)
TIME = datetime.fromtimestamp(1_800_000_000, UTC)


async def test_a_report_is_read(play: Play, sidecar: SidecarClient) -> None:
    """All of it."""
    candidate = pb.CandidateReport(
        since=THEN,
        processes=1,
        both_allowed=2,
        both_refused=3,
        only_candidate_refused=4,
        only_live_refused=5,
        unanswered=6,
        sample=[pb.CandidateRefusal(key="k", time=THEN)],
    )
    play.answer(
        pb.ReportLimitsResponse(
            version="7f",
            processes=2,
            age=duration_pb2.Duration(seconds=3),
            since=THEN,
            refused=9,
            keys=[pb.RefusedKey(key="ada", refused=7, excess=1)],
            hashed=True,
            candidate=candidate,
        )
    )
    tried = CandidateReport(
        since=TIME,
        processes=1,
        both_allowed=2,
        both_refused=3,
        only_candidate_refused=4,
        only_live_refused=5,
        unanswered=6,
        sample=(CandidateRefusal(key="k", time=TIME),),
    )
    expected = LimitReport(
        version="7f",
        processes=2,
        age=timedelta(seconds=3),
        since=TIME,
        refused=9,
        keys=(RefusedKey(key="ada", refused=7, excess=1),),
        hashed=True,
        candidate=tried,
    )
    assert expected == await sidecar.limit("api").report()
    assert pb.ReportLimitsRequest(policy="api") == play.received[0].request


async def test_there_may_be_no_candidate(play: Play, sidecar: SidecarClient) -> None:
    """Then there is none."""
    play.answer(pb.ReportLimitsResponse())
    found = await sidecar.limit("api").report()
    assert (None, ()) == (found.candidate, found.keys)
