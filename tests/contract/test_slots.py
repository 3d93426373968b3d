"""RateLimitService: Acquire, Release and Renew, and what Peek, Reset and Check are of a concurrency policy."""

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
POLICY, LIMIT, LEASE_MS, MAX_LEASE_MS = "slots", 3, 60_000, 120_000

# The lease of `brief-slots`.
BRIEF_SECONDS = 0.4

INVALID, FAILED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
NO_LEASE = f"r{'x' * 22}.1"
LONGEST_KEY = "é" * 256


def acquire(api: Contract, key: str, policy: str = POLICY, **rest: Any) -> pb.AcquireResponse:
    """Ask for slots."""
    return api.limits.Acquire(pb.AcquireRequest(policy=policy, key=key, **rest))


def release(api: Contract, key: str, token: str, policy: str = POLICY) -> pb.ReleaseResponse:
    """Give slots back."""
    return api.limits.Release(pb.ReleaseRequest(policy=policy, key=key, token=token))


def renew(api: Contract, key: str, token: str, policy: str = POLICY, **rest: Any) -> pb.RenewResponse:
    """Ask for more time."""
    return api.limits.Renew(pb.RenewRequest(policy=policy, key=key, token=token, **rest))


def look(api: Contract, key: str, cost: int | None = None) -> pb.PeekResponse:
    """Ask what is free."""
    return api.limits.Peek(pb.PeekRequest(policy=POLICY, key=key, cost=cost))


class TestAcquire:
    """Leasing slots."""

    def test_the_first_gets_one(self, api: Contract, key: str) -> None:
        """For the policy's own time, and hears what is left."""
        answer = acquire(api, key)
        told = (answer.acquired, answer.limit, answer.in_use, answer.remaining, answer.retry_after.ToMilliseconds())
        assert ((True, LIMIT, 1, LIMIT - 1, 0), LEASE_MS) == (told, answer.expires_after.ToMilliseconds())

    def test_one_more_than_there_are_gets_none(self, api: Contract, key: str) -> None:
        """That is an answer: it says how many are in use, and how long the earliest lease lasts at most."""
        for _ in range(LIMIT):
            acquire(api, key)
        answer = acquire(api, key)
        told = (answer.acquired, answer.token, answer.in_use, answer.remaining, answer.expires_after.ToMilliseconds())
        assert ((False, "", LIMIT, 0, 0), True) == (told, 0 < answer.retry_after.ToMilliseconds() <= LEASE_MS)

    def test_a_refusal_changes_nothing(self, api: Contract, key: str) -> None:
        """Not a byte of the store."""
        acquire(api, key, slots=LIMIT)
        before = api.snapshot(key)
        acquire(api, key)
        assert before == api.snapshot(key)

    def test_all_or_none(self, api: Contract, key: str) -> None:
        """Two are not leased where one is free, and that one still is."""
        acquire(api, key, slots=2)
        assert [False, True] == [acquire(api, key, slots=slots).acquired for slots in (2, 1)]

    def test_a_lease_may_be_as_long_as_the_policy_allows(self, api: Contract, key: str) -> None:
        """Its caller says how long."""
        answer = acquire(api, key, lease=milliseconds(MAX_LEASE_MS))
        assert MAX_LEASE_MS == answer.expires_after.ToMilliseconds()

    def test_tokens_differ(self, api: Contract, key: str) -> None:
        """Each lease has its own."""
        assert LIMIT == len({acquire(api, key).token for _ in range(LIMIT)})

    def test_keys_do_not_share(self, api: Contract, key: str) -> None:
        """Each key has slots of its own."""
        acquire(api, key, slots=LIMIT)
        assert acquire(api, f"{key}-other").acquired

    def test_concurrent_calls_never_exceed_the_limit(self, api: Contract, key: str) -> None:
        """Of 50 calls at once exactly as many as there are slots get one."""
        asked = [api.limits.Acquire.future(pb.AcquireRequest(policy=POLICY, key=key)) for _ in range(50)]
        assert LIMIT == sum(future.result().acquired for future in asked)

    def test_what_is_stored_expires_with_the_last_lease(self, api: Contract, key: str) -> None:
        """One key, whose TTL is that of the longest."""
        before = api.names()
        acquire(api, key)
        acquire(api, key, lease=milliseconds(MAX_LEASE_MS), holder="h")
        (name,) = api.names() - before
        assert LEASE_MS < api.oracle.pttl(name) <= MAX_LEASE_MS

    def test_a_dead_holders_slot_comes_free(self, api: Contract, key: str) -> None:
        """After `retry_after` at most."""
        acquire(api, key, "brief-slots")
        refused = acquire(api, key, "brief-slots")
        time.sleep(refused.retry_after.ToTimedelta().total_seconds() + 0.002)
        assert (False, True) == (refused.acquired, acquire(api, key, "brief-slots").acquired)

    def test_512_bytes_of_key_are_taken(self, api: Contract) -> None:
        """The longest key works here, too."""
        token = acquire(api, LONGEST_KEY).token
        assert 1 == release(api, LONGEST_KEY, token).slots


