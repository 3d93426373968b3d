"""RateLimitService: Reserve, Commit and Cancel, and what the other methods are of a policy that has reservations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import pipeline_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import milliseconds, refusal
from support.operations import alone, check, execute, peek, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.contract import Contract

# Of the tests' configuration.
POLICY, LIMIT, TTL_MS, MAX_TTL_MS, MAX_HELD = "reserved", 10, 60_000, 120_000, 3
ALGORITHMS = ("reserved", "reserved-bucket", "reserved-gcra", "reserved-window", "reserved-year", "reserved-several")

INVALID, FAILED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
NO_HOLD = f"r{'x' * 22}.1"
EACH_ALGORITHM = pytest.mark.parametrize("policy", ALGORITHMS)


def reserve(api: Contract, key: str, cost: int | None = None, policy: str = POLICY, **rest: Any) -> pb.ReserveResponse:
    """Ask to hold a cost."""
    return api.limits.Reserve(pb.ReserveRequest(policy=policy, key=key, cost=cost, **rest))


def commit(api: Contract, key: str, token: str, cost: int | None = None, policy: str = POLICY) -> tuple[int, int, int]:
    """Say what it cost; return what was charged, what was not, and what remains."""
    answer = api.limits.Commit(pb.CommitRequest(policy=policy, key=key, token=token, cost=cost))
    return answer.charged, answer.shortfall, answer.remaining


def cancel(api: Contract, key: str, token: str, policy: str = POLICY) -> int:
    """Let go of it; return what was held."""
    return api.limits.Cancel(pb.CancelRequest(policy=policy, key=key, token=token)).freed


def look(api: Contract, key: str, cost: int = 1, policy: str = POLICY) -> pb.PeekResponse:
    """Ask what is left."""
    return api.limits.Peek(pb.PeekRequest(policy=policy, key=key, cost=cost))


def take(api: Contract, key: str, cost: int, policy: str = POLICY) -> bool:
    """Check."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key, cost=cost)).allowed


