"""RateLimitService: SetOverride, DeleteOverride and ListOverrides."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import duration_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.api import Api
from support.contract import refusal
from support.servers import PATIENCE_SECONDS
from support.sidecars import RunningSidecar
from support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from support.contract import Contract
    from support.servers import StoreServer

HOUR = duration_pb2.Duration(seconds=3600)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
STORED = "sc:contract:o"


def put(api: Api, policy: str, key: str, **said: Any) -> None:
    """Set an override, for an hour unless it says otherwise."""
    override = pb.Override(policy=policy, key=key, **{"expires_after": HOUR, **said})
    api.limits.SetOverride(pb.SetOverrideRequest(override=override))


def numbers(*limits: pb.LimitNumbers) -> pb.OverrideNumbers:
    """Return numbers for limits."""
    return pb.OverrideNumbers(limits=limits)


def check(api: Api, policy: str, key: str, cost: int | None = None) -> pb.CheckResponse:
    """Ask for leave."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key, cost=cost))


def seconds_until(api: Api, key: str, store: StoreServer, *, allowed: bool) -> float:
    """Look again and again until that is the answer, and return how long it took."""
    watch = Stopwatch(store.process_id)
    asked = pb.PeekRequest(policy="fixed", key=key)
    while api.limits.Peek(asked).allowed != allowed and watch.wall_seconds < PATIENCE_SECONDS:
        time.sleep(0.02)
    return watch.seconds


def listed(api: Api, key: str) -> list[pb.Override]:
    """Return the overrides of a key."""
    return [found for found in api.limits.ListOverrides(pb.ListOverridesRequest()).overrides if found.key == key]


