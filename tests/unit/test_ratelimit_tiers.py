"""Which numbers hold for a caller's tier, and what comes before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock
from sidecar.errors import Reason, SidecarError
from sidecar.ratelimit.description import described
from sidecar.ratelimit.exceptions import Rules, Why
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.overrides import Effect, Numbers, Override
from sidecar.ratelimit.policy import CombinedPolicy, SlidingLogPolicy, TokenBucketPolicy
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
from sidecar.ratelimit.tiers import Tier
from sidecar.ratelimit.together import Asked
from sidecar.store.base import ScriptCall
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
LOG = SlidingLogPolicy(name="zero", limit=0, window_us=SECOND_US)
BOTH = CombinedPolicy(
    name="both", limits=(SlidingLogPolicy(name="a", limit=0, window_us=SECOND_US), TokenBucketPolicy(
        name="b", tokens=1, period_us=SECOND_US, burst=5
    )),
)  # fmt: skip
PRO = Tier(name="pro", effect=Effect.NUMBERS, numbers=(Numbers("", 50, 10, SECOND_US),))
TIERS = (PRO, Tier(name="staff", effect=Effect.UNLIMITED), Tier(name="gone", effect=Effect.DENIED))
LISTED = Rules(tiers=TIERS, denied_keys=("bad",), unlimited_keys=("good",))
SOME = Tier(name="some", effect=Effect.NUMBERS, numbers=(Numbers("", 7),))
PART = Tier(name="part", effect=Effect.NUMBERS, numbers=(Numbers("b", 7),))


@pytest.fixture
def limiter() -> RateLimiter:
    """Return a limiter of some policies with tiers, one without, and slots."""
    return RateLimiter(
        store=NO_STORE,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        policies=[
            BUCKET,
            LOG,
            BOTH,
            TokenBucketPolicy(name="plain", tokens=1, period_us=SECOND_US, burst=5),
            ConcurrencyPolicy(name="slots", limit=2, lease_ms=10, max_lease_ms=20),
        ],
        rules={
            "api": LISTED,
            "zero": Rules(tiers=(SOME,)),
            "both": Rules(tiers=(PART,)),
        },
        max_key_bytes=16,
    )


def words_of(limiter: RateLimiter, tier: str, key: str = "k", policy: str = "api") -> tuple[object, ...]:
    """Return the numbers that a check is decided by: burst, rate and tick of a bucket."""
    (script_call,) = limiter.plan_check(policy, key, 1, tier).requests
    assert isinstance(script_call, ScriptCall)
    return script_call.args[:-2]


async def why(limiter: RateLimiter, tier: str, key: str = "k", policy: str = "api") -> tuple[bool, int]:
    """Return what decides on a key, without the store."""
    decision = await limiter.check(policy, key, 1, CALL, tier)
    return decision.allowed, decision.why


def refusal(limiter: RateLimiter, policy: str, tier: str) -> tuple[Reason, str | None, dict[str, str]]:
    """Return the error of a Check by that tier."""
    with pytest.raises(SidecarError) as caught:
        limiter.plan_check(policy, "k", 1, tier)
    return caught.value.reason, caught.value.field, dict(caught.value.metadata)


def test_a_tier_has_numbers_of_its_own(limiter: RateLimiter) -> None:
    """And who names none has the policy's."""
    assert ((50, 1, 100_000, 1), (5, 1, 1_000_000, 1)) == (words_of(limiter, "pro"), words_of(limiter, ""))


def test_all_tiers_have_one_state(limiter: RateLimiter) -> None:
    """What one has used is used for the others."""
    requests = [limiter.plan_check("api", "k", 1, tier).requests[0] for tier in ("pro", "")]
    assert 1 == len({request.keys for request in requests if isinstance(request, ScriptCall)})


async def test_a_tier_may_be_unlimited_or_denied(limiter: RateLimiter) -> None:
    """Without the store."""
    told = [await why(limiter, tier) for tier in ("staff", "gone")]
    assert [(True, Why.TIER_UNLIMITED), (False, Why.TIER_DENIED)] == told


@pytest.mark.parametrize("tier", ["pro", "staff", "gone", ""])
async def test_lists_come_before_tiers(limiter: RateLimiter, tier: str) -> None:
    """Whatever the tier says."""
    told = [await why(limiter, tier, key) for key in ("bad", "good")]
    assert [(False, Why.DENIED_KEY), (True, Why.UNLIMITED_KEY)] == told


