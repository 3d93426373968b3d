"""Versions of policies, and what descriptions hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from sidecar.ratelimit.calendar_windows import Calendar, CalendarUnit
from sidecar.ratelimit.description import Algorithm, LimitDescription, described
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.policy import (
    CombinedPolicy,
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy

SECOND_US = 1_000_000
BUCKET = TokenBucketPolicy(name="api", tokens=100, period_us=SECOND_US, burst=200)
CALENDAR = FixedWindowPolicy(name="api", limit=5, calendar=Calendar(CalendarUnit.DAY, ZoneInfo("Europe/Berlin")))
# A process of its own hashes strings in another way.
_ASK = """
from sidecar.ratelimit.description import described
from tests.unit.test_ratelimit_description import BUCKET, CALENDAR
print(described(BUCKET).version, described(CALENDAR).version)
"""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (BUCKET, LimitDescription("", Algorithm.TOKEN_BUCKET, 200, rate_tokens=100, rate_period_us=SECOND_US)),
        (
            GcraPolicy(name="api", tokens=3, period_us=SECOND_US, burst=4),
            LimitDescription("", Algorithm.GCRA, 4, rate_tokens=3, rate_period_us=SECOND_US),
        ),
        (
            SlidingWindowPolicy(name="api", limit=7, window_us=SECOND_US, sub_windows=5),
            LimitDescription("", Algorithm.SLIDING_WINDOW, 7, window_us=SECOND_US, sub_windows=5),
        ),
        (
            SlidingLogPolicy(name="api", limit=7, window_us=SECOND_US),
            LimitDescription("", Algorithm.SLIDING_LOG, 7, window_us=SECOND_US),
        ),
        (
            FixedWindowPolicy(name="api", limit=7, window_us=SECOND_US),
            LimitDescription("", Algorithm.FIXED_WINDOW, 7, window_us=SECOND_US),
        ),
        (CALENDAR, LimitDescription("", Algorithm.FIXED_WINDOW, 5, calendar="day", time_zone="Europe/Berlin")),
        (
            ConcurrencyPolicy(name="api", limit=2, lease_ms=10, max_lease_ms=20),
            LimitDescription("", Algorithm.CONCURRENCY, 2, lease_us=10_000, max_lease_us=20_000),
        ),
    ],
)
def test_a_limit_is_described(
    policy: TokenBucketPolicy | FixedWindowPolicy | ConcurrencyPolicy, expected: LimitDescription
) -> None:
    """By what its algorithm has."""
    assert (expected,) == described(policy).limits


def test_several_limits_are_described_by_name() -> None:
    """In the order in which they stand."""
    policy = CombinedPolicy(name="both", limits=(BUCKET, replace(CALENDAR, name="daily")))
    assert ["api", "daily"] == [limit.name for limit in described(policy).limits]


@pytest.mark.parametrize(
    "changed", [replace(BUCKET, tokens=101), replace(BUCKET, period_us=2 * SECOND_US), replace(BUCKET, burst=201)]
)
def test_a_version_changes_with_each_setting(changed: TokenBucketPolicy) -> None:
    """Whichever it is."""
    assert described(BUCKET).version != described(changed).version


def test_a_version_changes_with_the_zone() -> None:
    """Also what is not a number counts."""
    calendar = Calendar(CalendarUnit.DAY, ZoneInfo("Asia/Tokyo"))
    assert described(CALENDAR).version != described(replace(CALENDAR, calendar=calendar)).version


def test_a_version_changes_with_what_is_done_beside_decisions() -> None:
    """While the store is gone, and after a refusal."""
    asked = [described(BUCKET), described(BUCKET, on_failure=OnFailure.OPEN), described(BUCKET, cache_refusals=True)]
    assert 3 == len({description.version for description in asked})


def test_a_version_is_the_same_in_every_process() -> None:
    """Two sidecars of one configuration name one version."""
    asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    assert f"{described(BUCKET).version} {described(CALENDAR).version}\n" == asked.stdout
