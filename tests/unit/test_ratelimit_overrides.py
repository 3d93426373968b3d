"""Overrides as they are stored, and what they make of a policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import Reason, SidecarError
from sidecar.ratelimit.overrides import (
    LONGEST_MS,
    SHORTEST_MS,
    Effect,
    Numbers,
    Override,
    check_lasting,
    from_stored,
    overridden,
)
from sidecar.ratelimit.overrides_model import Stored, delete_override, set_override
from sidecar.ratelimit.policy import CombinedPolicy, FixedWindowPolicy, SlidingLogPolicy, TokenBucketPolicy

SECOND_US = 1_000_000
BUCKET = TokenBucketPolicy(name="steady", tokens=1, period_us=SECOND_US, burst=5)
LOG = SlidingLogPolicy(name="daily", limit=9, window_us=SECOND_US)
BOTH = CombinedPolicy(name="both", limits=(BUCKET, LOG))

NUMBERS = st.builds(Numbers, st.text(max_size=5), *[st.integers(0, 2**53)] * 3)
OVERRIDES = st.builds(
    Override,
    policy=st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    effect=st.sampled_from(Effect),
    numbers=st.lists(NUMBERS, max_size=3).map(tuple),
    ends_us=st.integers(1, 2**53),
)


@given(OVERRIDES)
def test_what_is_stored_is_read_back(override: Override) -> None:
    """Whatever its key holds."""
    assert override == from_stored(override.field, b"%d:%b" % (override.ends_us, override.text))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_what_is_no_override_is_none(field: bytes, value: bytes) -> None:
    """No bytes end in an error."""
    assert from_stored(field, value) is None


@pytest.mark.parametrize(
    ("policy", "numbers", "expected"),
    [
        (BUCKET, Numbers("", 7), replace(BUCKET, burst=7)),
        (BUCKET, Numbers("", 0, 3, 2 * SECOND_US), replace(BUCKET, tokens=3, period_us=2 * SECOND_US)),
        (LOG, Numbers("", 7), replace(LOG, limit=7)),
        (BOTH, Numbers("daily", 7), replace(BOTH, limits=(BUCKET, replace(LOG, limit=7)))),
    ],
)
def test_numbers_take_the_place_of_the_policys(
    policy: TokenBucketPolicy | CombinedPolicy, numbers: Numbers, expected: TokenBucketPolicy | CombinedPolicy
) -> None:
    """Those that are given; all else stays."""
    assert expected == overridden(policy, [numbers])


@pytest.mark.parametrize(
    ("policy", "numbers", "field"),
    [
        (BUCKET, [], "numbers.limits"),
        (BUCKET, [Numbers("steady", 1)], "numbers.limits"),
        (BUCKET, [Numbers("", 0)], "numbers.limits[0]"),
        (BUCKET, [Numbers("", 2**40)], "numbers.limits[0]"),
        (BUCKET, [Numbers("", 1, 1, -1)], "numbers.limits[0]"),
        (LOG, [Numbers("", 10_001)], "numbers.limits[0]"),
        (LOG, [Numbers("", 1, 1)], "numbers.limits[0].rate_tokens"),
        (BOTH, [Numbers("", 1)], "numbers.limits[0].name"),
        (BOTH, [Numbers("daily", 1), Numbers("daily", 2)], "numbers.limits[1].name"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    policy: TokenBucketPolicy | CombinedPolicy, numbers: list[Numbers], field: str
) -> None:
    """With the field that is wrong."""
    with pytest.raises(SidecarError) as caught:
        overridden(policy, numbers)
    assert (Reason.OVERRIDE_INVALID, field) == (caught.value.reason, caught.value.field)


def test_a_window_keeps_its_length() -> None:
    """Only how much it may hold is another."""
    policy = FixedWindowPolicy(name="hourly", limit=3, window_us=3_600 * SECOND_US)
    assert replace(policy, limit=4) == overridden(policy, [Numbers("", 4)])


@pytest.mark.parametrize("lasts_ms", [None, SHORTEST_MS - 1, LONGEST_MS + 1])
def test_an_end_is_needed(lasts_ms: int | None) -> None:
    """Neither too near nor too far."""
    with pytest.raises(SidecarError) as caught:
        check_lasting(lasts_ms)
    assert (Reason.OVERRIDE_EXPIRY, "expires_after") == (caught.value.reason, caught.value.field)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(-5, 5), st.integers(1, 20)), max_size=20))
def test_versions_grow(acts: list[tuple[bool, str, int, int]]) -> None:
    """Whatever the clock does, as long as anything is stored; and there are never more than there may be."""
    state: Stored | None = None
    now_us = 1_000
    for sets, field, passed_us, lasts_us in acts:
        before, now_us = state, now_us + passed_us
        if sets:
            (done, version), state = set_override(state, now_us, field=field, text="", lasts_us=lasts_us, most=2)
            if done and before is not None:
                assert version > before.version
        else:
            _, state = delete_override(state, now_us, field=field)
        assert len(state.overrides if state else ()) <= 2
