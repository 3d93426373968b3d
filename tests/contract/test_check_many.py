"""CheckMany: several checks at once, all or nothing and each for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import common_pb2, error_reason_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import refusal

if TYPE_CHECKING:
    from support.contract import Contract

# `limits.max_batch_keys` of the tests' configuration.
MAX_ITEMS = 20
EACH, TOGETHER = pb.CHECK_MODE_EACH, pb.CHECK_MODE_ALL_OR_NOTHING
MODES = pytest.mark.parametrize("mode", [EACH, TOGETHER])
LIMITS = {"window": 10, "bucket": 20, "gcra": 15, "log": 8, "fixed": 30, "yearly": 5, "several": 4}


def asked(policy: str, key: str, cost: int | None = None) -> pb.CheckRequest:
    """Return one check."""
    return pb.CheckRequest(policy=policy, key=key, cost=cost)


def check_many(api: Contract, *checks: pb.CheckRequest, mode: pb.CheckMode = TOGETHER) -> pb.CheckManyResponse:
    """Make several checks."""
    return api.limits.CheckMany(pb.CheckManyRequest(checks=checks, mode=mode))


def remaining(api: Contract, policy: str, key: str) -> int:
    """Return what a look says is left."""
    return api.limits.Peek(pb.PeekRequest(policy=policy, key=key)).remaining


@MODES
class TestBoth:
    """What does not depend on the mode."""

    def test_every_algorithm_is_charged(self, api: Contract, key: str, mode: pb.CheckMode) -> None:
        """Each check is answered in its place, with what its policy has left."""
        answer = check_many(api, *(asked(policy, key, 2) for policy in LIMITS), mode=mode)
        told = [(result.decision.allowed, result.decision.remaining) for result in answer.results]
        assert (True, [(True, limit - 2) for limit in LIMITS.values()]) == (answer.allowed, told)

    def test_each_answer_is_that_of_a_check(self, api: Contract, key: str, mode: pb.CheckMode) -> None:
        """A policy of several limits lists them; a cost that is not given is one."""
        answer = check_many(api, asked("several", key), mode=mode)
        (result,) = answer.results
        assert ["steady", "yearly"] == [status.name for status in result.decision.limits]
        assert (3, remaining(api, "several", key)) == (result.decision.remaining, 3)

    def test_what_is_stored_expires(self, api: Contract, key: str, mode: pb.CheckMode) -> None:
        """No key is without a TTL."""
        check_many(api, *(asked(policy, key) for policy in LIMITS), mode=mode)
        expires = [expires_ms for _, expires_ms in api.snapshot(key).values()]
        assert (len(LIMITS) + 1, True) == (len(expires), all(expires_ms > 0 for expires_ms in expires))

    @pytest.mark.parametrize("count", [0, MAX_ITEMS + 1])
    def test_a_batch_has_bounds(self, api: Contract, key: str, mode: pb.CheckMode, count: int) -> None:
        """None, or one too many, is BATCH_SIZE, and nothing is taken."""
        refused = refusal(lambda: check_many(api, *[asked("window", key)] * count, mode=mode))
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE", "checks")
        assert (expected, {}) == (refused.brief, api.snapshot(key))

    def test_a_full_batch_is_allowed(self, api: Contract, key: str, mode: pb.CheckMode) -> None:
        """`limits.max_batch_keys` checks."""
        checks = [asked("window", f"{key}-{number}") for number in range(MAX_ITEMS)]
        assert MAX_ITEMS == len(check_many(api, *checks, mode=mode).results)


class TestAllOrNothing:
    """Costs are taken from all, or from none."""

    @pytest.mark.parametrize("refusing", LIMITS)
    def test_one_refusal_takes_nothing(self, api: Contract, key: str, refusing: str) -> None:
        """Whichever policy refuses; the others say that they would have allowed it."""
        api.limits.Check(pb.CheckRequest(policy=refusing, key=key, cost=LIMITS[refusing]))
        before = api.snapshot(key)
        answer = check_many(api, *(asked(policy, key) for policy in LIMITS))
        told = {policy: result.decision.allowed for policy, result in zip(LIMITS, answer.results, strict=True)}
        assert (False, {policy: policy != refusing for policy in LIMITS}) == (answer.allowed, told)
        assert before == api.snapshot(key)

    def test_it_is_the_mode_of_a_request_that_names_none(self, api: Contract, key: str) -> None:
        """The safer of the two."""
        api.limits.Check(pb.CheckRequest(policy="log", key=key, cost=8))
        check_many(api, asked("bucket", key), asked("log", key), mode=pb.CHECK_MODE_UNSPECIFIED)
        assert 20 == remaining(api, "bucket", key)

    def test_same_policy_and_key_twice_are_taken_together(self, api: Contract, key: str) -> None:
        """Three and four are seven, and both hear what is left."""
        answer = check_many(api, asked("window", key, 3), asked("window", key, 4))
        assert [3, 3] == [result.decision.remaining for result in answer.results]

    @pytest.mark.parametrize("policy", LIMITS)
    def test_sum_above_the_limit_is_refused(self, api: Contract, key: str, policy: str) -> None:
        """It could never be allowed."""
        whole = LIMITS[policy]
        refused = refusal(lambda: check_many(api, asked(policy, key, whole), asked(policy, key)))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "COST_ABOVE_LIMIT", "checks") == refused.brief
        assert {} == api.snapshot(key)

    def test_a_cost_above_its_limit_fails_the_call(self, api: Contract, key: str) -> None:
        """With the path of the cost, and nothing is taken from the others."""
        refused = refusal(lambda: check_many(api, asked("window", key), asked("yearly", key, 6)))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "COST_ABOVE_LIMIT", "checks[1].cost") == refused.brief
        assert ({"limit": "5"}, {}) == (refused.metadata, api.snapshot(key))

    def test_a_foreign_value_fails_the_call(self, api: Contract, key: str) -> None:
        """Nothing is taken from the others."""
        api.oracle.set(f"sc:contract:ll:{{log:{key}}}", "17")
        before = api.snapshot(key)
        refused = refusal(lambda: check_many(api, asked("window", key), asked("log", key)))
        assert ("ENTRY_MALFORMED", before) == (refused.reason, api.snapshot(key))

    def test_concurrent_calls_take_exactly_the_limit(self, api: Contract, key: str) -> None:
        """Of 50 calls at once as many are allowed as the tightest limit says; no other is charged for the rest."""
        request = pb.CheckManyRequest(checks=[asked(policy, key) for policy in LIMITS])
        calls = [api.limits.CheckMany.future(request) for _ in range(50)]
        allowed = sum(call.result().allowed for call in calls)
        left = {policy: remaining(api, policy, key) for policy in LIMITS}
        assert (4, {policy: limit - 4 for policy, limit in LIMITS.items()}) == (allowed, left)


class TestEach:
    """Each check for itself."""

    def test_a_refusal_concerns_nobody_else(self, api: Contract, key: str) -> None:
        """The others are charged."""
        api.limits.Check(pb.CheckRequest(policy="log", key=key, cost=8))
        answer = check_many(api, asked("bucket", key), asked("log", key), asked("window", key), mode=EACH)
        assert (False, [True, False, True]) == (
            answer.allowed,
            [result.decision.allowed for result in answer.results],
        )
        assert [19, 9] == [remaining(api, policy, key) for policy in ("bucket", "window")]

    def test_what_is_wrong_with_one_is_its_failure(self, api: Contract, key: str) -> None:
        """As its own Check would end; the others are charged."""
        api.oracle.set(f"sc:contract:ll:{{log:{key}}}", "17")
        answer = check_many(
            api,
            asked("windwo", key),
            asked("window", ""),
            asked("yearly", key, 6),
            asked("log", key),
            asked("bucket", key),
            mode=EACH,
        )
        reasons = [
            (result.failure.reason, result.failure.field)
            for result in answer.results
            if result.WhichOneof("result") == "failure"
        ]
        assert [
            (error_reason_pb2.ERROR_REASON_POLICY_UNKNOWN, "policy"),
            (error_reason_pb2.ERROR_REASON_KEY_EMPTY, "key"),
            (error_reason_pb2.ERROR_REASON_COST_ABOVE_LIMIT, "cost"),
            (error_reason_pb2.ERROR_REASON_ENTRY_MALFORMED, "key"),
        ] == reasons
        assert (False, 19, common_pb2.Failure()) == (
            answer.allowed,
            answer.results[4].decision.remaining,
            answer.results[4].failure,
        )

    def test_same_policy_and_key_take_effect_in_their_order(self, api: Contract, key: str) -> None:
        """Each hears what is left after itself."""
        answer = check_many(api, *[asked("window", key, 4)] * 3, mode=EACH)
        told = [(result.decision.allowed, result.decision.remaining) for result in answer.results]
        assert [(True, 6), (True, 2), (False, 2)] == told


def test_an_unknown_mode_is_refused(api: Contract, key: str) -> None:
    """It would else be anybody's guess; nothing is taken."""
    request = pb.CheckManyRequest(checks=[asked("window", key)], mode=7)  # type: ignore[arg-type]  # the point
    refused = refusal(lambda: api.limits.CheckMany(request))
    assert (grpc.StatusCode.INVALID_ARGUMENT, "OPERATION_EMPTY", "mode") == refused.brief
    assert {} == api.snapshot(key)