class TestHolders:
    """Callers that name themselves."""

    def test_the_same_name_has_the_same_lease(self, api: Contract, key: str) -> None:
        """Its slots count once; the second call renews it."""
        first = acquire(api, key, holder="job", slots=2)
        second = acquire(api, key, holder="job", slots=2, lease=milliseconds(MAX_LEASE_MS))
        told = (second.acquired, second.token, second.in_use, second.expires_after.ToMilliseconds())
        assert (True, first.token, 2, MAX_LEASE_MS) == told

    def test_it_is_found_where_nothing_is_free(self, api: Contract, key: str) -> None:
        """What it has is not refused."""
        first = acquire(api, key, holder="job", slots=LIMIT)
        assert first.token == acquire(api, key, holder="job", slots=LIMIT).token

    def test_names_do_not_share(self, api: Contract, key: str) -> None:
        """Each has a lease of its own, and so has who gives none."""
        answers = [acquire(api, key, holder=holder) for holder in ("a", "b", "")]
        assert (3, 3) == (len({answer.token for answer in answers}), answers[-1].in_use)

    def test_another_number_of_slots_is_refused(self, api: Contract, key: str) -> None:
        """HOLDER_REUSED, and the lease stays as it is."""
        acquire(api, key, holder="job", slots=2)
        before = api.snapshot(key)
        refused = refusal(lambda: acquire(api, key, holder="job", slots=1))
        assert ((FAILED, "HOLDER_REUSED", "holder"), before) == (refused.brief, api.snapshot(key))

    def test_after_a_release_the_name_is_free(self, api: Contract, key: str) -> None:
        """Also for another number of slots."""
        release(api, key, acquire(api, key, holder="job", slots=2).token)
        assert 1 == acquire(api, key, holder="job").in_use


class TestRelease:
    """Giving slots back."""

    def test_the_slots_are_free(self, api: Contract, key: str) -> None:
        """All of the lease, and none of others."""
        acquire(api, key)
        answer = release(api, key, acquire(api, key, slots=2).token)
        assert (2, 1, LIMIT - 1) == (answer.slots, answer.in_use, answer.remaining)

    def test_nothing_stays_behind(self, api: Contract, key: str) -> None:
        """After the last release the store holds nothing of the key."""
        release(api, key, acquire(api, key, holder="job").token)
        assert {} == api.snapshot(key)

    def test_a_second_release_is_told_so(self, api: Contract, key: str) -> None:
        """LEASE_UNKNOWN, and nothing has changed: another may have the slots by now."""
        token = acquire(api, key).token
        release(api, key, token)
        acquire(api, key)
        before = api.snapshot(key)
        refused = refusal(lambda: release(api, key, token))
        assert ((FAILED, "LEASE_UNKNOWN", "token"), before) == (refused.brief, api.snapshot(key))

    def test_a_token_of_another_key_releases_nothing(self, api: Contract, key: str) -> None:
        """Neither here nor there."""
        acquire(api, key)
        token = acquire(api, f"{key}-other").token
        before = api.snapshot(key)
        refused = refusal(lambda: release(api, key, token))
        assert ((FAILED, "LEASE_UNKNOWN", "token"), before) == (refused.brief, api.snapshot(key))

    def test_an_ended_lease_is_not_released(self, api: Contract, key: str) -> None:
        """Its slot is another's."""
        token = acquire(api, key, "brief-slots").token
        time.sleep(BRIEF_SECONDS + 0.005)
        heir = acquire(api, key, "brief-slots")
        refused = refusal(lambda: release(api, key, token, "brief-slots"))
        assert ((FAILED, "LEASE_UNKNOWN", "token"), True) == (refused.brief, heir.acquired)


