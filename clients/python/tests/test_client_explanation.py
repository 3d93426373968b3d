"""What the client makes of an explanation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2, timestamp_pb2
from sidecar_client import CostOutcome, DecidedBy, SidecarClient
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from played_sidecar import Play

MINUTE = duration_pb2.Duration(seconds=60)


async def test_an_explanation_is_read(play: Play, sidecar: SidecarClient) -> None:
    """All of it."""
    play.answer(
        pb.ExplainResponse(
            policy=pb.PolicyDescription(name="api", version="7f"),
            decided_by=pb.DECIDED_BY_OVERRIDE_LIMITS,
            override=pb.Override(policy="api", key="k", expires_after=MINUTE),
            store_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
            limits=[pb.LimitState(limit=pb.LimitDescription(name="steady"), remaining=3, words="Three.")],
            outcomes=[pb.CostOutcome(cost=10, retry_after=MINUTE, refused_by=["steady"])],
            tier="pro",
        )
    )
    found = await sidecar.limit("api").explain("k", tier="pro")
    assert (pb.ExplainRequest(policy="api", key="k", tier="pro"), "7f", "pro") == (
        play.received[0].request,
        found.policy.version,
        found.tier,
    )
    assert DecidedBy.OVERRIDE_LIMITS is found.decided_by
    assert (timedelta(minutes=1), datetime.fromtimestamp(1_800_000_000, UTC)) == (
        found.override.expires_after if found.override else None, found.store_time
    )  # fmt: skip
    assert [("steady", 3, "Three.")] == [(state.limit.name, state.remaining, state.words) for state in found.limits]
    wait = timedelta(minutes=1)
    refused = CostOutcome(cost=10, allowed=False, retry_after=wait, refused_by=("steady",), shadow_denied=False)
    assert (refused,) == found.outcomes


async def test_there_may_be_no_override(play: Play, sidecar: SidecarClient) -> None:
    """Then there is none."""
    play.answer(pb.ExplainResponse())
    found = await sidecar.limit("api").explain("k")
    assert (None, DecidedBy.LIMITS, ()) == (found.override, found.decided_by, found.limits)
