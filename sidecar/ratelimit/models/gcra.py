"""The generic cell rate algorithm, as a pure function; what `sidecar.ratelimit.model` says of times holds here too.

Instead of a level the state is one time: the theoretical arrival time, at which all that was taken would have come in
at the policy's rate. A call of some cost moves it on by the time in which so many tokens come. It conforms if the
arrival time is then no further ahead than a whole burst takes to come (ITU-T I.371, "virtual scheduling"). Taken in
num-ths of a tick, every one of these times is an integer: nothing is rounded, and nothing drifts.

It is the token bucket seen from the other side: the bucket lacks what the arrival time is ahead. While the clock runs
forward and the policy stays, the two give the same answers to the last microsecond (a test holds them together). They
differ in what a bucket has to add:

- The state ages by itself, and a refused call has nothing to write. It is also shorter.
- When the clock goes back the arrival time stands where it was, so callers wait longer by the jump: it errs on the side
  of refusing, where the bucket goes on at once and gives for the time jumped over twice. But never more than a whole
  burst is owed, so that nobody waits longer than an empty bucket takes to fill; where the stored time is further ahead
  than that, a refused call writes the nearer one, or it would be owed again later.
- **A changed policy** finds a time owed, not tokens: half a minute's wait stays half a minute's, at the new rate.
  Up to the new burst, as above. A part of a tick that is none of the new rate's counts as a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.model import Step, Verdict

if TYPE_CHECKING:
    from sidecar.ratelimit.policy import GcraPolicy


class Arrival(NamedTuple):
    """The stored state: the theoretical arrival time, as the start of a tick and what it is past that."""

    at_us: int
    parts: int
    """In num-ths of a tick."""


def check_gcra(policy: GcraPolicy, state: Arrival | None, now_us: int, cost: int, *, commit: bool) -> Step[Arrival]:
    """Decide on a call of `cost` (at most the burst); without `commit` nothing is written."""
    num, den, tick_us = policy.rate
    phase_us = now_us % tick_us
    at_us = now_us - phase_us
    owed, moved = _owed(policy, state, at_us)

    def wait_us(parts: int) -> int:
        return _ceil_div(parts, num) * tick_us - phase_us if parts > 0 else 0

    # A token takes den num-ths of a tick to come.
    excess = owed + cost * den - policy.burst * den
    allowed = cost == 0 or excess <= 0
    takes = commit and cost > 0
    if takes and allowed:
        owed += cost * den
    verdict = Verdict(
        allowed=allowed,
        remaining=policy.burst - _ceil_div(owed, den),
        retry_after_us=0 if allowed else wait_us(excess),
        reset_after_us=wait_us(owed),
    )
    if takes and (allowed or moved):
        ticks, parts = divmod(owed, num)
        return Step(verdict, Arrival(at_us + ticks * tick_us, parts), _ceil_div(verdict.reset_after_us, 1_000))
    return Step(verdict, state, None)


def _owed(policy: GcraPolicy, state: Arrival | None, at_us: int) -> tuple[int, bool]:
    """Return how far ahead the arrival time is, in num-ths of a tick, and whether more than that is stored."""
    num, den, tick_us = policy.rate
    if state is None or state.at_us < at_us:
        return 0, False
    owed = _ceil_div(state.at_us - at_us, tick_us) * num + min(state.parts, num)
    return min(owed, policy.burst * den), owed > policy.burst * den


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
