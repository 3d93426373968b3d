"""Reports as they are stored, and what they say together."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import StoreClock
from sidecar.ratelimit.candidate import Outcomes
from sidecar.ratelimit.decision import Decision, Enforcement
from sidecar.ratelimit.observations import TURN_US, Observations
from sidecar.ratelimit.policy import SlidingLogPolicy
from sidecar.ratelimit.reports import (
    TOP,
    Report,
    TrialReport,
    from_stored,
    hidden,
    pseudonym,
    report_of,
    stored,
    together,
)
from sidecar.ratelimit.reservoir import SAMPLE, Sampled
from sidecar.sketch import Count, Tally
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
numbers = st.integers(0, 2**53)
tallies = st.builds(Tally, st.lists(st.builds(Count, keys, numbers, numbers), max_size=5), numbers, numbers)
trials = st.builds(
    TrialReport,
    st.sampled_from(["v1", "v2"]),
    numbers,
    st.builds(Outcomes, *[numbers] * 5),
    st.lists(st.builds(Sampled, numbers, keys, numbers), max_size=5),
)
reports = st.builds(Report, numbers, numbers, tallies, st.none() | trials, st.booleans())
REFUSED = Decision(False, 1, 0, 1, 1)


class SteppedClock(StoreClock):
    """A clock that stands until it is moved."""

    __slots__ = ("now_us",)

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 10 * TURN_US

    def micros(self) -> int:
        """Return the time."""
        return self.now_us


@pytest.fixture
def clock() -> SteppedClock:
    """Return a clock."""
    return SteppedClock()


@pytest.fixture
def observations(clock: SteppedClock) -> Observations:
    """Return what a process has seen: nothing."""
    return Observations(keys=KeySpace("default"), clock=clock, metrics=Metrics(), personal=["secret"])


@given(reports)
def test_what_is_stored_is_read_back(report: Report) -> None:
    """Whatever its keys hold."""
    assert report == from_stored(stored(report))


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"{}", b"[" * 100_000, b'{"counts": 1}']))
def test_what_is_no_report_is_none(text: bytes) -> None:
    """No bytes end in an error."""
    assert from_stored(text) is None


@given(st.lists(reports, min_size=1, max_size=4))
def test_trials_of_one_candidate_are_added_up(found: list[Report]) -> None:
    """Those of another are left out, and the rest of their reports is not."""
    said = together(found, "v1")
    own = [report.trial for report in found if report.trial is not None and report.trial.version == "v1"]
    assert (len(found), sum(report.tally.total for report in found)) == (said.processes, said.tally.total)
    if said.trial is None:
        assert [] == own
        return
    assert (len(own), sum(trial.outcomes.both_allowed for trial in own)) == (
        said.trial.processes, said.trial.report.outcomes.both_allowed
    )  # fmt: skip
    assert sorted(one.at_us for one in said.trial.report.sample) == [one.at_us for one in said.trial.report.sample]


@given(reports)
def test_what_is_hidden_names_no_key(report: Report) -> None:
    """Each is its pseudonym, once; what is hidden already stays as it is."""
    once = hidden(report, "acme")
    expected = [count.key if report.hashed else pseudonym("acme", count.key) for count in report.tally.counts]
    assert (expected, True, once) == ([count.key for count in once.tally.counts], once.hashed, hidden(once, "acme"))


def test_a_pseudonym_is_the_tenants_own() -> None:
    """The same key is another to another tenant."""
    assert (16, True) == (len(pseudonym("acme", "ada")), pseudonym("acme", "ada") != pseudonym("umbrella", "ada"))


def test_the_most_refused_are_told(observations: Observations) -> None:
    """Twenty of those of all processes."""
    for number in range(40):
        for _ in range(number):
            observations.refused("api", f"k{number}")
    said = together([report_of(observations.of("api"), 1)] * 2, None)
    assert [(f"k{number}", 2 * number) for number in range(39, 39 - TOP, -1)] == [
        (count.key, count.most) for count in said.tally.counts
    ]


@pytest.mark.parametrize(
    ("passed_us", "expected"),
    [(TURN_US - 1, 2), (TURN_US, 2), (2 * TURN_US - 1, 2), (2 * TURN_US, 1), (-TURN_US, 2)],
)
def test_old_refusals_are_forgotten(
    observations: Observations, clock: SteppedClock, passed_us: int, expected: int
) -> None:
    """What was refused ten minutes ago counts, twenty minutes ago no more; a clock that goes back forgets nothing."""
    observations.refused("api", "k")
    clock.now_us += passed_us
    observations.of("api")
    observations.refused("api", "k")
    seen = observations.of("api")
    assert expected == seen.tally.total
    assert seen.since_us == clock.now_us - (passed_us if expected == 2 else 0)


def test_a_policy_that_refuses_no_more_has_nothing_to_say(observations: Observations, clock: SteppedClock) -> None:
    """So nothing is written for it."""
    observations.refused("api", "k")
    before = list(observations.names())
    clock.now_us += TURN_US
    between = list(observations.names())
    clock.now_us += TURN_US
    assert (["api"], ["api"], []) == (before, between, list(observations.names()))


def test_a_policy_that_is_gone_is_forgotten(observations: Observations) -> None:
    """By a reload."""
    for name in ("api", "old"):
        observations.refused(name, "k")
    observations.keep(["api"])
    assert ["api"] == list(observations.names())


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (REFUSED, 1),
        (REFUSED._replace(allowed=True, shadow_denied=True), 0),
        (REFUSED._replace(enforcement=Enforcement.LOCAL_SHARE), 1),
        (REFUSED._replace(enforcement=Enforcement.FAILED_CLOSED), 0),
    ],
)
def test_only_what_says_something_about_a_key_is_counted(
    observations: Observations, decision: Decision, expected: int
) -> None:
    """Not what is refused to everybody while the store is gone."""
    observations.decided("api", "k", decision)
    assert expected == observations.of("api").tally.total


def test_a_trial_goes_on_until_its_candidate_is_another(observations: Observations) -> None:
    """Also when the policies are made ready anew, as for each override."""
    log = SlidingLogPolicy(name="api", limit=1, window_us=1_000_000)
    first, again = observations.trial("api", log), observations.trial("api", log)
    other = observations.trial("api", SlidingLogPolicy(name="api", limit=2, window_us=1_000_000))
    assert (True, False) == (first is again, first is other)
    assert observations.trial("api", None) is None
    assert observations.of("api").trial is None


def test_personal_keys_are_known_by_their_policy(observations: Observations) -> None:
    """Until a reload says otherwise."""
    before = observations.is_personal("secret")
    observations.replace(["api"])
    assert (True, [False, True]) == (before, [observations.is_personal(name) for name in ("secret", "api")])


def test_a_sample_is_bounded(observations: Observations) -> None:
    """However many processes there are."""
    sample = [Sampled(number, "k", number) for number in range(SAMPLE)]
    trial = TrialReport("v1", 0, Outcomes(), sample)
    report = report_of(observations.of("api"), 1)._replace(trial=trial)
    said = together([report] * 3, "v1")
    assert SAMPLE == len(cast("TrialReport", said.trial and said.trial.report).sample)