class TestSetOverride:
    """What holds for a key."""

    def test_a_key_may_be_unlimited(self, api: Contract, key: str) -> None:
        """At once, without the store."""
        put(api, "fixed", key, unlimited=True)
        answer = check(api, "fixed", key, 1000)
        assert (True, pb.DECIDED_BY_OVERRIDE_UNLIMITED) == (answer.allowed, answer.decided_by)

    def test_a_key_may_be_denied(self, api: Contract, key: str) -> None:
        """And no wait helps."""
        put(api, "fixed", key, denied=True)
        answer = check(api, "fixed", key)
        told = (answer.allowed, answer.decided_by, answer.retry_after.ToMicroseconds())
        assert (False, pb.DECIDED_BY_OVERRIDE_DENIED, 0) == told

    @pytest.mark.parametrize(("policy", "limit"), [("window", 10), ("bucket", 20), ("gcra", 15), ("log", 8)])
    def test_a_key_may_have_another_limit(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """What it has used stays used."""
        check(api, policy, key, limit)
        put(api, policy, key, numbers=numbers(pb.LimitNumbers(limit=limit - 2)))
        answer = check(api, policy, key)
        assert (False, limit - 2, pb.DECIDED_BY_OVERRIDE_LIMITS) == (answer.allowed, answer.limit, answer.decided_by)
        put(api, policy, f"{key}-more", numbers=numbers(pb.LimitNumbers(limit=2 * limit)))
        assert limit - 1 == check(api, policy, f"{key}-more", limit + 1).remaining

    def test_a_bucket_may_have_another_rate(self, api: Contract, key: str) -> None:
        """Its burst stays."""
        rate = pb.LimitNumbers(rate_tokens=7200, rate_period=HOUR)
        put(api, "bucket", key, numbers=numbers(rate))
        answer = check(api, "bucket", key, 20)
        assert (20, True) == (answer.limit, 9_900_000 <= answer.reset_after.ToMicroseconds() <= 10_000_000)

    def test_one_of_several_limits_may_be_another(self, api: Contract, key: str) -> None:
        """By its name; the others stay."""
        put(api, "several", key, numbers=numbers(pb.LimitNumbers(name="steady", limit=9)))
        answer = check(api, "several", key)
        assert [("steady", 9), ("yearly", 6)] == [(status.name, status.limit) for status in answer.limits]

    def test_it_comes_before_the_lists(self, api: Contract, key: str) -> None:
        """Whatever they say."""
        name = f"probe:bad:{key}"
        put(api, "listed", name, unlimited=True)
        assert check(api, "listed", name).allowed

    def test_other_keys_are_as_before(self, api: Contract, key: str) -> None:
        """Also in a policy that has overrides."""
        put(api, "fixed", key, denied=True)
        answer = check(api, "fixed", f"{key}-other")
        assert (True, pb.DECIDED_BY_UNSPECIFIED) == (answer.allowed, answer.decided_by)

    def test_peek_and_several_checks_know_it(self, api: Contract, key: str) -> None:
        """All or nothing, it denies the others too."""
        put(api, "fixed", key, denied=True)
        checks = [pb.CheckRequest(policy="fixed", key=key), pb.CheckRequest(policy="window", key=key)]
        answer = api.limits.CheckMany(pb.CheckManyRequest(checks=checks))
        peeked = api.limits.Peek(pb.PeekRequest(policy="fixed", key=key))
        assert (False, False, 10) == (answer.allowed, peeked.allowed, answer.results[1].decision.remaining)

    def test_it_ends(self, api: Contract, key: str) -> None:
        """By itself."""
        put(api, "fixed", key, denied=True, expires_after=duration_pb2.Duration(seconds=1))
        before = check(api, "fixed", key).allowed
        until = time.monotonic() + PATIENCE_SECONDS
        while not check(api, "fixed", key).allowed:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert (False, []) == (before, listed(api, key))

    def test_it_is_replaced(self, api: Contract, key: str) -> None:
        """By one that is set later."""
        put(api, "fixed", key, denied=True)
        put(api, "fixed", key, unlimited=True)
        assert (True, 1) == (check(api, "fixed", key).allowed, len(listed(api, key)))

    def test_all_sidecars_know_it_within_a_second(
        self, api: Contract, key: str, shared_store: StoreServer, engine: str
    ) -> None:
        """Also that it is gone, and one that starts later knows it from the start."""
        put(api, "fixed", f"{key}-early", denied=True)
        other = RunningSidecar(shared_store.url, engine=engine)
        other.start()
        try:
            with Api(other.address) as theirs:
                early = check(theirs, "fixed", f"{key}-early").allowed
                put(api, "fixed", key, denied=True)
                heard = [seconds_until(theirs, key, shared_store, allowed=False)]
                api.limits.DeleteOverride(pb.DeleteOverrideRequest(policy="fixed", key=key))
                heard.append(seconds_until(theirs, key, shared_store, allowed=True))
                assert (False, True, True) == (early, *(seconds < 1 for seconds in heard))
        finally:
            other.stop()


class TestRefused:
    """Overrides that cannot be."""

    @pytest.mark.parametrize(
        ("policy", "said", "expected"),
        [
            ("nothing", {"denied": True}, ("POLICY_UNKNOWN", "override.policy")),
            ("slots", {"denied": True}, ("WRONG_ALGORITHM", "override.policy")),
            ("fixed", {}, ("OVERRIDE_INVALID", "override.effect")),
            ("fixed", {"denied": False}, ("OVERRIDE_INVALID", "override.effect")),
            ("fixed", {"numbers": numbers()}, ("OVERRIDE_INVALID", "override.numbers.limits")),
            ("fixed", {"numbers": numbers(pb.LimitNumbers())}, ("OVERRIDE_INVALID", "override.numbers.limits[0]")),
            (
                "fixed",
                {"numbers": numbers(pb.LimitNumbers(limit=2**53))},
                ("OVERRIDE_INVALID", "override.numbers.limits[0]"),
            ),
            (
                "fixed",
                {"numbers": numbers(pb.LimitNumbers(limit=1, rate_tokens=1))},
                ("OVERRIDE_INVALID", "override.numbers.limits[0].rate_tokens"),
            ),
            (
                "fixed",
                {"numbers": numbers(pb.LimitNumbers(name="a", limit=1))},
                ("OVERRIDE_INVALID", "override.numbers.limits"),
            ),
            (
                "several",
                {"numbers": numbers(pb.LimitNumbers(name="a", limit=1))},
                ("OVERRIDE_INVALID", "override.numbers.limits[0].name"),
            ),
            (
                "several",
                {"numbers": numbers(*[pb.LimitNumbers(name="steady", limit=1)] * 2)},
                ("OVERRIDE_INVALID", "override.numbers.limits[1].name"),
            ),
            ("fixed", {"denied": True, "expires_after": None}, ("OVERRIDE_EXPIRY", "override.expires_after")),
            (
                "fixed",
                {"denied": True, "expires_after": duration_pb2.Duration(nanos=999_000_000)},
                ("OVERRIDE_EXPIRY", "override.expires_after"),
            ),
            (
                "fixed",
                {"denied": True, "expires_after": duration_pb2.Duration(seconds=32 * 86_400)},
                ("OVERRIDE_EXPIRY", "override.expires_after"),
            ),
        ],
    )
    def test_what_is_wrong_is_named(
        self, api: Contract, key: str, policy: str, said: dict[str, Any], expected: tuple[str, str]
    ) -> None:
        """And nothing is set."""
        failed = refusal(lambda: put(api, policy, key, **said))
        assert (expected, []) == ((failed.reason, failed.field), listed(api, key))

    def test_a_key_is_needed(self, api: Contract) -> None:
        """To set one and to delete one."""
        assert (INVALID, "KEY_EMPTY", "override.key") == refusal(lambda: put(api, "fixed", "", denied=True)).brief
        request = pb.DeleteOverrideRequest(policy="fixed")
        assert (INVALID, "KEY_EMPTY", "key") == refusal(lambda: api.limits.DeleteOverride(request)).brief

    def test_there_is_an_end_to_them(self, api: Contract, key: str) -> None:
        """A thousand, and those that have ended do not count."""
        api.oracle.delete(STORED)
        ends_us = int(time.time() * 1_000_000) + 60_000_000
        said = '{"effect":"denied","numbers":[]}'
        api.oracle.hset(STORED, mapping={f"window:{key}-{number}": f"{ends_us}:{said}" for number in range(1000)})
        full = refusal(lambda: put(api, "fixed", key, denied=True))
        api.oracle.hset(STORED, f"window:{key}-7", f"1:{said}")
        put(api, "fixed", key, denied=True)
        api.oracle.delete(STORED)
        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERRIDES_FULL", "") == full.brief


class TestDeleteOverride:
    """Ending one before its time."""

    def test_the_policy_holds_again(self, api: Contract, key: str) -> None:
        """At once; the second time there is nothing to end."""
        put(api, "fixed", key, denied=True)
        request = pb.DeleteOverrideRequest(policy="fixed", key=key)
        existed = [api.limits.DeleteOverride(request).existed for _ in range(2)]
        assert ([True, False], True) == (existed, check(api, "fixed", key).allowed)


class TestListOverrides:
    """What holds now."""

    def test_they_are_listed_as_they_were_set(self, api: Contract, key: str) -> None:
        """With what is left of their time."""
        rate = numbers(pb.LimitNumbers(name="steady", limit=9, rate_tokens=3, rate_period=HOUR))
        put(api, "several", key, numbers=rate)
        (found,) = listed(api, key)
        assert ("several", rate, True) == (found.policy, found.numbers, 3590 < found.expires_after.seconds <= 3600)

    def test_one_policy_may_be_asked_for(self, api: Contract, key: str) -> None:
        """By its name."""
        put(api, "several", key, denied=True)
        put(api, "fixed", key, denied=True)
        answer = api.limits.ListOverrides(pb.ListOverridesRequest(policy="several"))
        assert {"several"} == {override.policy for override in answer.overrides}

    def test_what_is_stored_expires(self, api: Contract, key: str) -> None:
        """With the last of them."""
        put(api, "fixed", key, denied=True)
        assert api.oracle.pttl(STORED) > 0
