"""What a concurrency policy accepts, and what its slots refuse before they ask the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock
from sidecar.errors import Reason, SidecarError
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.policy import SlidingWindowPolicy
from sidecar.ratelimit.slots_policy import MAX_LEASE_MS, MAX_SLOTS, ConcurrencyPolicy
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.store.base import Store

CALL = Call("/test")
TOKEN = f"r{'x' * 22}.1"

# A wrong request must not reach the store: there is none.
NO_STORE = cast("Store", None)


@pytest.fixture
def limiter() -> RateLimiter:
    """Return a limiter with a policy of slots and another one."""
    return RateLimiter(
        store=NO_STORE,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        policies=[
            ConcurrencyPolicy(name="reports", limit=4, lease_ms=1_000, max_lease_ms=5_000),
            SlidingWindowPolicy(name="auth", limit=10, window_us=60_000_000),
        ],
        max_key_bytes=16,
    )


async def acquire(limiter: RateLimiter, policy: str = "reports", key: str = "k", **differing: Any) -> object:
    """Ask by Acquire."""
    usual: dict[str, Any] = {"slots": 1, "lease_ms": None, "holder": "", "call": CALL}
    return await limiter.policies.slots(policy).acquire(key, **(usual | differing))


async def renew(limiter: RateLimiter, policy: str = "reports", key: str = "k", **differing: Any) -> object:
    """Ask by Renew."""
    usual: dict[str, Any] = {"token": TOKEN, "lease_ms": None, "call": CALL}
    return await limiter.policies.slots(policy).renew(key, **(usual | differing))


async def release(limiter: RateLimiter, policy: str = "reports", key: str = "k", **differing: Any) -> object:
    """Ask by Release."""
    usual: dict[str, Any] = {"token": TOKEN, "call": CALL}
    return await limiter.policies.slots(policy).release(key, **(usual | differing))


async def check(limiter: RateLimiter, policy: str = "reports", key: str = "k") -> object:
    """Ask by Check."""
    return await limiter.check(policy, key, 1, CALL)


async def peek(limiter: RateLimiter, policy: str = "reports", key: str = "k", cost: int = 1) -> object:
    """Ask by Peek."""
    return await limiter.peek(policy, key, cost, CALL)


async def reset(limiter: RateLimiter, policy: str = "reports", key: str = "k") -> object:
    """Ask by Reset."""
    return await limiter.reset(policy, key, CALL)


async def refusal(asked: Awaitable[object]) -> tuple[Reason, str | None, dict[str, str]]:
    """Return the reason, field and metadata of the error that a request ends with."""
    with pytest.raises(SidecarError) as caught:
        await asked
    return caught.value.reason, caught.value.field, dict(caught.value.metadata)


@pytest.mark.parametrize("ask", [acquire, renew, release, peek, reset])
async def test_unknown_policy_is_refused_with_the_nearest_name(
    limiter: RateLimiter, ask: Callable[..., Awaitable[object]]
) -> None:
    """Policies of slots are among those that may have been meant."""
    expected = (Reason.POLICY_UNKNOWN, "policy", {"policy": "report", "nearest": "reports"})
    assert expected == await refusal(ask(limiter, "report"))


@pytest.mark.parametrize("ask", [acquire, renew, release, peek, reset])
async def test_empty_key_is_refused(limiter: RateLimiter, ask: Callable[..., Awaitable[object]]) -> None:
    """Slots are something's."""
    assert (Reason.KEY_EMPTY, "key", {}) == await refusal(ask(limiter, key=""))


@pytest.mark.parametrize("ask", [acquire, renew, release, peek, reset])
async def test_long_key_is_refused(limiter: RateLimiter, ask: Callable[..., Awaitable[object]]) -> None:
    """The bound is the same as everywhere."""
    expected = (Reason.KEY_TOO_LONG, "key", {"max_bytes": "16", "actual_bytes": "17"})
    assert expected == await refusal(ask(limiter, key="x" * 17))


async def test_check_of_slots_is_told_to_acquire(limiter: RateLimiter) -> None:
    """What is under way cannot be counted by calls."""
    assert (Reason.WRONG_ALGORITHM, "policy", {"use": "Acquire"}) == await refusal(check(limiter))


