"""What a rate limit is: a policy of the configuration, checked and brought into the integers its script counts with.

Redis runs Lua 5.1, whose only numbers are doubles: integers are exact below 2^53 and nowhere else. So a policy is
refused here if any product that its script forms could reach that bound; the scripts themselves check nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sidecar.ratelimit.calendar_windows import Calendar

# Integers below this are exact in a double.
EXACT = 2**53

# A year and a day: no limit counts over longer, and sums of a time and some periods stay far below 2^53 µs (285 years).
MAX_PERIOD_US = 366 * 86_400 * 1_000_000

# A bucket's whole tokens are stored in 32 bits, and a billion at once is no limit any more.
MAX_BURST = 1_000_000_000

# A cost is a uint32 on the wire, and each count is stored in 32 bits.
MAX_LIMIT = 2**32 - 1

# Ten years.
MAX_AHEAD_US = 3_660 * 86_400 * 1_000_000

# A log holds 14 bytes for each call: 140 kB, and up to twice that while entries that have left are not dropped.
MAX_LOGGED = 10_000

# TTLs are milliseconds; and the way to the store takes longer than a window of less than ten of them.
MIN_WINDOW_US = 10_000

# A slot comes free at most one sub-window late; past a hundred of them that is under one per cent of the window.
MAX_SUB_WINDOWS = 100
DEFAULT_SUB_WINDOWS = 10

# µs. With a coarser tick than a millisecond, a caller would see the steps.
_TICKS_US = (1, 10, 100, 1_000)


class TickRate(NamedTuple):
    """A rate in the terms of the script: `num` tokens in every `den` ticks, without a common factor."""

    num: int
    den: int
    tick_us: int


def tick_rate(tokens: int, period_us: int) -> TickRate:
    """Return `tokens` per `period_us` as a `TickRate` of the finest tick that keeps the script exact.

    That is the smallest of 1, 10, 100 and 1000 µs which divides the period and has `(num + 1) * den < 2^53`, the bound
    of every product in the script. Raises ValueError if there is none: both numbers are large and share no factor.
    """
    for tick_us in _TICKS_US:
        if period_us % tick_us:
            break
        ticks = period_us // tick_us
        common = gcd(tokens, ticks)
        num, den = tokens // common, ticks // common
        if (num + 1) * den < EXACT:
            return TickRate(num, den, tick_us)
    raise ValueError(
        f"{tokens} tokens per {period_us} µs cannot be counted exactly in 53 bits; "
        "choose a shorter period or a rounder number of tokens"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _RatePolicy:
    """A rate and a burst."""

    name: str
    tokens: int
    period_us: int
    burst: int

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"tokens must be at least 1, not {self.tokens}")
        _check_range("period", self.period_us, 1, MAX_PERIOD_US, " µs")
        _check_range("burst", self.burst, 1, MAX_BURST)
        tick_rate(self.tokens, self.period_us)

    @property
    def limit(self) -> int:
        """The most that can be taken at once."""
        return self.burst

    @property
    def rate(self) -> TickRate:
        """The rate as the script counts it."""
        return tick_rate(self.tokens, self.period_us)

    @property
    def constants(self) -> tuple[int, ...]:
        """The script's first arguments."""
        return (self.burst, *self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucketPolicy(_RatePolicy):
    """Up to `burst` at once, and in the long run `tokens` per `period_us`. Raises ValueError with a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GcraPolicy(_RatePolicy):
    """The same limit as a token bucket's, kept as a time instead of a level. Raises ValueError with a sentence."""

    def __post_init__(self) -> None:
        _RatePolicy.__post_init__(self)
        # No longer than that may the arrival time be ahead: then its sum with any time stays exact.
        if self.burst * self.period_us > MAX_AHEAD_US * self.tokens:
            raise ValueError("burst must be no more than ten years' worth of the rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindowPolicy:
    """At most `limit` in any interval of `window_us`. Raises ValueError with a sentence.

    The window is counted in `sub_windows` parts; one that they do not divide is lengthened by less than a µs for each.
    """

    name: str
    limit: int
    """0 refuses everything."""
    window_us: int
    sub_windows: int = DEFAULT_SUB_WINDOWS

    def __post_init__(self) -> None:
        _check_range("limit", self.limit, 0, MAX_LIMIT)
        _check_range("sub_windows", self.sub_windows, 1, MAX_SUB_WINDOWS)
        _check_range("window", self.window_us, self.sub_windows, MAX_PERIOD_US, " µs")

    @property
    def sub_window_us(self) -> int:
        """The length of a sub-window, rounded up."""
        return -(-self.window_us // self.sub_windows)

    @property
    def counted(self) -> int:
        """How many sub-windows count: those of a window, and the partly expired one before."""
        return self.sub_windows + 1

    @property
    def constants(self) -> tuple[int, ...]:
        """The script's first arguments."""
        return (self.limit, self.sub_window_us, self.counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingLogPolicy:
    """At most `limit` in any interval of `window_us`, to the call. Raises ValueError with a sentence."""

    name: str
    limit: int
    """0 refuses everything."""
    window_us: int

    def __post_init__(self) -> None:
        _check_range("limit", self.limit, 0, MAX_LOGGED)
        _check_range("window", self.window_us, MIN_WINDOW_US, MAX_PERIOD_US, " µs")

    @property
    def constants(self) -> tuple[int, ...]:
        """The script's first arguments."""
        return (self.limit, self.window_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedWindowPolicy:
    """At most `limit` in each window, of `window_us` from the epoch on or of a calendar. Raises ValueError.

    With `charge_refused` what is refused is counted all the same, as a plain counter would.
    """

    name: str
    limit: int
    """0 refuses everything."""
    window_us: int | None = None
    calendar: Calendar | None = None
    charge_refused: bool = False

    def __post_init__(self) -> None:
        _check_range("limit", self.limit, 0, MAX_LIMIT)
        if (self.window_us is None) == (self.calendar is None):
            raise ValueError("a fixed window has either a length or a calendar")
        if self.window_us is not None:
            _check_range("window", self.window_us, MIN_WINDOW_US, MAX_PERIOD_US, " µs")

    @property
    def constants(self) -> tuple[int, ...]:
        """The script's first arguments; for a calendar the boundaries are still to follow."""
        head = (self.limit, int(self.charge_refused), self.window_us or 0)
        return head if self.calendar is not None else (*head, 0, 0, 0, 0)


Policy = TokenBucketPolicy | GcraPolicy | SlidingWindowPolicy | SlidingLogPolicy | FixedWindowPolicy

# A script that charges more for each call would keep the store from its other callers.
MAX_LIMITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedPolicy:
    """Several limits, each with a name of its own: a call takes its cost from all or from none. Raises ValueError."""

    name: str
    limits: tuple[Policy, ...]

    def __post_init__(self) -> None:
        _check_range("the number of limits", len(self.limits), 1, MAX_LIMITS)
        if len({limit.name for limit in self.limits}) < len(self.limits):
            raise ValueError("each limit needs a name of its own")

    @property
    def limit(self) -> int:
        """The most that can be taken at once."""
        return min(limit.limit for limit in self.limits)


def _check_range(what: str, value: int, least: int, most: int, unit: str = "") -> None:
    if not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}{unit}, not {value}")
