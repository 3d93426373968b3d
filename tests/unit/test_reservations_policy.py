"""What a policy may say of reservations, and which of its calls need the script that knows of holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from sidecar.clock import StoreClock
from sidecar.ratelimit.exceptions import Rules
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.policy import CombinedPolicy, SlidingLogPolicy
from sidecar.ratelimit.reservations_policy import MAX_HELD, MAX_TTL_MS, ReservationsPolicy
from sidecar.store.base import ScriptCall
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sidecar.store.base import Store

NO_STORE = cast("Store", None)


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ({"ttl_ms": 9}, "ttl must be from 10 to 86400000 ms, not 9"),
        ({"ttl_ms": MAX_TTL_MS + 1}, "ttl must be from 10 to 86400000 ms, not 86400001"),
        ({"ttl_ms": 50, "max_ttl_ms": 49}, "max_ttl must be from the ttl (50) to 86400000 ms, not 49"),
        ({"max_ttl_ms": MAX_TTL_MS + 1}, "max_ttl must be from the ttl (30000) to 86400000 ms, not 86400001"),
        ({"max_held": 0}, "max_held must be from 1 to 10000, not 0"),
        ({"max_held": MAX_HELD + 1}, "max_held must be from 1 to 10000, not 10001"),
    ],
)
def test_numbers_have_bounds(numbers: dict[str, int], problem: str) -> None:
    """Beyond them there is a sentence that says so."""
    with pytest.raises(ValueError, match="must be") as caught:
        ReservationsPolicy(**numbers)
    assert problem == str(caught.value)


def test_the_bounds_themselves_are_allowed() -> None:
    """At either end."""
    least = ReservationsPolicy(ttl_ms=10, max_ttl_ms=10, max_held=1)
    most = ReservationsPolicy(ttl_ms=MAX_TTL_MS, max_ttl_ms=MAX_TTL_MS, max_held=MAX_HELD)
    assert (1, MAX_HELD) == (least.max_held, most.max_held)


def test_only_policies_with_reservations_pay_for_holds() -> None:
    """All others run the scripts that they would without; a policy with some has one more key."""
    one, other, held = (
        SlidingLogPolicy(name=name, limit=10, window_us=60_000_000) for name in ("one", "other", "held")
    )
    policies: list[SlidingLogPolicy | CombinedPolicy] = [one, CombinedPolicy(name="several", limits=(one, other)), held]
    limiter = RateLimiter(
        store=NO_STORE,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        policies=policies,
        rules={"held": Rules(reservations=ReservationsPolicy()), "several": Rules(shadow=True)},
        max_key_bytes=16,
    )
    runs = [limiter.plan_check(policy.name, "k", 1).requests[0] for policy in policies]
    scripts = [(run.script.name, len(run.keys)) for run in runs if isinstance(run, ScriptCall)]
    assert [("check_sliding_log", 1), ("check_limits", 2), ("check_reserved", 2)] == scripts