@pytest.mark.parametrize("ask", [acquire, renew, release])
async def test_slots_of_another_algorithm_are_told_to_check(
    limiter: RateLimiter, ask: Callable[..., Awaitable[object]]
) -> None:
    """A window has nothing to lease."""
    assert (Reason.WRONG_ALGORITHM, "policy", {"use": "Check"}) == await refusal(ask(limiter, "auth"))


async def test_a_policy_may_change_its_algorithm(limiter: RateLimiter) -> None:
    """From the moment when the policies are replaced it is asked in the new one's way."""
    limiter.policies.replace([SlidingWindowPolicy(name="reports", limit=10, window_us=60_000_000)])
    assert (Reason.WRONG_ALGORITHM, "policy", {"use": "Check"}) == await refusal(acquire(limiter))


async def test_no_slot_is_refused(limiter: RateLimiter) -> None:
    """A lease of nothing would be held by nobody."""
    assert (Reason.SLOTS_ZERO, "slots", {}) == await refusal(acquire(limiter, slots=0))


async def test_more_slots_than_there_are_are_refused(limiter: RateLimiter) -> None:
    """What could never be leased is the caller's mistake, not a refusal to try again after."""
    assert (Reason.COST_ABOVE_LIMIT, "slots", {"limit": "4"}) == await refusal(acquire(limiter, slots=5))


async def test_peek_for_more_than_there_are_is_refused(limiter: RateLimiter) -> None:
    """Peek says what Acquire would; its field is the cost."""
    assert (Reason.COST_ABOVE_LIMIT, "cost", {"limit": "4"}) == await refusal(peek(limiter, cost=5))


@pytest.mark.parametrize("ask", [acquire, renew])
@pytest.mark.parametrize("lease_ms", [-1, 0, 9, 5_001, 2**62])
async def test_lease_out_of_bounds_is_refused(
    limiter: RateLimiter, ask: Callable[..., Awaitable[object]], lease_ms: int
) -> None:
    """Below what a trip to the store takes, or above the policy's bound; the answer has both."""
    expected = (Reason.LEASE_OUT_OF_BOUNDS, "lease", {"min_lease_ms": "10", "max_lease_ms": "5000"})
    assert expected == await refusal(ask(limiter, lease_ms=lease_ms))


async def test_holder_is_measured_in_bytes(limiter: RateLimiter) -> None:
    """As an idempotency key is."""
    expected = (Reason.HOLDER_TOO_LONG, "holder", {"max_bytes": "128", "actual_bytes": "130"})
    assert expected == await refusal(acquire(limiter, holder="é" * 65))


@pytest.mark.parametrize("ask", [renew, release])
@pytest.mark.parametrize(
    "token",
    [
        "",
        "used",
        "longest",
        TOKEN[:-2],
        TOKEN[:-1] + "0",
        TOKEN + "00000",
        "x" + TOKEN[1:],
        TOKEN + "\n",
        "x" * 100_000,
    ],
    ids=["empty", "used", "longest", "no size", "no slots", "too many", "another kind", "more lines", "huge"],
)
async def test_what_is_no_token_is_refused(
    limiter: RateLimiter, ask: Callable[..., Awaitable[object]], token: str
) -> None:
    """Nothing that could name something else in the store, or fill it, gets there."""
    assert (Reason.TOKEN_MALFORMED, "token", {}) == await refusal(ask(limiter, token=token))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"limit": 0}, f"limit must be from 1 to {MAX_SLOTS}, not 0"),
        ({"limit": MAX_SLOTS + 1}, f"limit must be from 1 to {MAX_SLOTS}, not {MAX_SLOTS + 1}"),
        ({"lease_ms": 9}, f"lease must be from 10 to {MAX_LEASE_MS} ms, not 9"),
        ({"lease_ms": MAX_LEASE_MS + 1}, f"lease must be from 10 to {MAX_LEASE_MS} ms, not {MAX_LEASE_MS + 1}"),
        ({"max_lease_ms": 99}, rf"max_lease must be from the lease \(100\) to {MAX_LEASE_MS} ms, not 99"),
        ({"max_lease_ms": MAX_LEASE_MS + 1}, r"max_lease must be from the lease \(100\)"),
    ],
)
def test_policy_out_of_bounds_is_refused(wrong: dict[str, int], sentence: str) -> None:
    """Each bound has its sentence."""
    with pytest.raises(ValueError, match=sentence):
        ConcurrencyPolicy(name="reports", **({"limit": 1, "lease_ms": 100, "max_lease_ms": 100} | wrong))
