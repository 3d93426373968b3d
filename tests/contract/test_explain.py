"""RateLimitService: Explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import duration_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from support.contract import Contract

HOUR = duration_pb2.Duration(seconds=3600)
# The limits of the tests' configuration: what can be taken at once.
LIMITS = {"window": 10, "bucket": 20, "gcra": 15, "log": 8, "fixed": 30, "yearly": 5, "several": 4}
POLICIES = pytest.mark.parametrize(("policy", "limit"), LIMITS.items())
NOW_WITHIN_S = 5


def check(api: Contract, policy: str, key: str, cost: int) -> pb.CheckResponse:
    """Ask for leave."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key, cost=cost))


def explain(api: Contract, policy: str, key: str) -> pb.ExplainResponse:
    """Ask why."""
    return api.limits.Explain(pb.ExplainRequest(policy=policy, key=key))


@POLICIES
class TestLimits:
    """Keys on which the limits decide."""

    def test_it_takes_nothing(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """And writes nothing."""
        answer = explain(api, policy, key)
        assert (limit, {}) == (min(state.remaining for state in answer.limits), api.snapshot(key))

    def test_costs_are_answered(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Those of 1, 10 and 100, and the limit in place of what is above it."""
        costs = sorted({min(cost, limit) for cost in (1, 10, 100)})
        outcomes = explain(api, policy, key).outcomes
        assert [(cost, True, 0) for cost in costs] == [
            (outcome.cost, outcome.allowed, outcome.retry_after.ToMicroseconds()) for outcome in outcomes
        ]

    def test_what_would_be_refused_is(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """With the wait that Peek names."""
        check(api, policy, key, limit)
        last = explain(api, policy, key).outcomes[-1]
        peeked = api.limits.Peek(pb.PeekRequest(policy=policy, key=key, cost=last.cost))
        apart_us = last.retry_after.ToMicroseconds() - peeked.retry_after.ToMicroseconds()
        assert (False, True) == (last.allowed, 0 <= apart_us < NOW_WITHIN_S * 1_000_000)

    def test_states_are_what_peek_says(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Numbers and words."""
        check(api, policy, key, limit - 1)
        answer = explain(api, policy, key)
        assert (1, True) == (
            min(state.remaining for state in answer.limits),
            all(state.words.endswith(".") and state.reset_after.seconds > 0 for state in answer.limits),
        )

    def test_the_policy_and_the_time_are_named(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """The policy as ListPolicies does, the time by the store."""
        answer = explain(api, policy, key)
        (described,) = api.limits.ListPolicies(pb.ListPoliciesRequest(policy=policy)).policies
        seconds, _ = api.oracle.time()
        assert (described, limit) == (answer.policy, min(state.limit.limit for state in answer.limits))
        assert 0 <= seconds - answer.store_time.seconds <= NOW_WITHIN_S


class TestWords:
    """The same for people."""

    def test_of_a_bucket(self, api: Contract, key: str) -> None:
        """What is there, and what comes back."""
        check(api, "bucket", key, 5)
        (state,) = explain(api, "bucket", key).limits
        expected = "15 of 20 can be taken at once, and 1 in 1h come back; all of them are back in 5h."
        assert expected == state.words

    def test_of_slots(self, api: Contract, key: str) -> None:
        """What is leased, and what could be."""
        api.limits.Acquire(pb.AcquireRequest(policy="slots", key=key, slots=2))
        answer = explain(api, "slots", key)
        (state,) = answer.limits
        told = [(outcome.cost, outcome.allowed) for outcome in answer.outcomes]
        assert ("2 of 3 slots are leased", [(1, True), (3, False)]) == (state.words.partition(";")[0], told)

    def test_of_several(self, api: Contract, key: str) -> None:
        """Which of them would refuse."""
        check(api, "several", key, 3)
        answer = explain(api, "several", key)
        names = [state.limit.name for state in answer.limits]
        assert (["steady", "yearly"], [(1, []), (4, ["steady", "yearly"])]) == (
            names, [(outcome.cost, list(outcome.refused_by)) for outcome in answer.outcomes]
        )  # fmt: skip


class TestRules:
    """Keys on which something else decides."""

    @pytest.mark.parametrize(
        ("policy", "prefix", "expected"),
        [
            ("listed", "vip", (pb.DECIDED_BY_UNLIMITED_KEY, "vip", {True})),
            ("listed", "probe:1", (pb.DECIDED_BY_UNLIMITED_KEY, "probe:*", {True})),
            ("listed", "probe:bad:1", (pb.DECIDED_BY_DENIED_KEY, "probe:bad:*", {False})),
            ("unlimited", "anybody", (pb.DECIDED_BY_UNLIMITED_POLICY, "", {True})),
            ("closed", "anybody", (pb.DECIDED_BY_ZERO_LIMIT, "", {False})),
        ],
    )
    def test_the_rule_is_named(
        self, api: Contract, policy: str, prefix: str, expected: tuple[pb.DecidedBy, str, set[bool]]
    ) -> None:
        """With the entry as it is written."""
        answer = explain(api, policy, prefix)
        assert expected == (answer.decided_by, answer.entry, {outcome.allowed for outcome in answer.outcomes})

    def test_shadow_mode_is_named(self, api: Contract, key: str) -> None:
        """By what would be refused without it."""
        check(api, "shadowed", key, 2)
        answer = explain(api, "shadowed", key)
        assert [(True, True)] * 2 == [(outcome.allowed, outcome.shadow_denied) for outcome in answer.outcomes]

    def test_an_override_is_named(self, api: Contract, key: str) -> None:
        """With its numbers, and the limits by them."""
        numbers = pb.OverrideNumbers(limits=[pb.LimitNumbers(limit=70)])
        override = pb.Override(policy="fixed", key=key, numbers=numbers, expires_after=HOUR)
        api.limits.SetOverride(pb.SetOverrideRequest(override=override))
        answer = explain(api, "fixed", key)
        assert (pb.DECIDED_BY_OVERRIDE_LIMITS, numbers, 70, 30) == (
            answer.decided_by, answer.override.numbers, answer.limits[0].limit.limit, answer.policy.limits[0].limit
        )  # fmt: skip

    def test_a_denial_by_override_is_named(self, api: Contract, key: str) -> None:
        """With the time that it still holds."""
        override = pb.Override(policy="fixed", key=key, denied=True, expires_after=HOUR)
        api.limits.SetOverride(pb.SetOverrideRequest(override=override))
        answer = explain(api, "fixed", key)
        assert (pb.DECIDED_BY_OVERRIDE_DENIED, True, 0) == (
            answer.decided_by, answer.override.denied, len(answer.limits)
        )  # fmt: skip
        assert 3590 < answer.override.expires_after.seconds <= 3600