class TestRenew:
    """More time."""

    def test_the_lease_counts_from_now(self, api: Contract, key: str) -> None:
        """As long as the caller says, or as the policy does."""
        token = acquire(api, key, lease=milliseconds(1_000)).token
        lasts = [renew(api, key, token, lease=lease) for lease in (None, milliseconds(MAX_LEASE_MS))]
        assert [LEASE_MS, MAX_LEASE_MS] == [answer.expires_after.ToMilliseconds() for answer in lasts]

    def test_the_end_never_comes_nearer(self, api: Contract, key: str) -> None:
        """A renewal for less leaves the lease as it was."""
        token = acquire(api, key).token
        assert LEASE_MS - 10_000 < renew(api, key, token, lease=milliseconds(10)).expires_after.ToMilliseconds()

    def test_renewed_it_outlives_its_first_end(self, api: Contract, key: str) -> None:
        """Twice over."""
        token = acquire(api, key, "brief-slots").token
        until = time.monotonic() + 2 * BRIEF_SECONDS
        while time.monotonic() < until:
            renew(api, key, token, "brief-slots")
            time.sleep(0.005)
        assert not acquire(api, key, "brief-slots").acquired

    def test_an_ended_lease_is_not_brought_back(self, api: Contract, key: str) -> None:
        """LEASE_UNKNOWN, although its slot is still free; only Acquire may take it."""
        token = acquire(api, key, "brief-slots").token
        time.sleep(BRIEF_SECONDS + 0.005)
        refused = refusal(lambda: renew(api, key, token, "brief-slots"))
        assert ((FAILED, "LEASE_UNKNOWN", "token"), {}) == (refused.brief, api.snapshot(key))


class TestPeekAndReset:
    """The methods that all policies have."""

    def test_peek_says_what_is_free(self, api: Contract, key: str) -> None:
        """And how long it takes at most until so many are, and until all are."""
        acquire(api, key, slots=2)
        few, many = look(api, key), look(api, key, 2)
        told = [(answer.allowed, answer.limit, answer.remaining) for answer in (few, many)]
        assert [(True, LIMIT, 1), (False, LIMIT, 1)] == told
        waits = [few.retry_after, many.retry_after, many.reset_after]
        assert [True, False, False] == [wait.ToMicroseconds() == 0 for wait in waits]

    def test_peek_for_none_is_always_allowed(self, api: Contract, key: str) -> None:
        """As of any other policy."""
        acquire(api, key, slots=LIMIT)
        assert look(api, key, 0).allowed

    def test_peek_writes_nothing(self, api: Contract, key: str) -> None:
        """A key that has no leases is not made by a look."""
        look(api, key, LIMIT)
        assert {} == api.snapshot(key)

    def test_peek_for_more_than_there_are_is_refused(self, api: Contract, key: str) -> None:
        """COST_ABOVE_LIMIT: no wait would help."""
        refused = refusal(lambda: look(api, key, LIMIT + 1))
        assert ((INVALID, "COST_ABOVE_LIMIT", "cost"), {"limit": str(LIMIT)}) == (refused.brief, refused.metadata)

    def test_reset_ends_all_leases(self, api: Contract, key: str) -> None:
        """All slots are free, and their holders hear so when they renew."""
        token = acquire(api, key, slots=LIMIT).token
        existed = [api.limits.Reset(pb.ResetRequest(policy=POLICY, key=key)).existed for _ in range(2)]
        refused = refusal(lambda: renew(api, key, token))
        assert ([True, False], "LEASE_UNKNOWN", LIMIT) == (existed, refused.reason, look(api, key).remaining)

    @pytest.mark.parametrize("operation", [check, peek, reset])
    def test_a_batch_answers_as_the_calls_do(
        self, api: Contract, key: str, operation: Callable[..., pipeline_pb2.Operation]
    ) -> None:
        """Peek and Reset work, Check is told to acquire."""
        asked = operation(key, policy=POLICY)
        assert [alone(api, asked)] == execute(api, asked)


CALLS: dict[str, Callable[[Contract, str, str], object]] = {
    "Acquire": lambda api, policy, key: acquire(api, key, policy),
    "Release": lambda api, policy, key: release(api, key, NO_LEASE, policy),
    "Renew": lambda api, policy, key: renew(api, key, NO_LEASE, policy),
}
EACH = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


