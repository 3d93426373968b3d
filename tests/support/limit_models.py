"""The rate limits' models, and random policies for them: what the scripts are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast
from zoneinfo import ZoneInfo

from sidecar.ratelimit.calendar_windows import Boundaries, Calendar, CalendarUnit, CalendarWindows
from sidecar.ratelimit.model import Step, check_sliding_window, check_token_bucket
from sidecar.ratelimit.models.fixed_window import check_fixed_window
from sidecar.ratelimit.models.gcra import check_gcra
from sidecar.ratelimit.models.sliding_log import check_sliding_log
from sidecar.ratelimit.policy import (
    MAX_BURST,
    MAX_LIMIT,
    MAX_LOGGED,
    MIN_WINDOW_US,
    FixedWindowPolicy,
    GcraPolicy,
    Policy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
YEAR_US = 366 * DAY_US


class Act(NamedTuple):
    """One call of a sequence."""

    policy: Policy
    now_us: int
    cost: int
    commit: bool
    boundaries: Boundaries | None = None
    """What the caller takes for the windows of a calendar."""

    @property
    def constants(self) -> tuple[int, ...]:
        """What the script gets of the policy."""
        return (*self.policy.constants, *(self.boundaries or ()))


def model(act: Act, state: Any) -> Step[Any]:
    """Return what the model of the policy's algorithm does."""
    policy, now_us, cost, commit, boundaries = act
    if isinstance(policy, FixedWindowPolicy):
        return check_fixed_window(policy, state, now_us, cost, commit=commit, boundaries=boundaries)
    return MODELS[type(policy)](policy, state, now_us, cost, commit=commit)


MODELS = cast(
    "dict[type[Policy], Callable[..., Step[Any]]]",
    {
        TokenBucketPolicy: check_token_bucket,
        GcraPolicy: check_gcra,
        SlidingLogPolicy: check_sliding_log,
        SlidingWindowPolicy: check_sliding_window,
        FixedWindowPolicy: check_fixed_window,
    },
)


def random_bucket(rng: random.Random) -> TokenBucketPolicy:
    """Return any policy from one token a day to a million a second, with bursts of 1 to 10^9."""
    while True:
        period_us = rng.choice([1, 1_000, SECOND_US, 60 * SECOND_US, DAY_US, log_uniform(rng, 1, DAY_US)])
        most = max(1, period_us * 1_000_000 // SECOND_US)
        try:
            return TokenBucketPolicy(
                name="bucket",
                tokens=rng.choice([1, log_uniform(rng, 1, most), most]),
                period_us=period_us,
                burst=rng.choice([1, MAX_BURST, log_uniform(rng, 1, MAX_BURST)]),
            )
        except ValueError:
            continue  # not exact in 53 bits: the policy's own test holds that it is refused


def random_gcra(rng: random.Random) -> GcraPolicy:
    """Return any of these with ten years' worth of burst at most."""
    while True:
        bucket = random_bucket(rng)
        try:
            return GcraPolicy(name="gcra", tokens=bucket.tokens, period_us=bucket.period_us, burst=bucket.burst)
        except ValueError:
            continue  # the policy's own test holds that it is refused


def random_log(rng: random.Random) -> SlidingLogPolicy:
    """Return any policy of a window of 10 ms to a year, whose log is written whole or not."""
    lengths = [MIN_WINDOW_US, SECOND_US, 60 * SECOND_US, DAY_US, YEAR_US, log_uniform(rng, MIN_WINDOW_US, YEAR_US)]
    return SlidingLogPolicy(
        name="log",
        limit=rng.choice([1, 10, 64, 65, MAX_LOGGED, rng.randint(2, 50), log_uniform(rng, 65, MAX_LOGGED)]),
        window_us=rng.choice(lengths),
    )


def random_window(rng: random.Random) -> SlidingWindowPolicy:
    """Return any policy of a window of some microseconds to a year, of 1 to 20 sub-windows."""
    sub_windows = rng.choice([1, 2, 10, 10, 20])
    return SlidingWindowPolicy(
        name="window",
        limit=rng.choice([1, MAX_LIMIT, log_uniform(rng, 1, 50), log_uniform(rng, 1, MAX_LIMIT)]),
        window_us=rng.choice([SECOND_US, 60 * SECOND_US, DAY_US, YEAR_US, log_uniform(rng, sub_windows, DAY_US)]),
        sub_windows=sub_windows,
    )


# Zones with whole and half hours, and with jumps of an hour, of half an hour and of a day.
CALENDARS = [
    Calendar(unit, ZoneInfo(zone))
    for unit in CalendarUnit
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
]
WINDOWS = {calendar: CalendarWindows(calendar) for calendar in CALENDARS}


def random_fixed_window(rng: random.Random) -> FixedWindowPolicy:
    """Return any policy of a window of 10 ms to a year, or of a calendar; every other one charges what it refuses."""
    calendar = rng.choice(CALENDARS) if rng.random() < 0.3 else None
    lengths = [MIN_WINDOW_US, SECOND_US, 60 * SECOND_US, DAY_US, YEAR_US, log_uniform(rng, MIN_WINDOW_US, YEAR_US)]
    return FixedWindowPolicy(
        name="fixed",
        limit=rng.choice([0, 1, MAX_LIMIT, log_uniform(rng, 1, 50), log_uniform(rng, 1, MAX_LIMIT)]),
        window_us=rng.choice(lengths) if calendar is None else None,
        calendar=calendar,
        charge_refused=rng.random() < 0.5,
    )


def random_boundaries(rng: random.Random, policy: Policy, now_us: int) -> Boundaries | None:
    """Return what a caller takes for the windows, by an estimate of the time that may be a window off."""
    if not isinstance(policy, FixedWindowPolicy) or policy.calendar is None:
        return None
    windows = WINDOWS[policy.calendar]
    right = windows.at(now_us)
    off = rng.choice([0, 0, -1, 1])
    return windows.at(right.previous if off < 0 else right.following) if off else right


def right_boundaries(policy: Policy, now_us: int) -> Boundaries | None:
    """Return where the windows are at a time, for a policy of a calendar."""
    if not isinstance(policy, FixedWindowPolicy) or policy.calendar is None:
        return None
    return WINDOWS[policy.calendar].at(now_us)


RANDOM_POLICY: dict[type[Policy], Callable[[random.Random], Policy]] = {
    TokenBucketPolicy: random_bucket,
    GcraPolicy: random_gcra,
    SlidingLogPolicy: random_log,
    SlidingWindowPolicy: random_window,
    FixedWindowPolicy: random_fixed_window,
}


def most_cost(policy: Policy) -> int:
    """Return the highest cost that a policy's script may get: a fixed window refuses one above its limit by itself."""
    return policy.limit + (7 if isinstance(policy, FixedWindowPolicy) else 0)


def log_uniform(rng: random.Random, least: int, most: int) -> int:
    """Return an integer whose order of magnitude is as random as itself."""
    return min(most, max(least, int(least * (most / least) ** rng.random())))
