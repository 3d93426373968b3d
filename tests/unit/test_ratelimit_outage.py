"""What is answered without the store, and after which failures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import Reason, SidecarError, StoreError
from sidecar.ratelimit.decision import Enforcement
from sidecar.ratelimit.exceptions import Rules, Why
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.observations import Observations
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.overrides import Effect, Numbers, Override
from sidecar.ratelimit.policy import CombinedPolicy, FixedWindowPolicy, TokenBucketPolicy
from sidecar.ratelimit.stand_in import StandIns
from sidecar.ratelimit.together import Asked
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.store.base import Command, Reply, ScriptCall

BUCKET = TokenBucketPolicy(name="bucket", tokens=1, period_us=1_000_000, burst=10)
BOTH = CombinedPolicy(name="both", limits=(BUCKET, FixedWindowPolicy(name="minute", limit=20, window_us=60_000_000)))
SHARED = CombinedPolicy(name="shared", limits=(replace(BUCKET, tokens=1, period_us=3_600_000_000), BOTH.limits[1]))
MODES = {"bucket": OnFailure.OPEN, "both": OnFailure.CLOSED, "shared": OnFailure.LOCAL_SHARE}


# An end that no test lives to see.
FAR_US = 2**53


class FailingStore:
    """A store whose every answer is one failure."""

    def __init__(self, reason: Reason) -> None:
        self._reason = reason

    async def call(self, _command: Command, _call: Call) -> Reply:
        """Fail."""
        raise StoreError(self._reason, "it failed")

    async def run(self, _script_call: ScriptCall, _call: Call) -> Reply:
        """Fail."""
        raise StoreError(self._reason, "it failed")

    async def call_many(self, commands: Sequence[Command | ScriptCall], _call: Call) -> list[Reply | StoreError]:
        """Fail each."""
        return [StoreError(self._reason, "it failed") for _ in commands]

    async def get_many(self, keys: Sequence[bytes], _call: Call) -> list[Reply | StoreError]:
        """Fail each."""
        return [StoreError(self._reason, "it failed") for _ in keys]


def a_limiter(
    reason: Reason,
    live: int | None = None,
    rules: Mapping[str, Rules] | None = None,
    metrics: Metrics | None = None,
    observations: Observations | None = None,
) -> RateLimiter:
    """Return a limiter over a store that fails so, among as many live sidecars as are known."""
    metrics = metrics or Metrics()
    return RateLimiter(
        store=FailingStore(reason),
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=metrics,
        policies=[BUCKET, BOTH, SHARED],
        rules=rules,
        max_key_bytes=512,
        stand_ins=StandIns(clock=StoreClock(), metrics=metrics, modes=MODES, live=lambda: live),
        observations=observations,
    )


def counted(metrics: Metrics, name: str, *labels: str) -> float:
    """Return where a counter stands."""
    counter = metrics.families[name]
    assert isinstance(counter, Counter)
    return counter.cell(*labels).value


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(5.0))


@pytest.mark.parametrize("reason", [Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN])
async def test_a_store_that_does_not_answer_is_stood_in_for(reason: Reason) -> None:
    """Alone, together and apart; also where the store may have taken the cost."""
    limiter = a_limiter(reason)
    asked = [Asked("bucket", "k", 1), Asked("both", "k", 1)]
    alone = [await limiter.check("bucket", "k", 1, a_call()), await limiter.peek("both", "k", 1, a_call())]
    together = await limiter.check_many(asked, a_call(), together=True)
    apart = await limiter.check_many(asked, a_call(), together=False)
    assert [Enforcement.FAILED_OPEN, Enforcement.FAILED_CLOSED] == [decision.enforcement for decision in alone]
    assert (alone, alone) == (together, apart)


@pytest.mark.parametrize(
    "reason",
    [
        Reason.DEADLINE_EXCEEDED,
        Reason.OVERLOADED,
        Reason.STORE_ERROR,
        Reason.STORE_DENIED,
        Reason.STORE_OUT_OF_MEMORY,
        Reason.ENTRY_MALFORMED,
        Reason.WRONG_TYPE,
    ],
)
async def test_an_answer_that_is_an_error_stays_one(reason: Reason) -> None:
    """Somebody has to do something about it, or the call is over."""
    limiter = a_limiter(reason)
    asked = [Asked("bucket", "k", 1), Asked("both", "k", 1)]
    for call in (
        lambda: limiter.check("bucket", "k", 1, a_call()),
        lambda: limiter.check_many(asked, a_call(), together=True),
    ):
        with pytest.raises(SidecarError) as caught:
            await call()
        assert reason is caught.value.reason
    apart = await limiter.check_many(asked, a_call(), together=False)
    assert [reason] * 2 == [error.reason for error in apart if isinstance(error, SidecarError)]


async def test_checks_of_one_key_together_are_one_of_their_sum() -> None:
    """Each hears the same, and each counts as an answer."""
    limiter = a_limiter(Reason.STORE_UNAVAILABLE)
    decided = await limiter.check_many([Asked("both", "k", 0), Asked("both", "k", 2)], a_call(), together=True)
    assert [False, False] == [not isinstance(one, SidecarError) and one.allowed for one in decided]


async def test_a_share_is_enforced_here() -> None:
    """A quarter of ten is two: so much is allowed, whatever the calls are made by, and every limit says what it has."""
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, live=4)
    first = await limiter.check("shared", "k", 1, a_call())
    looked = await limiter.peek("shared", "k", 2, a_call())
    (second,) = await limiter.check_many([Asked("shared", "k", 1)], a_call(), together=True)
    (third,) = await limiter.check_many([Asked("shared", "k", 1)], a_call(), together=False)
    decisions = [one for one in (first, looked, second, third) if not isinstance(one, SidecarError)]
    assert [(True, 2, 1), (False, 2, 1), (True, 2, 0), (False, 2, 0)] == [one[:3] for one in decisions]
    assert {Enforcement.LOCAL_SHARE} == {one.enforcement for one in decisions}
    assert [("bucket", 2, 1), ("minute", 5, 4)] == [(part.name, part.limit, part.remaining) for part in first.limits]


async def test_a_share_together_takes_all_or_nothing() -> None:
    """What another policy refuses is not taken from a share; what is asked for twice is taken as its sum."""
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, live=1)
    refused = [Asked("shared", "k", 3), Asked("both", "k", 1)]
    await limiter.check_many(refused, a_call(), together=True)
    await limiter.check_many([Asked("shared", "k", 3), Asked("shared", "k", 4)], a_call(), together=True)
    assert 3 == (await limiter.peek("shared", "k", 0, a_call())).remaining


async def test_without_a_count_there_is_no_share() -> None:
    """A sidecar that does not know how many there are refuses, as a policy that fails closed."""
    decision = await a_limiter(Reason.STORE_UNAVAILABLE).check("shared", "k", 1, a_call())
    assert (False, Enforcement.FAILED_CLOSED, 0) == (decision.allowed, decision.enforcement, decision.max_overshoot)


async def test_what_is_exempted_needs_no_store() -> None:
    """A key of the lists, or with an override that lets it through or refuses it, is decided as ever."""
    rules = Rules(denied_keys=("bad",), unlimited_keys=("good",))
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, rules={"bucket": rules, "both": rules})
    limiter.policies.override([Override(policy="bucket", key="out", effect=Effect.DENIED, ends_us=FAR_US)])
    asked = [("bucket", "bad"), ("both", "good"), ("bucket", "out")]
    decisions = [await limiter.check(policy, key, 1, a_call()) for policy, key in asked]
    expected = [(False, Why.DENIED_KEY), (True, Why.UNLIMITED_KEY), (False, Why.OVERRIDE_DENIED)]
    assert expected == [(decision.allowed, decision.why) for decision in decisions]
    assert {Enforcement.STORE} == {decision.enforcement for decision in decisions}


async def test_shadow_mode_refuses_nothing_without_the_store_either() -> None:
    """And says what would be refused; no other policy of the call is kept from being charged by it."""
    metrics = Metrics()
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, live=1, rules={"both": Rules(shadow=True)}, metrics=metrics)
    alone = await limiter.check("both", "k", 1, a_call())
    together = await limiter.check_many([Asked("both", "k", 1), Asked("shared", "k", 3)], a_call(), together=True)
    told = [(one.allowed, one.shadow_denied, one.enforcement) for one in together if not isinstance(one, SidecarError)]
    shadowed = (True, True, Enforcement.FAILED_CLOSED)
    assert (shadowed, 0) == ((alone.allowed, alone.shadow_denied, alone.enforcement), alone.retry_after_us)
    assert [shadowed, (True, False, Enforcement.LOCAL_SHARE)] == told
    assert 7 == (await limiter.peek("shared", "k", 0, a_call())).remaining
    assert 2 == counted(metrics, "sidecar_ratelimit_decisions", "both", "shadow_denied")


async def test_what_is_denied_together_takes_from_no_share() -> None:
    """A denied key keeps all from being charged; each says what its own policy does."""
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, live=1, rules={"bucket": Rules(denied_keys=("bad",))})
    decided = await limiter.check_many([Asked("bucket", "bad", 1), Asked("shared", "k", 3)], a_call(), together=True)
    assert [False, True] == [not isinstance(one, SidecarError) and one.allowed for one in decided]
    assert 10 == (await limiter.peek("shared", "k", 0, a_call())).remaining


async def test_an_override_is_enforced_with_its_own_numbers() -> None:
    """A half of the override's, not of the policy's."""
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, live=2)
    numbers = (Numbers("bucket", 20), Numbers("minute", 20))
    limiter.policies.override([
        Override(policy="shared", key="k", effect=Effect.NUMBERS, numbers=numbers, ends_us=FAR_US),
        Override(policy="bucket", key="k", effect=Effect.NUMBERS, numbers=(Numbers("", 30),), ends_us=FAR_US),
    ])  # fmt: skip
    shared = await limiter.check("shared", "k", 6, a_call())
    opened = await limiter.check("bucket", "k", 30, a_call())
    assert (True, 10, Why.OVERRIDE_LIMITS) == (shared.allowed, shared.limit, shared.why)
    assert [4] == [part.remaining for part in shared.limits if part.name == "minute"]
    assert (True, 30, Why.OVERRIDE_LIMITS, Enforcement.FAILED_OPEN) == (*opened[:2], opened.why, opened.enforcement)


async def test_what_nobody_counts_is_not_near_a_limit() -> None:
    """All is allowed and nothing is said to remain, which says nothing about what is used."""
    metrics = Metrics()
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, rules={"bucket": Rules(near_limit=0.5)}, metrics=metrics)
    await limiter.check("bucket", "k", 1, a_call())
    allowed = counted(metrics, "sidecar_ratelimit_decisions", "bucket", "allowed")
    assert (1, 0) == (allowed, counted(metrics, "sidecar_ratelimit_near_limit", "bucket"))


@pytest.mark.parametrize("way", ["alone", "together", "apart"])
async def test_whom_a_local_share_refuses_is_seen(way: str) -> None:
    """In every way to ask; but not whom a policy refuses that then refuses everybody."""
    observations = Observations(keys=KeySpace("default"), clock=StoreClock(), metrics=Metrics())
    limiter = a_limiter(Reason.STORE_UNAVAILABLE, live=1, observations=observations)
    for policy in ("shared", "shared", "both"):
        if way == "alone":
            await limiter.check(policy, "k", 10, a_call())
        else:
            await limiter.check_many([Asked(policy, "k", 10)], a_call(), together=way == "together")
    assert [("k", 1, 0)] == [*observations.of("shared").tally.counts]
    assert 0 == observations.of("both").tally.total