@pytest.mark.parametrize("tier", ["pro", "staff", "gone", ""])
async def test_overrides_come_before_tiers(limiter: RateLimiter, tier: str) -> None:
    """One for the key alone is meant more than what holds for many."""
    limiter.policies.override([Override(policy="api", key="k", effect=Effect.DENIED, ends_us=LATER_US)])
    assert (False, Why.OVERRIDE_DENIED) == await why(limiter, tier)
    numbers = (Numbers("", 9),)
    limiter.policies.override([
        Override(policy="api", key="k", effect=Effect.NUMBERS, numbers=numbers, ends_us=LATER_US)
    ])  # fmt: skip
    assert (9, 1, 1_000_000, 1) == words_of(limiter, tier)


async def test_tiers_come_before_what_the_policy_says_of_all(limiter: RateLimiter) -> None:
    """Its limit of 0, and that it is unlimited."""
    limiter.policies.replace([BUCKET, LOG], {"api": Rules(unlimited=True, tiers=(PRO,)), "zero": Rules(tiers=(SOME,))})
    assert ((True, Why.UNLIMITED), (False, Why.DENIED)) == (await why(limiter, ""), await why(limiter, "", "k", "zero"))
    assert ((50, 1, 100_000, 1), (7, SECOND_US)) == (
        words_of(limiter, "pro"), words_of(limiter, "some", "k", "zero")
    )  # fmt: skip


async def test_a_limit_of_0_that_a_tier_leaves_refuses(limiter: RateLimiter) -> None:
    """As the policy does."""
    assert (False, Why.TIER_DENIED) == await why(limiter, "part", "k", "both")


@pytest.mark.parametrize(
    ("policy", "tier", "metadata"),
    [
        ("api", "por", {"tier": "por", "nearest": "pro"}),
        ("api", "z" * 1000, {"tier": "z" * 64}),
        ("plain", "pro", {"tier": "pro"}),
    ],
)
def test_an_unknown_tier_is_refused(limiter: RateLimiter, policy: str, tier: str, metadata: dict[str, str]) -> None:
    """With the nearest name, and where there are no tiers at all."""
    assert (Reason.TIER_UNKNOWN, "tier", metadata) == refusal(limiter, policy, tier)


def test_slots_have_no_tiers(limiter: RateLimiter) -> None:
    """Peek is the one method that could ask for one."""
    with pytest.raises(SidecarError) as caught:
        limiter.plan_peek("slots", "k", 1, "pro")
    assert (Reason.TIER_UNKNOWN, "tier") == (caught.value.reason, caught.value.field)


def test_an_unknown_tier_is_refused_whatever_comes_first(limiter: RateLimiter) -> None:
    """A misspelt one would else be noticed only by some."""
    limiter.policies.override([Override(policy="api", key="k", effect=Effect.UNLIMITED, ends_us=LATER_US)])
    assert Reason.TIER_UNKNOWN is refusal(limiter, "api", "por")[0]


async def test_an_unknown_tier_among_several_checks_is_named_by_its_path(limiter: RateLimiter) -> None:
    """All or nothing; each for itself it is the result of that check."""
    asked = [Asked("api", "k", 1, "staff"), Asked("api", "k", 1, "por")]
    with pytest.raises(SidecarError) as caught:
        await limiter.check_many(asked, CALL, together=True)
    assert "checks[1].tier" == caught.value.field
    _, second = await limiter.check_many(asked, CALL, together=False)
    assert isinstance(second, SidecarError)
    assert Reason.TIER_UNKNOWN is second.reason


def test_tiers_are_described() -> None:
    """With the policy's limits, by their numbers; and they change the version."""
    described_tiers = described(BUCKET, Rules(tiers=TIERS)).tiers
    told = [(tier.name, tier.effect, [limit.limit for limit in tier.limits]) for tier in described_tiers]
    assert [("pro", Effect.NUMBERS, [50]), ("staff", Effect.UNLIMITED, []), ("gone", Effect.DENIED, [])] == told
    assert described(BUCKET).version != described(BUCKET, Rules(tiers=TIERS)).version
