"""What a rate limit is: a policy of the configuration, checked and brought into the integers its script counts with.

Redis runs Lua 5.1, whose only numbers are doubles: integers are exact below 2^53 and nowhere else. So a policy is
refused here if any product that its script forms could reach that bound; the scripts themselves check nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

# Integers below this are exact in a double.
EXACT = 2**53

# A year and a day: no limit counts over longer, and sums of a time and some periods stay far below 2^53 µs (285 years).
MAX_PERIOD_US = 366 * 86_400 * 1_000_000

# A bucket's whole tokens are stored in 32 bits, and a billion at once is no limit any more.
MAX_BURST = 1_000_000_000

# A cost is a uint32 on the wire, and each count is stored in 32 bits.
MAX_LIMIT = 2**32 - 1

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
class TokenBucketPolicy:
    """Up to `burst` at once, and in the long run `tokens` per `period_us`. Raises ValueError with a sentence."""

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
class SlidingWindowPolicy:
    """At most `limit` in any interval of `window_us`. Raises ValueError with a sentence.

    The window is counted in `sub_windows` parts; one that they do not divide is lengthened by less than a µs for each.
    """

    name: str
    limit: int
    window_us: int
    sub_windows: int = DEFAULT_SUB_WINDOWS

    def __post_init__(self) -> None:
        _check_range("limit", self.limit, 1, MAX_LIMIT)
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


Policy = TokenBucketPolicy | SlidingWindowPolicy


def _check_range(what: str, value: int, least: int, most: int, unit: str = "") -> None:
    if not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}{unit}, not {value}")
