"""Tokens that are lent, as pure functions: what is taken ahead of the calls that spend it, and what comes back of it.

A limit that can be lent from is one whose state does not say when each of its tokens was taken: a token bucket, an
arrival time, the count of a fixed window. What is lent is taken there and then, as a call's cost would be, and with the
cost of the call that it is lent to, in one step. So others see it as spent, and what is lost on its way, or with the
process that had it, is merely not used.

What is not spent is given back. A bucket's level rises by it and an arrival time moves back, which is what they would
be without the loan, but for what the bucket had no room for meanwhile: whatever has come in since is counted from the
same moment on, and stops at the burst. A window has it back if it is still the same one. Who gives back to a state
that somebody has reset, or whose policy has changed, may give it more than it still lacks: no more than was lent, and a
bucket holds no more than its burst, an arrival time in the past owes nothing, a count does not fall below 0.

Sliding windows and logs say when each call was, and a loan is no call: what is spent later than it was lent would leave
the window too early. They are not lent from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.ratelimit.model import Bucket, check_token_bucket
from sidecar.ratelimit.models.fixed_window import Counter, check_fixed_window
from sidecar.ratelimit.models.gcra import Arrival, check_gcra
from sidecar.ratelimit.policy import FixedWindowPolicy, GcraPolicy, TokenBucketPolicy

if TYPE_CHECKING:
    from sidecar.ratelimit.calendar_windows import Boundaries
    from sidecar.ratelimit.model import Step

Lendable = TokenBucketPolicy | GcraPolicy | FixedWindowPolicy


class Loan(NamedTuple):
    """What became of one call, and of the loan with it."""

    step: Step[Any]
    """That of a call which costs both."""
    lent: int


def lend(
    policy: Lendable, state: Any, now_us: int, cost: int, most: int, *, boundaries: Boundaries | None = None
) -> Loan:
    """Decide on a call, and lend `most` beside its cost, or what is there; a call that is refused borrows nothing."""
    there = _check(policy, state, now_us, 0, boundaries, commit=False).verdict.remaining
    lent = max(0, min(most, there - cost))
    return Loan(_check(policy, state, now_us, cost + lent, boundaries, commit=True), lent)


def give_back(policy: Lendable, state: Any, amount: int, until_us: int = 0) -> tuple[Any, int]:
    """Return the state without so much of what was taken, and how much that is; its TTL stays.

    `until_us` is where the fixed window ends that it was lent from. `state` is None where nothing is stored.
    """
    if state is None:
        return None, 0
    if isinstance(policy, TokenBucketPolicy):
        given = max(0, min(amount, policy.burst - state.whole))
        return Bucket(state.whole + given, state.fraction, state.at_us), given
    if isinstance(policy, FixedWindowPolicy):
        given = min(amount, state.counted) if state.to_us == until_us else 0
        return Counter(state.from_us, state.to_us, state.counted - given), given
    num, den, tick_us = policy.rate
    ticks, parts = divmod(min(state.parts, num) - amount * den, num)
    at_us = state.at_us + ticks * tick_us
    return (Arrival(at_us, parts) if at_us >= 0 else Arrival(0, 0)), amount


def _check(
    policy: Lendable, state: Any, now_us: int, cost: int, boundaries: Boundaries | None, *, commit: bool
) -> Step[Any]:
    if isinstance(policy, TokenBucketPolicy):
        return check_token_bucket(policy, state, now_us, cost, commit=commit)
    if isinstance(policy, GcraPolicy):
        return check_gcra(policy, state, now_us, cost, commit=commit)
    return check_fixed_window(policy, state, now_us, cost, commit=commit, boundaries=boundaries)
