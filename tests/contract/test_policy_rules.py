"""What a policy says beside its limits: lists, unlimited, limits of 0, shadow mode, and what is near a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client.gen.sidecar.v1 import pipeline_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import refusal

if TYPE_CHECKING:
    from support.contract import Contract

UNLIMITED, UNLIMITED_KEY = pb.DECIDED_BY_UNLIMITED_POLICY, pb.DECIDED_BY_UNLIMITED_KEY
ZERO_LIMIT, DENIED_KEY = pb.DECIDED_BY_ZERO_LIMIT, pb.DECIDED_BY_DENIED_KEY
BY_LIMITS = pb.DECIDED_BY_UNSPECIFIED
EXEMPTED = pytest.mark.parametrize(
    ("policy", "prefix", "expected"),
    [
        ("listed", "vip", (True, 2, 2, UNLIMITED_KEY)),
        ("listed", "probe:", (True, 2, 2, UNLIMITED_KEY)),
        ("listed", "banned", (False, 2, 0, DENIED_KEY)),
        ("listed", "probe:bad:", (False, 2, 0, DENIED_KEY)),
        ("unlimited", "anybody", (True, 1, 1, UNLIMITED)),
        ("unlimited", "banned", (False, 1, 0, DENIED_KEY)),
        ("closed", "anybody", (False, 0, 0, ZERO_LIMIT)),
    ],
)


def check(api: Contract, policy: str, key: str, cost: int | None = None) -> pb.CheckResponse:
    """Ask for leave."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key, cost=cost))


def together(api: Contract, *checks: tuple[str, str, int]) -> pb.CheckManyResponse:
    """Ask for leave of several, all or nothing."""
    requests = [pb.CheckRequest(policy=policy, key=key, cost=cost) for policy, key, cost in checks]
    return api.limits.CheckMany(pb.CheckManyRequest(checks=requests))


def told(answer: pb.CheckResponse | pb.PeekResponse) -> tuple[bool, int, int, int]:
    """Return what an answer says that does not wait for anything."""
    assert (0, 0) == (answer.retry_after.ToMicroseconds(), answer.reset_after.ToMicroseconds())
    return answer.allowed, answer.limit, answer.remaining, answer.decided_by


def counted(api: Contract, policy: str, outcome: str) -> int:
    """Return how many decisions on a policy had an outcome so far."""
    families: Any = api.sidecar._app._metrics.families
    value: int = families["sidecar_ratelimit_decisions"].cell(policy, outcome).value
    return value


@EXEMPTED
class TestExempted:
    """Keys on which the limits do not decide."""

    def test_check_says_so(
        self, api: Contract, policy: str, prefix: str, expected: tuple[bool, int, int, pb.DecidedBy]
    ) -> None:
        """However often one asks, with what decided."""
        assert [expected] * 4 == [told(check(api, policy, prefix)) for _ in range(4)]

    def test_a_cost_above_the_limit_is_no_error(
        self, api: Contract, policy: str, prefix: str, expected: tuple[bool, int, int, pb.DecidedBy]
    ) -> None:
        """There is no limit to be above of."""
        assert expected == told(check(api, policy, prefix, 1_000_000))

    def test_peek_says_the_same(
        self, api: Contract, policy: str, prefix: str, expected: tuple[bool, int, int, pb.DecidedBy]
    ) -> None:
        """As ever."""
        assert expected == told(api.limits.Peek(pb.PeekRequest(policy=policy, key=prefix)))

    def test_a_pipeline_says_the_same(
        self, api: Contract, key: str, policy: str, prefix: str, expected: tuple[bool, int, int, pb.DecidedBy]
    ) -> None:
        """Alone in a batch, and beside what goes to the store."""
        own = pipeline_pb2.Operation(check=pb.CheckRequest(policy=policy, key=prefix))
        other = pipeline_pb2.Operation(check=pb.CheckRequest(policy="window", key=key))
        for operations in ([own], [other, own, other]):
            answer = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations))
            (found,) = [told(result.check) for result in answer.results if result.check.decided_by]
            assert (expected, len(operations)) == (found, len(answer.results))

    def test_nothing_is_stored(
        self, api: Contract, policy: str, prefix: str, expected: tuple[bool, int, int, pb.DecidedBy]
    ) -> None:
        """The store was not asked."""
        assert expected == told(check(api, policy, prefix))
        assert {} == api.snapshot(f"{policy}:{prefix}}}")


class TestLists:
    """What is on no list."""

    def test_other_keys_are_limited(self, api: Contract, key: str) -> None:
        """The limits decide, and the answer names nothing else."""
        answers = [check(api, "listed", key) for _ in range(3)]
        assert [(True, BY_LIMITS), (True, BY_LIMITS), (False, BY_LIMITS)] == [
            (answer.allowed, answer.decided_by) for answer in answers
        ]

    def test_an_entry_is_no_prefix(self, api: Contract, key: str) -> None:
        """What goes on after a listed key is another key."""
        assert BY_LIMITS == check(api, "listed", f"vip{key}").decided_by

    def test_an_empty_key_is_refused(self, api: Contract) -> None:
        """Also where everything is let through."""
        assert "KEY_EMPTY" == refusal(lambda: check(api, "unlimited", "")).reason

    def test_a_long_key_is_refused(self, api: Contract) -> None:
        """Also where a prefix would let it through."""
        assert "KEY_TOO_LONG" == refusal(lambda: check(api, "listed", "probe:" * 100)).reason

    def test_they_are_counted(self, api: Contract) -> None:
        """As any other decisions."""
        before = counted(api, "listed", "allowed"), counted(api, "listed", "denied")
        for key in ("vip", "vip", "banned"):
            check(api, "listed", key)
        after = counted(api, "listed", "allowed"), counted(api, "listed", "denied")
        assert (2, 1) == (after[0] - before[0], after[1] - before[1])


