"""RateLimitService: ListPolicies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import duration_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import refusal

if TYPE_CHECKING:
    from support.contract import Contract

DAY = duration_pb2.Duration(seconds=86_400)
HOUR = duration_pb2.Duration(seconds=3_600)


def listed(api: Contract) -> dict[str, pb.PolicyDescription]:
    """Return all policies by name."""
    return {policy.name: policy for policy in api.limits.ListPolicies(pb.ListPoliciesRequest()).policies}


class TestListPolicies:
    """What the policies say."""

    def test_all_are_listed_in_order(self, api: Contract) -> None:
        """Those of the configuration and no others, by name."""
        names = list(listed(api))
        assert sorted(api.sidecar.settings.rate_limits) == names

    def test_a_window_has_a_length(self, api: Contract) -> None:
        """And the number of its parts."""
        expected = pb.LimitDescription(algorithm=pb.ALGORITHM_SLIDING_WINDOW, limit=10, window=DAY, sub_windows=10)
        assert [expected] == list(listed(api)["window"].limits)

    def test_a_bucket_has_a_rate(self, api: Contract) -> None:
        """So much in each period, beside the burst."""
        expected = pb.LimitDescription(algorithm=pb.ALGORITHM_TOKEN_BUCKET, limit=20, rate_tokens=1, rate_period=HOUR)
        assert [expected] == list(listed(api)["bucket"].limits)

    def test_a_calendar_has_a_zone(self, api: Contract) -> None:
        """In place of a length."""
        expected = pb.LimitDescription(
            algorithm=pb.ALGORITHM_FIXED_WINDOW, limit=5, calendar="year", time_zone="Asia/Kolkata"
        )
        assert [expected] == list(listed(api)["yearly"].limits)

    def test_slots_have_leases(self, api: Contract) -> None:
        """The usual and the longest."""
        expected = pb.LimitDescription(
            algorithm=pb.ALGORITHM_CONCURRENCY,
            limit=3,
            lease=duration_pb2.Duration(seconds=60),
            max_lease=duration_pb2.Duration(seconds=120),
        )
        assert [expected] == list(listed(api)["slots"].limits)

    def test_several_limits_have_names(self, api: Contract) -> None:
        """Each is listed, under its own."""
        told = [(limit.name, limit.algorithm, limit.limit) for limit in listed(api)["several"].limits]
        assert [("steady", pb.ALGORITHM_TOKEN_BUCKET, 4), ("yearly", pb.ALGORITHM_FIXED_WINDOW, 6)] == told

    def test_what_is_done_beside_decisions_is_said(self, api: Contract) -> None:
        """While the store is gone, and after a refusal."""
        told = {name: (policy.on_failure, policy.cache_refusals) for name, policy in listed(api).items()}
        expected = [(pb.FAILURE_MODE_OPEN, True), (pb.FAILURE_MODE_ERROR, False), (pb.FAILURE_MODE_ERROR, False)]
        assert expected == [told[name] for name in ("settled", "window", "slots")]

    def test_one_may_be_asked_for(self, api: Contract) -> None:
        """By its name, which has to be that of a policy."""
        (found,) = api.limits.ListPolicies(pb.ListPoliciesRequest(policy="gcra")).policies
        unknown = refusal(lambda: api.limits.ListPolicies(pb.ListPoliciesRequest(policy="gcrb")))
        assert ("gcra", "POLICY_UNKNOWN", "gcra") == (found.name, unknown.reason, unknown.metadata["nearest"])

    def test_versions_differ_and_stay(self, api: Contract) -> None:
        """Each policy has one of its own, the same whenever one asks."""
        first = {name: policy.version for name, policy in listed(api).items()}
        again = {name: policy.version for name, policy in listed(api).items()}
        assert (first, len(first)) == (again, len(set(first.values())))
