"""The algorithms, as pure functions over plain data: the specification that the scripts are tested against.

Each function takes a key's state (None: no key) and the time, and returns the verdict, the state to store and its
TTL. The scripts in `sidecar/store/lua` give the same answers step by step, in doubles; here integers have no bound,
so what the scripts do in two steps to stay below 2^53 is a single line. Times and durations are in microseconds; a
duration that would pass 2^53-1 µs (285 years: a billion tokens at one a day) is cut to that.

**Token bucket.** A bucket holds up to `burst` tokens; `num` drop in every `den` ticks, a call takes its cost. The
level is kept exactly, as whole tokens and a fraction in 1/den, so that nothing is lost however often one asks: a
float, or tokens rounded at each call, would starve a slow bucket that is asked often. Time is rounded down to the
tick, which is 1 µs unless the rate's terms are large (`policy.tick_rate`). In any time the bucket admits at most
`burst` and what the rate gives for the ticks that passed. The TTL is the time to full, since a full bucket and no key
are the same.

When the clock goes back nothing drops in, and the bucket takes on the new time: it goes on at its rate at once
instead of waiting for the clock to catch up. The price is that the time jumped over counts twice: at most what the
rate gives for the jump, and never more than `burst` at once. Only a call that would take something moves the time,
but it does so even if it is refused, which is the one case where a refused call writes: a bucket that only refuses
would else stand still for good.

**Sliding window.** Time is cut into sub-windows, N to a window. What counts is the current one and the N before it,
each whole. Any interval as long as a window touches at most these N+1, so none ever holds more than the limit. (The
common counter that weighs the previous window by its overlap assumes an even load and lets through up to twice the
limit.) The price is that a slot comes free up to one sub-window late. An exact log would cost memory for each call.
The TTL runs until the newest count leaves.

When the clock goes back by less than a window, calls count in the newest sub-window, as if time stood at its start:
the promise holds in real time, and slots come free late by the jump. Further back, that would lock callers out for as
long as the jump, so the window starts anew, and up to the limit may be admitted again. Durations in a verdict are in
the clock's time: what they promise comes true when the clock gets there.

**A changed policy** finds the old one's state under the same key. A bucket keeps its whole tokens, up to the new
burst, and not its share (docs/adr/0019-buckets-keep-tokens-not-shares.md); its fraction goes if it is none of the new
denominator. A window with other sub-windows counts all it finds
from now: it may refuse for too long once, no longer than a window, since a call that is then refused writes down that
it counts from now. What the old policy's TTL has let go is forgotten. Two sidecars with different policies, as in a
rolling update, thus see each other's calls.

Further algorithms stand in `sidecar.ratelimit.models`, one in a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from sidecar.ratelimit.policy import EXACT

if TYPE_CHECKING:
    from sidecar.ratelimit.policy import SlidingWindowPolicy, TokenBucketPolicy

FOREVER_US = EXACT - 1

StateT = TypeVar("StateT")


class Verdict(NamedTuple):
    """What a caller gets to know."""

    allowed: bool
    remaining: int
    retry_after_us: int
    """How long until the same cost could be allowed; 0 if it was."""
    reset_after_us: int
    """How long until all of the limit is there again, if nothing more is taken."""


class Step(NamedTuple, Generic[StateT]):
    """A verdict and what is stored after it."""

    verdict: Verdict
    state: StateT | None
    ttl_ms: int | None
    """The TTL that is set with the state; None: nothing is written, state and TTL stay as they are."""


class Bucket(NamedTuple):
    """The stored state of a token bucket; `at_us` is the start of a tick."""

    whole: int
    fraction: int
    at_us: int


class Window(NamedTuple):
    """The stored state of a sliding window: non-zero counts by the sub-window's number from the epoch, oldest first."""

    sub_window_us: int
    counts: tuple[tuple[int, int], ...]


def check_token_bucket(
    policy: TokenBucketPolicy, state: Bucket | None, now_us: int, cost: int, *, commit: bool
) -> Step[Bucket]:
    """Decide on a call of `cost` (at most the burst); without `commit` nothing is written."""
    num, den, tick_us = policy.rate
    at_us = now_us - now_us % tick_us
    rewound = state is not None and state.at_us > at_us
    whole, fraction = _refilled(policy, state, at_us)

    def wait_us(missing: int) -> int:
        ticks = _ceil_div(missing * den - fraction, num)
        return min(ticks, FOREVER_US // tick_us) * tick_us - now_us % tick_us

    allowed = cost <= whole
    retry_after_us = 0 if allowed else wait_us(cost - whole)
    takes = commit and cost > 0
    if takes and allowed:
        whole -= cost
    reset_after_us = wait_us(policy.burst - whole) if whole < policy.burst else 0
    verdict = Verdict(allowed, whole, retry_after_us, reset_after_us)
    if takes and (allowed or rewound):
        return Step(verdict, Bucket(whole, fraction, at_us), _ceil_div(reset_after_us, 1_000))
    return Step(verdict, state, None)


def _refilled(policy: TokenBucketPolicy, state: Bucket | None, at_us: int) -> tuple[int, int]:
    """Return the whole tokens and the fraction that are there at `at_us`."""
    if state is None:
        return policy.burst, 0
    num, den, tick_us = policy.rate
    ticks = max(0, (at_us - state.at_us) // tick_us)
    fraction = state.fraction if state.fraction < den else 0
    gained, fraction = divmod(fraction + ticks * num, den)
    if state.whole + gained >= policy.burst:
        return policy.burst, 0
    return state.whole + gained, fraction


def check_sliding_window(
    policy: SlidingWindowPolicy, state: Window | None, now_us: int, cost: int, *, commit: bool
) -> Step[Window]:
    """Decide on a call of `cost` (at most the limit); without `commit` nothing is written."""
    length = policy.sub_window_us
    current, counts = _counting(policy, state, now_us)
    moved = state is not None and state.sub_window_us != length and bool(counts)
    used = sum(counts.values())

    def leaves_after_us(number: int) -> int:
        return (number + policy.counted) * length - now_us

    allowed = cost == 0 or used + cost <= policy.limit
    retry_after_us = 0
    if not allowed:
        excess = used + cost - policy.limit
        for number, count in sorted(counts.items()):
            excess -= count
            if excess <= 0:
                retry_after_us = leaves_after_us(number)
                break
    takes = commit and cost > 0
    if takes and allowed:
        counts[current] = counts.get(current, 0) + cost
        used += cost
    reset_after_us = leaves_after_us(max(counts)) if counts else 0
    verdict = Verdict(allowed, max(0, policy.limit - used), retry_after_us, reset_after_us)
    if takes and (allowed or moved):
        return Step(verdict, Window(length, tuple(sorted(counts.items()))), _ceil_div(reset_after_us, 1_000))
    return Step(verdict, state, None)


def _counting(policy: SlidingWindowPolicy, state: Window | None, now_us: int) -> tuple[int, dict[int, int]]:
    """Return the number of the sub-window to count in, and the counts that still count."""
    length = policy.sub_window_us
    current = now_us // length
    if state is None:
        return current, {}
    counts = dict(state.counts)
    if state.sub_window_us != length:
        newest = max(current, max(counts) * state.sub_window_us // length)
        counts = {newest: sum(counts.values())}
    newest = max(counts)
    if newest - current >= policy.counted:
        return current, {}
    current = max(current, newest)
    oldest = current - policy.counted + 1
    return current, {number: count for number, count in counts.items() if number >= oldest}


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
