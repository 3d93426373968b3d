"""What a policy is to its script: which one it is, and what it takes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.calendar_windows import CalendarWindows
from sidecar.ratelimit.policy import (
    CombinedPolicy,
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.store.keys import limit_suffix
from sidecar.store.scripts import Script, load

if TYPE_CHECKING:
    from sidecar.ratelimit.policy import Policy

# By these the script of several limits tells them apart (`check_limits-n.lua`).
NUMBERS: dict[type[Policy], int] = {
    TokenBucketPolicy: 1,
    SlidingWindowPolicy: 2,
    FixedWindowPolicy: 3,
    GcraPolicy: 4,
    SlidingLogPolicy: 5,
}

# In the keys of their states. m and s stand for policies of several limits and for slots.
LETTERS: dict[type[Policy], bytes] = {
    TokenBucketPolicy: b"t",
    GcraPolicy: b"g",
    SlidingWindowPolicy: b"w",
    SlidingLogPolicy: b"l",
    FixedWindowPolicy: b"f",
}

SCRIPT_NAMES: dict[type[Policy], str] = {
    TokenBucketPolicy: "check_token_bucket",
    GcraPolicy: "check_gcra",
    SlidingWindowPolicy: "check_sliding_window",
    SlidingLogPolicy: "check_sliding_log",
    FixedWindowPolicy: "check_fixed_window",
}


class Terms(NamedTuple):
    """A policy, made ready for its calls."""

    script: Script
    number: int
    most: int
    """The most that can be taken at once."""
    constants: tuple[int, ...]
    windows: CalendarWindows | None
    """Where the windows begin, if a calendar says so."""
    takes_any_cost: bool
    """Whether a cost above the limit is refused, and charged, instead of being an error."""

    def constants_at(self, now_us: int) -> tuple[int, ...]:
        """Return the script's first arguments; `now_us` is an estimate of the store's time."""
        return self.constants if self.windows is None else (*self.constants, *self.windows.at(now_us))


def parts_of(policy: Policy | CombinedPolicy) -> tuple[tuple[Policy, ...], tuple[bytes, ...]]:
    """Return a policy's limits, and what follows the policy's key in that of each."""
    if not isinstance(policy, CombinedPolicy):
        return (policy,), (b"",)
    return policy.limits, tuple([limit_suffix(LETTERS[type(limit)], limit.name) for limit in policy.limits])


# Policies that are made for a call are alike most often; those of the configuration are few.
@lru_cache(maxsize=4096)
def terms_of(policy: Policy) -> Terms:
    """Return a policy's terms."""
    calendar = policy.calendar if isinstance(policy, FixedWindowPolicy) else None
    return Terms(
        script=load(SCRIPT_NAMES[type(policy)]),
        number=NUMBERS[type(policy)],
        most=policy.limit,
        constants=policy.constants,
        windows=CalendarWindows(calendar) if calendar is not None else None,
        takes_any_cost=isinstance(policy, FixedWindowPolicy) and policy.charge_refused,
    )
