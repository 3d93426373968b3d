"""The states of local shares, and the count of those that share."""

from __future__ import annotations

import time

from sidecar.clock import StoreClock
from sidecar.ratelimit.decision import UNBOUNDED, Decision, Enforcement
from sidecar.ratelimit.members import Census
from sidecar.ratelimit.policy import CombinedPolicy, FixedWindowPolicy, GcraPolicy, SlidingWindowPolicy
from sidecar.ratelimit.shares import PolicyShare, ShareStates
from sidecar.telemetry.metrics import Cell

DAY_US = 86_400 * 1_000_000
POLICY = SlidingWindowPolicy(name="window", limit=10, window_us=DAY_US)


class Fleet:
    """The shares of a policy in one process, with a number of live sidecars that a test sets."""

    def __init__(self, policy: SlidingWindowPolicy | CombinedPolicy = POLICY, *, live: int = 2, most: int = 3) -> None:
        self.live = live
        self.clock = StoreClock()
        self.forgotten = Cell()
        self.states = ShareStates(self.clock, self.forgotten, most=most)
        self.share = self.of(policy)

    def of(self, policy: SlidingWindowPolicy | CombinedPolicy) -> PolicyShare:
        """Return the share of another policy with the same states."""
        return PolicyShare(policy, self.states, lambda: self.live)

    def take(self, key: bytes, cost: int = 1) -> Decision:
        """Take from the share of a key."""
        decision = self.share.decide(key, cost, take=True)
        assert decision is not None
        return decision


def test_an_answer_says_what_it_rests_on() -> None:
    """The share, what is left of it, and how far above the limit all of them may go."""
    decision = Fleet().take(b"k", 2)
    expected = (True, 5, 3, Enforcement.LOCAL_SHARE, 10)
    assert expected == (*decision[:3], decision.enforcement, decision.max_overshoot)


def test_a_look_keeps_nothing() -> None:
    """Nor does a refusal."""
    fleet = Fleet()
    fleet.share.decide(b"k", 1, take=False)
    fleet.take(b"k", 6)
    assert 0 == len(fleet.states)


def test_what_was_used_last_is_kept() -> None:
    """A key that is asked for again stays, also if it is refused; the oldest goes and begins anew."""
    fleet = Fleet()
    for key in (b"a", b"b", b"c", b"a"):
        fleet.take(key, 3)
    fleet.take(b"d", 3)
    assert ([2, 5], 1) == ([fleet.take(key, 0).remaining for key in (b"a", b"b")], fleet.forgotten.value)


def test_forgetting_what_counts_ends_the_bound() -> None:
    """Until it would not have counted any more."""
    fleet = Fleet()
    for key in (b"a", b"b", b"c"):
        fleet.take(key)
    before = fleet.take(b"a").max_overshoot
    fleet.take(b"d")
    during = fleet.take(b"a").max_overshoot
    now = time.monotonic()
    fleet.clock.observe(fleet.clock.micros() + 2 * DAY_US, now, now)
    assert (10, UNBOUNDED, 10) == (before, during, fleet.take(b"a").max_overshoot)


def test_forgetting_what_has_expired_is_no_loss() -> None:
    """Such a state is as none."""
    fleet = Fleet()
    for key in (b"a", b"b", b"c"):
        fleet.take(key)
    now = time.monotonic()
    fleet.clock.observe(fleet.clock.micros() + 2 * DAY_US, now, now)
    assert (10, 0) == (fleet.take(b"d").max_overshoot, fleet.forgotten.value)


def test_a_share_follows_the_number_of_sidecars() -> None:
    """What was taken stays taken."""
    fleet = Fleet()
    fleet.take(b"k", 2)
    fleet.live = 5
    assert (True, 2, 0) == fleet.take(b"k", 0)[:3]


def test_the_limits_of_a_policy_may_change() -> None:
    """Those that stay keep their counts, by name; new ones begin whole."""
    day = FixedWindowPolicy(name="day", limit=8, window_us=DAY_US)
    year = FixedWindowPolicy(name="year", limit=6, window_us=366 * DAY_US)
    hour = GcraPolicy(name="hour", tokens=1, period_us=DAY_US, burst=20)
    fleet = Fleet(CombinedPolicy(name="both", limits=(day, year)))
    fleet.take(b"k", 2)
    fleet.share = fleet.of(CombinedPolicy(name="both", limits=(hour, year)))
    parts = fleet.take(b"k", 0).limits
    assert [("hour", 10), ("year", 1)] == [(part.name, part.remaining) for part in parts]


def test_the_census_takes_the_most_of_the_last_counts() -> None:
    """After an outage the first count may be of one alone; once all had the time to be heard of, it stands."""
    census = Census()
    known = []
    for live in (3, 3, 1, 2, 2, 2, 2):
        census.observe(live)
        known.append(census.live)
    assert (None, [3, 3, 3, 3, 3, 2, 2]) == (Census().live, known)
