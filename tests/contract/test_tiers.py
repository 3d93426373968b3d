"""Tiers: other numbers for a caller, by the name that the call gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import duration_pb2
from sidecar_client.gen.sidecar.v1 import pipeline_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import refusal

if TYPE_CHECKING:
    from support.contract import Contract

HOUR = duration_pb2.Duration(seconds=3600)
BY_POLICY, BY_TIER = pb.DECIDED_BY_UNSPECIFIED, pb.DECIDED_BY_TIER_LIMITS


def check(api: Contract, policy: str, key: str, tier: str = "", cost: int = 1) -> pb.CheckResponse:
    """Ask for leave."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key, tier=tier, cost=cost))


def explain(api: Contract, policy: str, key: str, tier: str = "") -> pb.ExplainResponse:
    """Ask why."""
    return api.limits.Explain(pb.ExplainRequest(policy=policy, key=key, tier=tier))


class TestCheck:
    """What a tier's callers are told."""

    @pytest.mark.parametrize(("tier", "limit", "why"), [("", 4, BY_POLICY), ("pro", 40, BY_TIER), ("free", 2, BY_TIER)])
    def test_the_tiers_numbers_hold(self, api: Contract, key: str, tier: str, limit: int, why: pb.DecidedBy) -> None:
        """To the last call."""
        answers = [check(api, "tiered", key, tier) for _ in range(limit + 1)]
        expected = [(True, limit, limit - used, why) for used in range(1, limit + 1)] + [(False, limit, 0, why)]
        assert expected == [(one.allowed, one.limit, one.remaining, one.decided_by) for one in answers]

    def test_what_is_used_is_used_for_all(self, api: Contract, key: str) -> None:
        """A window counts the same whichever tier asks."""
        check(api, "tiered", key, "pro", 3)
        told = [
            (one.allowed, one.remaining) for one in (check(api, "tiered", key, tier) for tier in ("free", "", "pro"))
        ]
        assert [(False, 0), (True, 0), (True, 35)] == told

    def test_a_bucket_keeps_its_tokens(self, api: Contract, key: str) -> None:
        """A caller whose tier goes up has what it had, and no new burst; one whose goes down has its burst at most."""
        check(api, "tiered-bucket", key, "free", 2)
        up = check(api, "tiered-bucket", key, "pro")
        assert (True, 40, 0) == (up.allowed, up.limit, up.remaining)
        api.limits.Reset(pb.ResetRequest(policy="tiered-bucket", key=key))
        check(api, "tiered-bucket", key, "pro")
        down = check(api, "tiered-bucket", key, "free")
        assert (True, 3, 2) == (down.allowed, down.limit, down.remaining)

    @pytest.mark.parametrize(
        ("tier", "expected"),
        [("staff", (True, pb.DECIDED_BY_TIER_UNLIMITED)), ("gone", (False, pb.DECIDED_BY_TIER_DENIED))],
    )
    def test_a_tier_may_do_without_limits(
        self, api: Contract, key: str, tier: str, expected: tuple[bool, pb.DecidedBy]
    ) -> None:
        """Nothing is stored."""
        answers = [check(api, "tiered", key, tier, 1000) for _ in range(3)]
        assert [expected] * 3 == [(answer.allowed, answer.decided_by) for answer in answers]
        assert {} == api.snapshot(key)

    def test_several_limits_have_numbers_by_name(self, api: Contract, key: str) -> None:
        """Those that the tier does not name are as they are."""
        answer = check(api, "tiered-several", key, "pro")
        assert [("steady", 40), ("yearly", 6)] == [(limit.name, limit.limit) for limit in answer.limits]

    def test_an_unknown_tier_is_refused(self, api: Contract, key: str) -> None:
        """With the nearest name, and nothing was taken."""
        failed = refusal(lambda: check(api, "tiered", key, "fre"))
        assert ("TIER_UNKNOWN", "tier", "free", {}) == (
            failed.reason, failed.field, failed.metadata["nearest"], api.snapshot(key)
        )  # fmt: skip

    def test_a_policy_without_tiers_has_none(self, api: Contract, key: str) -> None:
        """Also one of slots, when Peek asks."""
        asked = [
            lambda: check(api, "window", key, "pro"),
            lambda: api.limits.Peek(pb.PeekRequest(policy="slots", key=key, tier="pro")),
            lambda: explain(api, "slots", key, "pro"),
        ]
        assert ["TIER_UNKNOWN"] * 3 == [refusal(ask).reason for ask in asked]