class TestReserve:
    """Holding a cost."""

    @EACH_ALGORITHM
    def test_what_is_held_is_not_left(self, api: Contract, key: str, policy: str) -> None:
        """To nobody: not to a Check, nor to another Reserve; the rest is."""
        held = reserve(api, key, 7, policy)
        refused = reserve(api, key, 4, policy)
        told = (held.reserved, held.limit, held.remaining, bool(held.token), refused.reserved, refused.token)
        assert (True, LIMIT, 3, True, False, "") == told
        assert [False, True] == [take(api, key, cost, policy) for cost in (4, 3)]

    def test_it_lasts_for_the_policys_time_or_the_callers(self, api: Contract, key: str) -> None:
        """Up to the policy's `max_ttl`."""
        lasts = [reserve(api, key, ttl=ttl).expires_after for ttl in (None, milliseconds(MAX_TTL_MS))]
        assert [TTL_MS, MAX_TTL_MS] == [each.ToMilliseconds() for each in lasts]

    @EACH_ALGORITHM
    def test_nothing_is_charged(self, api: Contract, key: str, policy: str) -> None:
        """There is one key in the store, that of the holds, and it expires with the last of them."""
        before = api.names()
        reserve(api, key, 5, policy, ttl=milliseconds(20_000))
        (name,) = api.names() - before
        assert (True, True) == (name.endswith(b":h"), 10_000 < api.oracle.pttl(name) <= 20_000)

    def test_it_ends_by_itself(self, api: Contract, key: str) -> None:
        """Then all is left again, and the store holds nothing."""
        reserve(api, key, LIMIT, ttl=milliseconds(200))
        before = look(api, key)
        time.sleep(before.retry_after.ToTimedelta().total_seconds() + 0.002)
        assert ((0, False), LIMIT, {}) == (
            (before.remaining, before.allowed),
            look(api, key).remaining,
            api.snapshot(key),
        )

    def test_a_refusal_waits_until_enough_holds_have_ended(self, api: Contract, key: str) -> None:
        """Not for the longest of them."""
        for ttl in (20_000, 40_000, 60_000):
            reserve(api, key, 3, ttl=milliseconds(ttl))
        waits = [look(api, key, cost).retry_after.ToMilliseconds() for cost in (1, 4, 7, 10)]
        assert [0, 20, 40, 60] == [-(-wait // 10_000) * 10 for wait in waits]

    def test_the_same_name_has_the_same_hold(self, api: Contract, key: str) -> None:
        """Its cost counts once, and it is renewed, also where nothing else is left."""
        first = reserve(api, key, LIMIT, reservation_id="export")
        second = reserve(api, key, LIMIT, reservation_id="export", ttl=milliseconds(MAX_TTL_MS))
        told = (second.reserved, second.remaining, second.token, second.expires_after.ToMilliseconds())
        assert (True, 0, first.token, MAX_TTL_MS) == told

    def test_another_cost_under_the_name_is_refused(self, api: Contract, key: str) -> None:
        """RESERVATION_ID_REUSED, and the hold stays as it is."""
        reserve(api, key, 2, reservation_id="export")
        before = api.snapshot(key)
        refused = refusal(lambda: reserve(api, key, 1, reservation_id="export"))
        assert ((FAILED, "RESERVATION_ID_REUSED", "reservation_id"), before) == (refused.brief, api.snapshot(key))

    def test_a_key_has_only_so_many(self, api: Contract, key: str) -> None:
        """One more is RESERVATIONS_FULL, though there would be room, and changes nothing; once one has gone it fits."""
        token, *_ = [reserve(api, key).token for _ in range(MAX_HELD)]
        before = api.snapshot(key)
        refused = refusal(lambda: reserve(api, key))
        assert ((EXHAUSTED, "RESERVATIONS_FULL", ""), {"max_held": "3"}) == (refused.brief, refused.metadata)
        assert before == api.snapshot(key)
        cancel(api, key, token)
        assert reserve(api, key).reserved

    def test_keys_do_not_share(self, api: Contract, key: str) -> None:
        """Each key has holds of its own."""
        reserve(api, key, LIMIT)
        assert reserve(api, f"{key}-other", LIMIT).reserved

    def test_concurrent_calls_never_hold_more_than_the_limit(self, api: Contract, key: str) -> None:
        """Of 30 calls at once as many get what they ask for as fit."""
        request = pb.ReserveRequest(policy="reserved-window", key=key, cost=3)
        asked = [api.limits.Reserve.future(request) for _ in range(30)]
        assert 3 == sum(future.result().reserved for future in asked)


class TestCommit:
    """Charging what came of it."""

    @EACH_ALGORITHM
    def test_less_frees_the_rest_at_once(self, api: Contract, key: str, policy: str) -> None:
        """And charges what it cost, once."""
        token = reserve(api, key, 7, policy).token
        assert ((2, 0, 8), 8) == (commit(api, key, token, 2, policy), look(api, key, policy=policy).remaining)

    @EACH_ALGORITHM
    def test_more_takes_what_is_left_beside_other_holds(self, api: Contract, key: str, policy: str) -> None:
        """And says how much it falls short."""
        token, other = reserve(api, key, 3, policy).token, reserve(api, key, 4, policy).token
        assert ((6, 3, 0), (4, 0, 0)) == (
            commit(api, key, token, 9, policy),
            commit(api, key, other, None, policy),
        )

    def test_nothing_said_charges_what_was_reserved(self, api: Contract, key: str) -> None:
        """And 0 charges nothing."""
        first, second = reserve(api, key, 4).token, reserve(api, key, 3).token
        assert [(4, 0, 3), (0, 0, 6)] == [commit(api, key, first), commit(api, key, second, 0)]

    def test_more_than_the_policy_could_ever_allow_falls_short(self, api: Contract, key: str) -> None:
        """The work is done: there is nothing to refuse any more."""
        assert (LIMIT, 2**32 - 1 - LIMIT, 0) == commit(api, key, reserve(api, key).token, 2**32 - 1)

    def test_no_hold_stays_behind(self, api: Contract, key: str) -> None:
        """What is left in the store is the limit's state."""
        commit(api, key, reserve(api, key, reservation_id="export").token)
        (name,) = api.snapshot(key)
        assert not name.endswith(b":h")

    def test_a_second_commit_is_told_so(self, api: Contract, key: str) -> None:
        """RESERVATION_UNKNOWN, and nothing is charged twice."""
        token = reserve(api, key, 4).token
        commit(api, key, token)
        before = api.snapshot(key)
        refused = refusal(lambda: commit(api, key, token))
        assert ((FAILED, "RESERVATION_UNKNOWN", "token"), before) == (refused.brief, api.snapshot(key))

    def test_a_hold_that_has_ended_is_unknown(self, api: Contract, key: str) -> None:
        """Its room may be another's by now: not a byte of the store changes."""
        token = reserve(api, key, 4, ttl=milliseconds(20)).token
        reserve(api, key, 1)
        time.sleep(0.025)
        before = api.snapshot(key)
        refused = refusal(lambda: commit(api, key, token))
        assert ((FAILED, "RESERVATION_UNKNOWN", "token"), before) == (refused.brief, api.snapshot(key))

    def test_a_token_of_another_key_commits_nothing(self, api: Contract, key: str) -> None:
        """Neither here nor there."""
        reserve(api, key)
        token = reserve(api, f"{key}-other").token
        before = api.snapshot(key)
        refused = refusal(lambda: commit(api, key, token))
        assert ((FAILED, "RESERVATION_UNKNOWN", "token"), before) == (refused.brief, api.snapshot(key))

    def test_each_of_several_limits_is_charged(self, api: Contract, key: str) -> None:
        """With the same."""
        policy = "reserved-several"
        held = reserve(api, key, 7, policy)
        commit(api, key, held.token, 5, policy)
        before = [(status.name, status.remaining) for status in held.limits]
        after = [(status.name, status.remaining) for status in look(api, key, policy=policy).limits]
        assert ([("steady", 3), ("yearly", 5)], [("steady", 5), ("yearly", 7)]) == (before, after)


class TestCancel:
    """Letting go."""

    def test_all_of_it_is_free(self, api: Contract, key: str) -> None:
        """And the store holds nothing of the key."""
        token = reserve(api, key, 7, reservation_id="export").token
        assert (7, {}, LIMIT) == (cancel(api, key, token), api.snapshot(key), look(api, key).remaining)

    def test_a_second_time_changes_nothing(self, api: Contract, key: str) -> None:
        """RESERVATION_UNKNOWN, as for a hold that was committed."""
        token, other = reserve(api, key).token, reserve(api, key).token
        cancel(api, key, token)
        commit(api, key, other)
        before = api.snapshot(key)
        refused = [refusal(lambda: cancel(api, key, gone)).brief for gone in (token, other)]  # noqa: B023 (called at once)
        assert ([(FAILED, "RESERVATION_UNKNOWN", "token")] * 2, before) == (refused, api.snapshot(key))


class TestOtherMethods:
    """What is held counts wherever the limits are asked."""

    def test_explain_counts_it_as_used(self, api: Contract, key: str) -> None:
        """In words and numbers, and in what would become of calls."""
        reserve(api, key, 7)
        told = api.limits.Explain(pb.ExplainRequest(policy=POLICY, key=key))
        outcomes = [(outcome.cost, outcome.allowed) for outcome in told.outcomes]
        assert (3, [(1, True), (10, False)]) == (told.limits[0].remaining, outcomes)
        assert told.limits[0].words.startswith("7 of 10 are used")

    def test_reset_drops_it(self, api: Contract, key: str) -> None:
        """Its commit is told so."""
        token = reserve(api, key, LIMIT).token
        existed = [api.limits.Reset(pb.ResetRequest(policy=POLICY, key=key)).existed for _ in range(2)]
        refused = refusal(lambda: commit(api, key, token))
        assert ([True, False], "RESERVATION_UNKNOWN", LIMIT) == (existed, refused.reason, look(api, key).remaining)

    def test_checks_that_hang_together_respect_it(self, api: Contract, key: str) -> None:
        """Beside policies that know no holds, and twice of one key."""
        reserve(api, key, 7)
        mode = pb.CHECK_MODE_ALL_OR_NOTHING
        allowed = [
            api.limits.CheckMany(pb.CheckManyRequest(checks=checks, mode=mode)).allowed
            for checks in (
                [pb.CheckRequest(policy=POLICY, key=key, cost=2)] * 2,
                [pb.CheckRequest(policy="window", key=key), pb.CheckRequest(policy=POLICY, key=key, cost=4)],
                [pb.CheckRequest(policy="window", key=key), pb.CheckRequest(policy=POLICY, key=key, cost=3)],
            )
        ]
        left = look(api, key, policy="window")
        assert ([False, False, True], left.limit - 1, 0) == (allowed, left.remaining, look(api, key).remaining)

    def test_checks_for_themselves_respect_it(self, api: Contract, key: str) -> None:
        """As a Check alone does."""
        reserve(api, key, 7)
        checks = [pb.CheckRequest(policy=POLICY, key=key, cost=cost) for cost in (4, 3)]
        answer = api.limits.CheckMany(pb.CheckManyRequest(checks=checks, mode=pb.CHECK_MODE_EACH))
        assert [False, True] == [result.decision.allowed for result in answer.results]

    @pytest.mark.parametrize("operation", [check, peek, reset])
    def test_a_batch_answers_as_the_calls_do(
        self, api: Contract, key: str, operation: Callable[..., pipeline_pb2.Operation]
    ) -> None:
        """Check, Peek and Reset, beside a hold."""
        for own in (f"{key}-alone", f"{key}-batch"):
            reserve(api, own, 10, "reserved-year", reservation_id="hold", ttl=milliseconds(30_000))
        single = alone(api, operation(f"{key}-alone", policy="reserved-year"))
        (batched,) = execute(api, operation(f"{key}-batch", policy="reserved-year"))
        assert single.WhichOneof("result") == batched.WhichOneof("result")
        assert without_times(single) == without_times(batched)

    def test_the_policy_says_so(self, api: Contract) -> None:
        """With its numbers; others say nothing."""
        listed = {policy.name: policy for policy in api.limits.ListPolicies(pb.ListPoliciesRequest()).policies}
        told = listed[POLICY].reservations
        numbers = (told.ttl.ToMilliseconds(), told.max_ttl.ToMilliseconds(), told.max_held)
        assert ((TTL_MS, MAX_TTL_MS, MAX_HELD), False) == (numbers, listed["window"].HasField("reservations"))


def without_times(result: pipeline_pb2.OperationResult) -> str:
    """Return a result without what differs by when it was asked for."""
    for answer in (result.check, result.peek):
        answer.ClearField("retry_after")
        answer.ClearField("reset_after")
    return str(result)


class TestBesideTheLimits:
    """Where the limits do not decide, or refuse nothing."""

    def test_an_unlimited_key_holds_nothing(self, api: Contract) -> None:
        """It may go on, and its token commits to nothing, again and again."""
        held = reserve(api, "vip", 1_000)
        told = (held.reserved, held.decided_by, held.expires_after.ToMilliseconds())
        assert (True, pb.DECIDED_BY_UNLIMITED_KEY, 0) == told
        results = [commit(api, "vip", held.token, 5), commit(api, "vip", held.token), cancel(api, "vip", held.token)]
        assert ([(0, 0, 0), (0, 0, 0), 0], {}) == (results, api.snapshot("{reserved:vip}"))

    def test_a_denied_key_gets_nothing(self, api: Contract) -> None:
        """And hears why."""
        answer = reserve(api, "banned")
        assert (False, pb.DECIDED_BY_DENIED_KEY, "") == (answer.reserved, answer.decided_by, answer.token)

    def test_shadow_mode_refuses_nothing(self, api: Contract, key: str) -> None:
        """What it would refuse goes on without a hold."""
        policy = "reserved-shadowed"
        first, second = (reserve(api, key, 7, policy) for _ in range(2))
        assert [(True, False), (True, True)] == [(each.reserved, each.shadow_denied) for each in (first, second)]
        answers = [commit(api, key, each.token, None, policy)[:2] for each in (second, first)]
        assert ([(0, 0), (7, 0)], 3) == (answers, look(api, key, policy=policy).remaining)

    def test_a_tier_has_its_own_numbers(self, api: Contract, key: str) -> None:
        """And shares what is held: ten are too many for one tier, and some of another's forty."""
        policy = "reserved-tiered"
        held = [reserve(api, key, cost, policy, tier=tier) for cost, tier in ((8, ""), (3, "free"), (3, "pro"))]
        told = [(each.reserved, each.limit, each.remaining) for each in held]
        assert [(True, 10, 2), (False, 4, 0), (True, 40, 29)] == told
        request = pb.CommitRequest(policy=policy, key=key, token=held[2].token, cost=50, tier="pro")
        done = api.limits.Commit(request)
        assert (32, 18, 0) == (done.charged, done.shortfall, done.remaining)

    def test_an_override_has_its_own_numbers(self, api: Contract, key: str) -> None:
        """And what was held before counts under it, too."""
        token = reserve(api, key, 8).token
        numbers = pb.OverrideNumbers(limits=[pb.LimitNumbers(limit=6)])
        override = pb.Override(policy=POLICY, key=key, numbers=numbers, expires_after=milliseconds(60_000))
        api.limits.SetOverride(pb.SetOverrideRequest(override=override))
        refused = reserve(api, key)
        assert (False, 6, 0) == (refused.reserved, refused.limit, refused.remaining)
        assert (6, 2, 0) == commit(api, key, token)


CALLS: dict[str, Callable[[Contract, str, str], object]] = {
    "Reserve": lambda api, policy, key: reserve(api, key, 1, policy),
    "Commit": lambda api, policy, key: commit(api, key, NO_HOLD, 1, policy),
    "Cancel": lambda api, policy, key: cancel(api, key, NO_HOLD, policy),
}
EACH = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


class TestBadRequests:
    """What a request may not say: the code, the reason, the field at fault; and nothing has changed."""

    @EACH
    def test_a_policy_without_reservations_has_none(
        self, api: Contract, key: str, call: Callable[[Contract, str, str], object]
    ) -> None:
        """RESERVATIONS_OFF."""
        assert (FAILED, "RESERVATIONS_OFF", "policy") == refusal(lambda: call(api, "window", key)).brief

    @EACH
    def test_a_policy_of_slots_is_told_to_acquire(
        self, api: Contract, key: str, call: Callable[[Contract, str, str], object]
    ) -> None:
        """WRONG_ALGORITHM, with the method to use."""
        refused = refusal(lambda: call(api, "slots", key))
        assert ((INVALID, "WRONG_ALGORITHM", "policy"), {"use": "Acquire"}) == (refused.brief, refused.metadata)

    @EACH
    def test_an_unknown_policy_is_not_found(
        self, api: Contract, key: str, call: Callable[[Contract, str, str], object]
    ) -> None:
        """POLICY_UNKNOWN, with the nearest name."""
        refused = refusal(lambda: call(api, "reservd", key))
        brief = (grpc.StatusCode.NOT_FOUND, "POLICY_UNKNOWN", "policy")
        assert (brief, "reserved") == (refused.brief, refused.metadata["nearest"])

    @EACH
    @pytest.mark.parametrize(("key", "reason"), [("", "KEY_EMPTY"), ("k" * 513, "KEY_TOO_LONG")])
    def test_a_key_has_bounds(
        self, api: Contract, call: Callable[[Contract, str, str], object], key: str, reason: str
    ) -> None:
        """As anywhere."""
        assert (INVALID, reason, "key") == refusal(lambda: call(api, POLICY, key)).brief

    @pytest.mark.parametrize(
        ("fields", "reason", "field"),
        [
            ({"cost": 0}, "RESERVATION_COST_ZERO", "cost"),
            ({"cost": LIMIT + 1}, "COST_ABOVE_LIMIT", "cost"),
            ({"ttl": milliseconds(9)}, "RESERVATION_TTL_OUT_OF_BOUNDS", "ttl"),
            ({"ttl": milliseconds(MAX_TTL_MS + 1)}, "RESERVATION_TTL_OUT_OF_BOUNDS", "ttl"),
            ({"ttl": milliseconds(-1)}, "RESERVATION_TTL_OUT_OF_BOUNDS", "ttl"),
            ({"reservation_id": "x" * 129}, "RESERVATION_ID_TOO_LONG", "reservation_id"),
            ({"tier": "pro"}, "TIER_UNKNOWN", "tier"),
        ],
    )
    def test_a_reserve_has_bounds(
        self, api: Contract, key: str, fields: dict[str, Any], reason: str, field: str
    ) -> None:
        """Nothing is held by one that breaks them."""
        refused = refusal(lambda: reserve(api, key, **fields))
        assert ((INVALID, reason, field), {}) == (refused.brief, api.snapshot(key))

    @pytest.mark.parametrize(
        "token", ["", "x", NO_HOLD[:-1], f"{NO_HOLD}x", f"r{'x' * 22}.0", f"q{'x' * 22}.1", "é" * 25]
    )
    @pytest.mark.parametrize("call", [commit, cancel])
    def test_a_token_has_a_form(
        self, api: Contract, key: str, call: Callable[[Contract, str, str], object], token: str
    ) -> None:
        """TOKEN_MALFORMED for what no Reserve gives."""
        assert (INVALID, "TOKEN_MALFORMED", "token") == refusal(lambda: call(api, key, token)).brief