class TestTogether:
    """Several at once."""

    def test_a_denied_key_keeps_others_from_being_charged(self, api: Contract, key: str) -> None:
        """All or nothing: it would be a refusal that no charge undoes."""
        answer = together(api, ("window", key, 3), ("listed", "banned", 1))
        decided = [(result.decision.allowed, result.decision.remaining) for result in answer.results]
        assert (False, [(True, 10), (False, 0)]) == (answer.allowed, decided)
        assert {} == api.snapshot(key)

    def test_an_unlimited_key_keeps_nobody(self, api: Contract, key: str) -> None:
        """The others decide."""
        answer = together(api, ("window", key, 3), ("listed", "vip", 5))
        decided = [(result.decision.allowed, result.decision.remaining) for result in answer.results]
        assert (True, [(True, 7), (True, 2)]) == (answer.allowed, decided)

    def test_none_may_need_the_store(self, api: Contract) -> None:
        """Then it is not asked."""
        answer = together(api, ("listed", "vip", 1), ("unlimited", "anybody", 1))
        assert (True, 2) == (answer.allowed, len(answer.results))

    def test_a_shadowed_policy_keeps_nobody(self, api: Contract, key: str) -> None:
        """What it would refuse, the others are charged for all the same."""
        check(api, "shadowed", key, 2)
        answer = together(api, ("window", key, 3), ("shadowed", key, 1))
        decided = [
            (result.decision.allowed, result.decision.remaining, result.decision.shadow_denied)
            for result in answer.results
        ]
        assert (True, [(True, 7, False), (True, 0, True)]) == (answer.allowed, decided)

    def test_a_shadowed_policy_is_charged_with_the_others(self, api: Contract, key: str) -> None:
        """If they are charged; else it is only looked at."""
        together(api, ("window", key, 10), ("shadowed", key, 1))
        refused = together(api, ("window", key, 1), ("shadowed", key, 1))
        assert (False, 1) == (refused.allowed, refused.results[1].decision.remaining)


class TestShadow:
    """A policy that refuses nothing."""

    def test_what_it_would_refuse_is_allowed(self, api: Contract, key: str) -> None:
        """The answer says so, and names no wait."""
        answers = [check(api, "shadowed", key) for _ in range(4)]
        assert [(True, False)] * 2 + [(True, True)] * 2 == [(a.allowed, a.shadow_denied) for a in answers]
        assert 0 == answers[-1].retry_after.ToMicroseconds()

    def test_it_counts_as_the_live_policy_would(self, api: Contract, key: str) -> None:
        """A refusal takes nothing."""
        check(api, "shadowed", key, 1)
        check(api, "shadowed", key, 2)
        assert (1, {False}) == (
            api.limits.Peek(pb.PeekRequest(policy="shadowed", key=key)).remaining,
            {check(api, "shadowed", key, 1).shadow_denied},
        )

    def test_peek_says_it_too(self, api: Contract, key: str) -> None:
        """Of a call to come."""
        check(api, "shadowed", key, 2)
        answer = api.limits.Peek(pb.PeekRequest(policy="shadowed", key=key))
        assert (True, True) == (answer.allowed, answer.shadow_denied)

    def test_several_limits_say_which_would(self, api: Contract, key: str) -> None:
        """As the live policy's do."""
        check(api, "shadowed-several", key, 2)
        answer = check(api, "shadowed-several", key)
        assert (True, True, [False, True]) == (
            answer.allowed, answer.shadow_denied, [status.allowed for status in answer.limits]
        )  # fmt: skip

    def test_a_denied_key_is_allowed_in_shadow(self, api: Contract) -> None:
        """It would be refused, by its entry."""
        answer = check(api, "shadowed", "banned")
        assert (True, True, DENIED_KEY) == (answer.allowed, answer.shadow_denied, answer.decided_by)

    def test_it_is_counted_apart(self, api: Contract, key: str) -> None:
        """Neither as allowed nor as denied."""
        outcomes = ("allowed", "denied", "shadow_denied")
        before = [counted(api, "shadowed", outcome) for outcome in outcomes]
        for _ in range(3):
            check(api, "shadowed", key)
        after = [counted(api, "shadowed", outcome) for outcome in outcomes]
        assert [2, 0, 1] == [now - then for now, then in zip(after, before, strict=True)]


def test_what_is_near_the_limit_is_counted(api: Contract, key: str) -> None:
    """Allowed calls after which seven tenths or more are used."""
    cell: Any = api.sidecar._app._metrics.families["sidecar_ratelimit_near_limit"].cell("watched")  # type: ignore[union-attr]
    before = cell.value
    for _ in range(12):
        check(api, "watched", key)
    assert 4 == cell.value - before


def test_policies_say_their_rules(api: Contract) -> None:
    """How long the lists are, and the modes."""
    listed = {policy.name: policy for policy in api.limits.ListPolicies(pb.ListPoliciesRequest()).policies}
    assert (2, 2, False) == (
        listed["listed"].unlimited_keys, listed["listed"].denied_keys, listed["listed"].shadow
    )  # fmt: skip
    assert (True, True, 0.7) == (
        listed["unlimited"].unlimited, listed["shadowed"].shadow, listed["watched"].near_limit
    )  # fmt: skip