class TestOthers:
    """Everything else that asks."""

    def test_peek_says_what_check_would(self, api: Contract, key: str) -> None:
        """And takes nothing."""
        answer = api.limits.Peek(pb.PeekRequest(policy="tiered", key=key, tier="pro", cost=30))
        assert (True, 40, 40, BY_TIER) == (answer.allowed, answer.limit, answer.remaining, answer.decided_by)

    @pytest.mark.parametrize("mode", [pb.CHECK_MODE_ALL_OR_NOTHING, pb.CHECK_MODE_EACH])
    def test_each_check_has_a_tier_of_its_own(self, api: Contract, key: str, mode: pb.CheckMode) -> None:
        """Of several at once."""
        checks = [pb.CheckRequest(policy="tiered", key=f"{key}{tier}", tier=tier) for tier in ("", "free", "pro")]
        answer = api.limits.CheckMany(pb.CheckManyRequest(checks=checks, mode=mode))
        assert [4, 2, 40] == [result.decision.limit for result in answer.results]

    def test_of_one_key_the_first_tier_counts(self, api: Contract, key: str) -> None:
        """All or nothing, since its checks are one of their sum."""
        checks = [pb.CheckRequest(policy="tiered", key=key, tier=tier, cost=2) for tier in ("free", "pro")]
        failed = refusal(lambda: api.limits.CheckMany(pb.CheckManyRequest(checks=checks)))
        answer = api.limits.CheckMany(pb.CheckManyRequest(checks=checks[::-1]))
        assert ("COST_ABOVE_LIMIT", [(True, 36)] * 2) == (
            failed.reason, [(result.decision.allowed, result.decision.remaining) for result in answer.results]
        )  # fmt: skip

    def test_a_pipeline_carries_tiers(self, api: Contract, key: str) -> None:
        """Of Check and Peek."""
        operations = [
            pipeline_pb2.Operation(check=pb.CheckRequest(policy="tiered", key=key, tier="pro")),
            pipeline_pb2.Operation(peek=pb.PeekRequest(policy="tiered", key=key, tier="free")),
        ]
        checked, peeked = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations)).results
        assert (40, 2) == (checked.check.limit, peeked.peek.limit)


class TestExplained:
    """What is said of tiers."""

    def test_the_tier_that_decides_is_named(self, api: Contract, key: str) -> None:
        """With the limits by its numbers."""
        answer = explain(api, "tiered", key, "pro")
        assert ("pro", BY_TIER, [40], [1, 10, 40]) == (
            answer.tier,
            answer.decided_by,
            [state.limit.limit for state in answer.limits],
            [outcome.cost for outcome in answer.outcomes],
        )

    def test_a_tier_that_does_not_decide_is_not(self, api: Contract, key: str) -> None:
        """A list comes first, and an override before that."""
        numbers = pb.OverrideNumbers(limits=[pb.LimitNumbers(limit=70)])
        override = pb.Override(policy="tiered", key=key, numbers=numbers, expires_after=HOUR)
        api.limits.SetOverride(pb.SetOverrideRequest(override=override))
        told = [(one.tier, one.decided_by) for one in (explain(api, "tiered", asked, "pro") for asked in ("vip", key))]
        assert [("", pb.DECIDED_BY_UNLIMITED_KEY), ("", pb.DECIDED_BY_OVERRIDE_LIMITS)] == told

    def test_tiers_are_listed(self, api: Contract) -> None:
        """With their limits."""
        (policy,) = api.limits.ListPolicies(pb.ListPoliciesRequest(policy="tiered")).policies
        told = [
            (tier.name, tier.unlimited, tier.denied, [limit.limit for limit in tier.limits]) for tier in policy.tiers
        ]
        expected = [("free", False, False, [2]), ("pro", False, False, [40]), ("staff", True, False, [])]
        assert [*expected, ("gone", False, True, [])] == told
