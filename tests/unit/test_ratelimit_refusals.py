"""Refusals that are remembered: never longer than the store would have refused."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.limit_models import Act, model

from sidecar.clock import StoreClock
from sidecar.ratelimit.decision import Decision, LimitStatus
from sidecar.ratelimit.policy import (
    FixedWindowPolicy,
    GcraPolicy,
    Policy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.refusals import Refusals
from sidecar.telemetry.metrics import Counter, Metrics

SECOND_US = 1_000_000
START_US = 1_750_000_000 * SECOND_US
REFUSED = Decision(
    False, 10, 2, 500, 900, (LimitStatus("one", False, 10, 2, 500, 900), LimitStatus("two", True, 20, 9, 0, 100))
)
POLICIES: list[Policy] = [
    TokenBucketPolicy(name="bucket", tokens=10, period_us=SECOND_US, burst=5),
    GcraPolicy(name="gcra", tokens=7, period_us=SECOND_US, burst=5),
    SlidingWindowPolicy(name="window", limit=5, window_us=SECOND_US),
    SlidingLogPolicy(name="log", limit=5, window_us=SECOND_US),
    FixedWindowPolicy(name="fixed", limit=5, window_us=SECOND_US),
]


class Clock(StoreClock):
    """A store's clock that a test moves, and the estimate of it that is ahead by some µs."""

    __slots__ = ("ahead_us", "now_us")

    def __init__(self) -> None:
        super().__init__()
        self.now_us = START_US
        self.ahead_us = 0

    def micros(self) -> int:
        """Return the estimate."""
        return self.now_us + self.ahead_us


class Trial:
    """Refusals on a clock of a test's own."""

    def __init__(self, *, most: int = 3) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.refusals = Refusals(
            clock=self.clock, metrics=self.metrics, names=["p"], monotonic_us=lambda: self.clock.now_us, most=most
        )

    def note(self, key: bytes = b"k", cost: int = 3, decision: Decision = REFUSED) -> None:
        """Note what the store has just decided."""
        self.refusals.note(key, cost, decision, self.clock.now_us)


@pytest.fixture
def trial() -> Trial:
    """Return refusals with room for three."""
    return Trial()


def test_a_refusal_is_answered_again_with_the_time_that_is_left(trial: Trial) -> None:
    """The same cost hears the same, later, of each limit too."""
    trial.note()
    trial.clock.now_us += 200
    parts = (LimitStatus("one", False, 10, 2, 300, 700), LimitStatus("two", True, 20, 9, 0, 0))
    assert Decision(False, 10, 2, 300, 700, parts) == trial.refusals.find(b"k", 3)


def test_it_ends_with_its_wait(trial: Trial) -> None:
    """And is kept no longer once somebody has asked."""
    trial.note()
    trial.clock.now_us += 499
    during = trial.refusals.find(b"k", 3)
    trial.clock.now_us += 1
    assert (True, None, 0) == (during is not None, trial.refusals.find(b"k", 3), len(trial.refusals))


def test_a_larger_cost_is_refused_and_a_smaller_one_not(trial: Trial) -> None:
    """Of the latter nothing is known."""
    trial.note()
    assert [None, False] == [found and found.allowed for found in map(trial.refusals.find, [b"k"] * 2, [2, 4])]


def test_the_way_to_the_store_is_taken_off(trial: Trial) -> None:
    """What the store decided a while ago ends as much sooner; what has ended by now is not remembered."""
    trial.refusals.note(b"k", 1, REFUSED, trial.clock.now_us - 400)
    trial.refusals.note(b"late", 1, REFUSED, trial.clock.now_us - 500)
    found = trial.refusals.find(b"k", 1)
    assert found is not None
    assert (100, None) == (found.retry_after_us, trial.refusals.find(b"late", 1))


def test_an_estimate_that_is_behind_makes_it_no_longer(trial: Trial) -> None:
    """The wait is the most."""
    trial.clock.ahead_us = -SECOND_US
    trial.note()
    found = trial.refusals.find(b"k", 3)
    assert found is not None
    assert 500 == found.retry_after_us


def test_the_oldest_is_forgotten(trial: Trial) -> None:
    """There is room for so many."""
    for key in (b"a", b"b", b"a", b"c", b"d"):
        trial.note(key)
    assert [False, True] == [trial.refusals.find(key, 3) is not None for key in (b"b", b"a")]


def test_what_was_asked_before_a_drop_is_not_remembered_after(trial: Trial) -> None:
    """The answer may have been on its way while the key was reset."""
    policy = trial.refusals.of("p")
    assert policy is not None
    note = policy.noting(b"k", 1)
    policy.drop(b"k")
    note(REFUSED, trial.clock.now_us)
    policy.noting(b"other", 1)(REFUSED, trial.clock.now_us)
    assert [None, False] == [found and found.allowed for found in map(policy.find, [b"k", b"other"], [1, 1])]


def test_what_was_answered_is_counted(trial: Trial) -> None:
    """By policy."""
    policy = trial.refusals.of("p")
    assert policy is not None
    policy.find(b"k", 3)
    trial.note()
    policy.find(b"k", 3)
    counter = trial.metrics.families["sidecar_ratelimit_remembered_refusals"]
    assert isinstance(counter, Counter)
    assert {("p",): 1} == {labels: cell.value for labels, cell in counter.cells.items()}


def test_other_policies_after_a_reload(trial: Trial) -> None:
    """All is forgotten, and what a policy says now counts."""
    trial.note()
    trial.refusals.replace(["q"])
    assert (None, True, 0) == (trial.refusals.of("p"), trial.refusals.of("q") is not None, len(trial.refusals))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
@given(st.integers(0, 2**32), st.integers(0, 5_000))
@settings(deadline=None)
def test_nobody_is_refused_whom_the_store_would_allow(policy: Policy, seed: int, ahead_us: int) -> None:
    """Every refusal that is remembered is what the algorithm would say then, and tells no longer wait."""
    rng, trial = random.Random(seed), Trial()
    trial.clock.ahead_us = ahead_us
    state: Any = None
    for _ in range(60):
        trial.clock.now_us += rng.choice([0, 1, 1_000, rng.randint(0, 300_000)])
        cost = rng.randint(0, 5)
        verdict, new, ttl_ms = model(Act(policy, trial.clock.now_us, cost, commit=True), state)
        found = trial.refusals.find(b"k", cost)
        if found is not None:
            assert (False, False) == (found.allowed, verdict.allowed)
            assert found.retry_after_us <= verdict.retry_after_us
            continue
        state = new if ttl_ms is not None else state
        if not verdict.allowed:
            trial.note(cost=cost, decision=Decision(False, policy.limit, *verdict[1:]))
