"""RateLimitService: Check, Peek and Reset on each algorithm."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

from sidecar.store.keys import hash_tag

if TYPE_CHECKING:
    from support.contract import Contract

# The limits of the tests' configuration: what can be taken at once.
LIMITS = {"window": 10, "bucket": 20, "gcra": 15, "log": 8, "fixed": 30, "yearly": 5, "several": 4}
POLICIES = pytest.mark.parametrize(("policy", "limit"), LIMITS.items())


def check(api: Contract, policy: str, key: str, cost: int | None = None) -> pb.CheckResponse:
    """Ask for leave."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key, cost=cost))


def peek(api: Contract, policy: str, key: str, cost: int | None = None) -> pb.PeekResponse:
    """Ask what Check would answer."""
    return api.limits.Peek(pb.PeekRequest(policy=policy, key=key, cost=cost))


@POLICIES
class TestCheck:
    """Taking from an allowance."""

    def test_the_first_call_is_allowed(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """One is taken from the whole limit, and there is nothing to wait for."""
        answer = check(api, policy, key)
        told = (answer.allowed, answer.limit, answer.remaining, answer.retry_after.ToMicroseconds())
        assert (True, limit, limit - 1, 0) == told

    def test_the_call_after_the_last_is_refused(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """As many calls as the limit says are allowed, the next is not."""
        answers = [check(api, policy, key).allowed for _ in range(limit + 1)]
        assert [True] * limit + [False] == answers

    def test_a_refusal_says_how_long_to_wait(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """`retry_after` is above zero and no more than `reset_after`; nothing remains."""
        check(api, policy, key, limit)
        refused = check(api, policy, key)
        waits = 0 < refused.retry_after.ToMicroseconds() <= refused.reset_after.ToMicroseconds()
        assert (False, 0, True) == (refused.allowed, refused.remaining, waits)

    def test_a_refused_call_costs_nothing(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """After refusals of a large cost the rest can still be taken."""
        check(api, policy, key, limit - 1)
        refused = [check(api, policy, key, 2).allowed for _ in range(5)]
        assert ([False] * 5, True) == (refused, check(api, policy, key, 1).allowed)

    def test_a_refused_call_leaves_the_state_as_it_was(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Not a byte of the store changes."""
        check(api, policy, key, limit)
        before = api.snapshot(key)
        check(api, policy, key)
        assert before == api.snapshot(key)

    def test_a_cost_is_taken_whole(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """A call may take several at once."""
        assert limit - 3 == check(api, policy, key, 3).remaining

    def test_the_whole_limit_can_be_taken_at_once(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """That is what the limit says."""
        answer = check(api, policy, key, limit)
        assert (True, 0) == (answer.allowed, answer.remaining)

    def test_a_cost_of_zero_is_always_allowed(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """It takes nothing, also when nothing is left."""
        check(api, policy, key, limit)
        answer = check(api, policy, key, 0)
        assert (True, 0, 0) == (answer.allowed, answer.remaining, answer.retry_after.ToMicroseconds())

    def test_keys_do_not_share(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Each key has an allowance of its own."""
        check(api, policy, key, limit)
        assert check(api, policy, f"{key}-other").allowed

    def test_concurrent_calls_never_exceed_the_limit(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Of 50 calls at once exactly the limit is allowed."""
        asked = [api.limits.Check.future(pb.CheckRequest(policy=policy, key=key)) for _ in range(50)]
        assert limit == sum(future.result().allowed for future in asked)

    def test_what_is_stored_expires(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Each of the state's keys has a TTL."""
        check(api, policy, key, limit)
        expires = [expires_ms for _, expires_ms in api.snapshot(key).values()]
        assert (True, True) == (bool(expires), all(expires_ms > 0 for expires_ms in expires))


@POLICIES
class TestPeek:
    """Looking without taking."""

    def test_it_takes_nothing(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """However often, the whole limit remains."""
        answers = [peek(api, policy, key) for _ in range(3)]
        assert [(True, limit, limit)] * 3 == [(answer.allowed, answer.limit, answer.remaining) for answer in answers]

    def test_it_writes_nothing(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """A key that was never checked is not made by a look."""
        peek(api, policy, key, limit)
        assert {} == api.snapshot(key)

    def test_it_says_what_check_would(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """A refusal foreseen is the refusal that comes."""
        check(api, policy, key, limit - 1)
        foreseen, came = peek(api, policy, key, 2), check(api, policy, key, 2)
        assert (False, foreseen.limit, foreseen.remaining) == (came.allowed, came.limit, came.remaining)

    def test_it_says_how_long_to_wait(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """`retry_after` counts down to the moment when the cost could be allowed."""
        check(api, policy, key, limit)
        assert peek(api, policy, key).retry_after.ToMicroseconds() > 0


@POLICIES
class TestReset:
    """Giving an allowance back."""

    def test_the_whole_limit_is_back(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """After Reset the key is as if it had never been checked."""
        check(api, policy, key, limit)
        answer = api.limits.Reset(pb.ResetRequest(policy=policy, key=key))
        assert (True, limit) == (answer.existed, peek(api, policy, key).remaining)

    def test_there_may_be_nothing_to_give_back(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Of a key without state it says so."""
        answer = api.limits.Reset(pb.ResetRequest(policy=policy, key=key))
        assert (False, limit) == (answer.existed, peek(api, policy, key).remaining)


class TestSeveral:
    """A policy of several limits: all of them are charged, or none."""

    def test_each_limit_says_what_it_does(self, api: Contract, key: str) -> None:
        """And the answer as a whole is that of the one of which least remains."""
        answer = check(api, "several", key)
        told = [(status.name, status.allowed, status.limit, status.remaining) for status in answer.limits]
        assert [("steady", True, 4, 3), ("yearly", True, 6, 5)] == told
        assert (True, 4, 3) == (answer.allowed, answer.limit, answer.remaining)

    def test_a_refusal_by_one_charges_none(self, api: Contract, key: str) -> None:
        """What the yearly limit had left, it has left after the steady one has refused."""
        check(api, "several", key, 4)
        refused = check(api, "several", key)
        told = [(status.name, status.allowed, status.remaining) for status in refused.limits]
        assert [("steady", False, 0), ("yearly", True, 2)] == told
        assert (False, refused.limits[0].retry_after) == (refused.allowed, refused.retry_after)

    def test_limits_have_states_of_their_own_in_one_slot(self, api: Contract, key: str) -> None:
        """A state for each, and the same hash tag."""
        check(api, "several", key)
        names = list(api.snapshot(key))
        assert (2, {b"several:" + key.encode()}) == (len(names), {hash_tag(name) for name in names})

    def test_reset_gives_all_limits_back(self, api: Contract, key: str) -> None:
        """And leaves nothing."""
        check(api, "several", key, 3)
        api.limits.Reset(pb.ResetRequest(policy="several", key=key))
        remaining = [status.remaining for status in peek(api, "several", key).limits]
        assert ([4, 6], {}) == (remaining, api.snapshot(key))

    def test_a_policy_of_one_limit_lists_none(self, api: Contract, key: str) -> None:
        """The answer says all that there is to say."""
        assert 0 == len(check(api, "bucket", key).limits)


class TestTime:
    """What comes back by itself."""

    def test_a_bucket_refills(self, api: Contract, key: str) -> None:
        """After `retry_after` the same cost is allowed."""
        check(api, "refilled", key)
        refused = check(api, "refilled", key)
        time.sleep(refused.retry_after.ToTimedelta().total_seconds() + 0.002)
        assert (False, True) == (refused.allowed, check(api, "refilled", key).allowed)

    def test_policies_do_not_share(self, api: Contract, key: str) -> None:
        """The same key under another policy is another allowance."""
        check(api, "window", key, 10)
        assert check(api, "bucket", key).allowed
