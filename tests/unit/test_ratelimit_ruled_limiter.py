"""What the limiter makes of rules and overrides, where it needs no store for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock
from sidecar.ratelimit.exceptions import Rules, Why
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.overrides import Effect, Numbers, Override
from sidecar.ratelimit.policy import SlidingLogPolicy, SlidingWindowPolicy, TokenBucketPolicy
from sidecar.ratelimit.together import Asked
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sidecar.store.base import Store

SECOND_US = 1_000_000
CALL = Call("/test")
# Nothing here may ask it.
NO_STORE = cast("Store", None)
LATER_US = 2**52
BUCKET = TokenBucketPolicy(name="api", tokens=1, period_us=SECOND_US, burst=5)
DENIED = Override(policy="api", key="k", effect=Effect.DENIED, ends_us=LATER_US)
FASTER = Override(
    policy="api", key="k", effect=Effect.NUMBERS, numbers=(Numbers("", 9, 7, SECOND_US),), ends_us=LATER_US
)


@pytest.fixture
def limiter() -> RateLimiter:
    """Return a limiter of one bucket."""
    return RateLimiter(
        store=NO_STORE,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        policies=[BUCKET],
        max_key_bytes=16,
    )


async def why(limiter: RateLimiter, key: str = "k") -> int:
    """Return what decides on a key, without the store."""
    return (await limiter.check("api", key, 1, CALL)).why


def burst_of(limiter: RateLimiter) -> object:
    """Return the burst that a check of the key is decided by: the script's first argument."""
    (script_call,) = limiter.plan_check("api", "k", 1).requests
    return script_call.args[0]  # type: ignore[union-attr]  # it is a script


async def test_an_override_outlasts_a_reload(limiter: RateLimiter) -> None:
    """It is not the file's to end it."""
    limiter.policies.override([DENIED])
    limiter.policies.replace(
        [SlidingWindowPolicy(name="api", limit=3, window_us=SECOND_US)], {"api": Rules(unlimited=True)}
    )
    assert (Why.OVERRIDE_DENIED, Why.UNLIMITED) == (await why(limiter), await why(limiter, "other"))


async def test_an_override_that_fits_no_more_has_no_effect(limiter: RateLimiter) -> None:
    """A rate is nothing to a log; the limit decides again, and once more when it is changed back."""
    limiter.policies.override([FASTER])
    before = burst_of(limiter)
    limiter.policies.replace([SlidingLogPolicy(name="api", limit=3, window_us=SECOND_US)])
    meanwhile = burst_of(limiter)
    limiter.policies.replace([BUCKET])
    assert (9, 3, 9) == (before, meanwhile, burst_of(limiter))


async def test_an_override_of_a_policy_that_is_gone_has_no_effect(limiter: RateLimiter) -> None:
    """It is listed all the same, so that it can be deleted."""
    limiter.policies.override([Override(policy="old", key="k", effect=Effect.DENIED, ends_us=LATER_US)])
    assert (5, ["old"]) == (burst_of(limiter), [override.policy for override, _ in limiter.policies.overrides])


async def test_an_override_that_has_ended_has_no_effect(limiter: RateLimiter) -> None:
    """Also before anybody has removed it."""
    limiter.policies.override([Override(policy="api", key="k", effect=Effect.DENIED, ends_us=1)])
    assert (5, []) == (burst_of(limiter), limiter.policies.overrides)


async def test_the_last_override_gone_leaves_nothing(limiter: RateLimiter) -> None:
    """The policy's calls look for none any more."""
    limiter.policies.override([DENIED])
    limiter.policies.override([])
    assert limiter.policies.limit("api").ruled is None


async def test_checks_that_need_no_store_ask_none(limiter: RateLimiter) -> None:
    """Several, each for itself and all or nothing."""
    limiter.policies.override([DENIED])
    asked = [Asked("api", "k", 1)] * 2
    for together in (False, True):
        decisions = await limiter.check_many(asked, CALL, together=together)
        assert [Why.OVERRIDE_DENIED] * 2 == [decision.why for decision in decisions]  # type: ignore[union-attr]  # none failed
