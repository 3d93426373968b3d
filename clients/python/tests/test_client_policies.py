"""What the client makes of descriptions of policies."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2
from sidecar_client import Algorithm, FailureMode, Policy, PolicyLease, PolicyLimit, PolicyTier, SidecarClient
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from played_sidecar import Play

MINUTE = duration_pb2.Duration(seconds=60)
AUTH = PolicyLimit(
    name="",
    algorithm=Algorithm.SLIDING_WINDOW,
    limit=10,
    window=timedelta(minutes=1),
    calendar="",
    time_zone="",
    sub_windows=10,
    rate_tokens=0,
    rate_period=None,
    lease=None,
    max_lease=None,
)


async def test_policies_are_listed(play: Play, sidecar: SidecarClient) -> None:
    """With what their limits have; what these lack is None, 0 or empty."""
    limit = pb.LimitDescription(algorithm=pb.ALGORITHM_SLIDING_WINDOW, limit=10, window=MINUTE, sub_windows=10)
    said = pb.PolicyDescription(name="auth", version="7f", limits=[limit], on_failure=pb.FAILURE_MODE_CLOSED)
    play.answer(pb.ListPoliciesResponse(policies=[said]))
    expected = Policy(name="auth", version="7f", limits=(AUTH,), on_failure=FailureMode.CLOSED)
    assert (expected,) == await sidecar.policies()


async def test_tiers_are_listed(play: Play, sidecar: SidecarClient) -> None:
    """With their limits, or what they are in place of these."""
    limit = pb.LimitDescription(algorithm=pb.ALGORITHM_SLIDING_WINDOW, limit=10, window=MINUTE, sub_windows=10)
    tiers = [pb.TierDescription(name="pro", limits=[limit]), pb.TierDescription(name="staff", unlimited=True)]
    play.answer(pb.ListPoliciesResponse(policies=[pb.PolicyDescription(tiers=tiers)]))
    (policy,) = await sidecar.policies()
    pro = PolicyTier(name="pro", unlimited=False, denied=False, limits=(AUTH,))
    assert (pro, PolicyTier(name="staff", unlimited=True, denied=False, limits=())) == policy.tiers


async def test_a_lease_is_described(play: Play, sidecar: SidecarClient) -> None:
    """How much a process may hold of a key, and for how long."""
    lease = pb.LeaseDescription(max_fraction=0.05, max_tokens=5, ttl=duration_pb2.Duration(nanos=200_000_000))
    play.answer(pb.ListPoliciesResponse(policies=[pb.PolicyDescription(lease=lease)]))
    (policy,) = await sidecar.policies()
    assert PolicyLease(max_fraction=0.05, max_tokens=5, ttl=timedelta(milliseconds=200)) == policy.lease


async def test_an_algorithm_of_a_newer_sidecar_is_unknown(play: Play, sidecar: SidecarClient) -> None:
    """The list is still of use."""
    limit = pb.LimitDescription(algorithm=99)  # type: ignore[arg-type]  # a number that the client has no name for
    play.answer(pb.ListPoliciesResponse(policies=[pb.PolicyDescription(limits=[limit])]))
    (policy,) = await sidecar.policies()
    assert Algorithm.UNKNOWN is policy.limits[0].algorithm
