"""What the limiter refuses before it asks the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from support.charging import decide

from sidecar.call import Call
from sidecar.clock import StoreClock
from sidecar.errors import Reason, SidecarError
from sidecar.ratelimit.charges import Charge
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.policy import CombinedPolicy, FixedWindowPolicy, SlidingWindowPolicy, TokenBucketPolicy
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.store.base import Store

    Ask = Callable[[RateLimiter, str, str, int], Awaitable[object]]

SECOND_US = 1_000_000
CALL = Call("/test")
MAX_KEY_BYTES = 16


# A wrong request must not reach the store: there is none.
NO_STORE = cast("Store", None)


@pytest.fixture
def limiter() -> RateLimiter:
    """Return a limiter with one policy of each kind."""
    return RateLimiter(
        store=NO_STORE,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        policies=[
            SlidingWindowPolicy(name="auth", limit=10, window_us=60 * SECOND_US),
            TokenBucketPolicy(name="api", tokens=100, period_us=SECOND_US, burst=200),
            CombinedPolicy(
                name="both",
                limits=(
                    TokenBucketPolicy(name="second", tokens=100, period_us=SECOND_US, burst=200),
                    FixedWindowPolicy(name="hour", limit=50, window_us=3_600 * SECOND_US),
                ),
            ),
        ],
        max_key_bytes=MAX_KEY_BYTES,
    )


def check(limiter: RateLimiter, policy: str, key: str, cost: int) -> Awaitable[object]:
    """Ask by Check."""
    return limiter.check(policy, key, cost, CALL)


def peek(limiter: RateLimiter, policy: str, key: str, cost: int) -> Awaitable[object]:
    """Ask by Peek."""
    return limiter.peek(policy, key, cost, CALL)


def reset(limiter: RateLimiter, policy: str, key: str, _cost: int) -> Awaitable[object]:
    """Ask by Reset."""
    return limiter.reset(policy, key, CALL)


async def refusal(asked: Awaitable[object]) -> tuple[Reason, str | None, dict[str, str]]:
    """Return the reason, field and metadata of the error that a request ends with."""
    with pytest.raises(SidecarError) as caught:
        await asked
    return caught.value.reason, caught.value.field, dict(caught.value.metadata)


@pytest.mark.parametrize("ask", [check, peek, reset])
async def test_unknown_policy_is_refused_with_the_nearest_name(limiter: RateLimiter, ask: Ask) -> None:
    """A slip of the pen is answered with what was meant."""
    expected = (Reason.POLICY_UNKNOWN, "policy", {"policy": "auht", "nearest": "auth"})
    assert expected == await refusal(ask(limiter, "auht", "k", 1))


async def test_policy_like_no_other_has_no_nearest_name(limiter: RateLimiter) -> None:
    """A guess that would only mislead is left out."""
    expected = (Reason.POLICY_UNKNOWN, "policy", {"policy": "zzz"})
    assert expected == await refusal(check(limiter, "zzz", "k", 1))


async def test_long_unknown_policy_is_cut_in_the_error(limiter: RateLimiter) -> None:
    """An error's metadata travel in a header, whose size is limited."""
    expected = (Reason.POLICY_UNKNOWN, "policy", {"policy": "z" * 64})
    assert expected == await refusal(check(limiter, "z" * 1_000_000, "k", 1))


@pytest.mark.parametrize("ask", [check, peek, reset])
async def test_empty_key_is_refused(limiter: RateLimiter, ask: Ask) -> None:
    """A limit needs somebody to limit."""
    assert (Reason.KEY_EMPTY, "key", {}) == await refusal(ask(limiter, "auth", "", 1))


@pytest.mark.parametrize("ask", [check, peek, reset])
async def test_key_is_measured_in_bytes(limiter: RateLimiter, ask: Ask) -> None:
    """Nine characters of two bytes each are above sixteen bytes."""
    expected = (Reason.KEY_TOO_LONG, "key", {"max_bytes": "16", "actual_bytes": "18"})
    assert expected == await refusal(ask(limiter, "auth", "é" * 9, 1))


@pytest.mark.parametrize("ask", [check, peek])
@pytest.mark.parametrize(("policy", "limit"), [("auth", 10), ("api", 200), ("both", 50)])
async def test_cost_above_the_limit_is_refused(limiter: RateLimiter, ask: Ask, policy: str, limit: int) -> None:
    """What could never be allowed is the caller's mistake, not a refusal to try again after."""
    expected = (Reason.COST_ABOVE_LIMIT, "cost", {"limit": str(limit)})
    assert expected == await refusal(ask(limiter, policy, "k", limit + 1))


@pytest.mark.parametrize("together", [False, True])
async def test_charge_above_its_limit_is_refused(together: bool) -> None:  # noqa: FBT001 (a parameter)
    """Also of a policy that is not configured, alone or with others, and before anything is charged."""
    window = SlidingWindowPolicy(name="w", limit=3, window_us=SECOND_US)
    charges = [Charge(window, b"{a}", 1), Charge(window, b"{a}b", 4)]
    expected = (Reason.COST_ABOVE_LIMIT, "cost", {"limit": "3"})
    assert expected == await refusal(decide(NO_STORE, charges, together=together))


async def test_same_key_twice_together_is_charged_with_the_sum() -> None:
    """Two and two of a limit of three can never pass together."""
    window = SlidingWindowPolicy(name="w", limit=3, window_us=SECOND_US)
    charges = [Charge(window, b"{a}", 2), Charge(window, b"{a}", 2)]
    expected = (Reason.COST_ABOVE_LIMIT, "cost", {"limit": "3"})
    assert expected == await refusal(decide(NO_STORE, charges, together=True))