class TestBadRequests:
    """What a request may not say: the code, the reason, the field at fault; and nothing has changed."""

    def test_check_is_told_to_acquire(self, api: Contract, key: str) -> None:
        """WRONG_ALGORITHM, with the method to use."""
        refused = refusal(lambda: api.limits.Check(pb.CheckRequest(policy=POLICY, key=key)))
        assert ((INVALID, "WRONG_ALGORITHM", "policy"), {"use": "Acquire"}) == (refused.brief, refused.metadata)

    @EACH
    @pytest.mark.parametrize("policy", ["window", "bucket"])
    def test_a_policy_without_slots_is_told_to_check(
        self, api: Contract, key: str, call: Callable[[Contract, str, str], object], policy: str
    ) -> None:
        """WRONG_ALGORITHM, the other way round."""
        refused = refusal(lambda: call(api, policy, key))
        assert ((INVALID, "WRONG_ALGORITHM", "policy"), {"use": "Check"}) == (refused.brief, refused.metadata)

    @EACH
    def test_an_unknown_policy_is_not_found(
        self, api: Contract, key: str, call: Callable[[Contract, str, str], object]
    ) -> None:
        """With the nearest name."""
        refused = refusal(lambda: call(api, "slosts", key))
        expected = (grpc.StatusCode.NOT_FOUND, "POLICY_UNKNOWN", "policy")
        assert (expected, {"policy": "slosts", "nearest": "slots"}) == (refused.brief, refused.metadata)

    @EACH
    @pytest.mark.parametrize(("key", "reason"), [("", "KEY_EMPTY"), (LONGEST_KEY + "x", "KEY_TOO_LONG")])
    def test_a_key_of_a_wrong_length_is_refused(
        self, api: Contract, call: Callable[[Contract, str, str], object], key: str, reason: str
    ) -> None:
        """And not repeated in the error."""
        refused = refusal(lambda: call(api, POLICY, key))
        assert ((INVALID, reason, "key"), False) == (refused.brief, "é" in repr(refused))

    @pytest.mark.parametrize(
        ("wrong", "reason", "field"),
        [
            ({"slots": 0}, "SLOTS_ZERO", "slots"),
            ({"slots": LIMIT + 1}, "COST_ABOVE_LIMIT", "slots"),
            ({"slots": 2**32 - 1}, "COST_ABOVE_LIMIT", "slots"),
            ({"lease": milliseconds(0)}, "LEASE_OUT_OF_BOUNDS", "lease"),
            ({"lease": milliseconds(9.999)}, "LEASE_OUT_OF_BOUNDS", "lease"),
            ({"lease": milliseconds(-1)}, "LEASE_OUT_OF_BOUNDS", "lease"),
            ({"lease": milliseconds(MAX_LEASE_MS + 1)}, "LEASE_OUT_OF_BOUNDS", "lease"),
            ({"holder": "é" * 64 + "x"}, "HOLDER_TOO_LONG", "holder"),
        ],
        ids=["no slots", "too many", "2^32-1", "no time", "too short", "negative", "too long", "long name"],
    )
    def test_acquire_of_what_cannot_be_is_refused(
        self, api: Contract, key: str, wrong: dict[str, Any], reason: str, field: str
    ) -> None:
        """Nothing is written."""
        refused = refusal(lambda: acquire(api, key, **wrong))
        assert ((INVALID, reason, field), {}) == (refused.brief, api.snapshot(key))

    def test_a_renewal_has_the_same_bounds(self, api: Contract, key: str) -> None:
        """They are told with it."""
        token = acquire(api, key).token
        refused = refusal(lambda: renew(api, key, token, lease=milliseconds(MAX_LEASE_MS + 1)))
        bounds = {"min_lease_ms": "10", "max_lease_ms": str(MAX_LEASE_MS)}
        assert ((INVALID, "LEASE_OUT_OF_BOUNDS", "lease"), bounds) == (refused.brief, refused.metadata)

    @pytest.mark.parametrize("ask", [release, renew])
    @pytest.mark.parametrize("token", ["", "used", "longest", NO_LEASE[:-2], "é" * 100])
    def test_what_is_no_token_is_refused(
        self, api: Contract, key: str, ask: Callable[[Contract, str, str], object], token: str
    ) -> None:
        """TOKEN_MALFORMED, and the lease that is there stays as it is."""
        acquire(api, key)
        before = api.snapshot(key)
        refused = refusal(lambda: ask(api, key, token))
        assert ((INVALID, "TOKEN_MALFORMED", "token"), before) == (refused.brief, api.snapshot(key))
