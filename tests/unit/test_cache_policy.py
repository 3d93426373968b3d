"""What an entry is worth at a moment, and what TTL it gets: the deciding part of a cache."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.entry import decode_entry
from sidecar.cache.fields import Instant, decode_field, encode_field
from sidecar.cache.policy import LONGEST_TTL_MS, CachePolicy, Outcome, choose_ttl, judge
from sidecar.cache.request import fingerprint
from sidecar.errors import InvalidArgumentError, Reason, StoreError

WRITTEN = 1_700_000_000_000_000
TTL_US = 1_000_000
ENTRY = (7, WRITTEN, WRITTEN + TTL_US, b"v")


class TestJudge:
    """Hit, stale or miss."""

    @pytest.mark.parametrize(
        ("after_us", "expected"),
        [
            (0, (Outcome.HIT, 1000, 0)),
            (1, (Outcome.HIT, 1000, 0)),
            (TTL_US - 1, (Outcome.HIT, 1, 999)),
            (TTL_US, (Outcome.STALE, 0, 1000)),
            (TTL_US + 1_999_999, (Outcome.STALE, 0, 2999)),
            (TTL_US + 2_000_000, (Outcome.MISS, None, None)),
        ],
    )
    def test_it_depends_on_the_time(self, after_us: int, expected: tuple[Outcome, int | None, int | None]) -> None:
        """Fresh until its TTL is over, stale for two seconds more, then gone, whatever the store still has."""
        lookup = judge(ENTRY, WRITTEN + after_us, 2000)
        assert expected == (lookup.outcome, lookup.ttl_ms, lookup.age_ms)

    def test_without_a_stale_time_nothing_is_stale(self) -> None:
        """Not even in the millisecond in which the store lets it go."""
        assert judge(ENTRY, WRITTEN + TTL_US, 0).outcome is Outcome.MISS

    def test_a_store_clock_that_went_back_makes_no_negative_age(self) -> None:
        """As after a failover."""
        assert judge(ENTRY, WRITTEN - 5_000_000, 0).age_ms == 0

    def test_a_clock_that_is_a_little_behind_gives_no_more_time_than_was_set(self) -> None:
        """Two clocks that drift may leave the estimate behind; the TTL is not exceeded for it."""
        assert judge(ENTRY, WRITTEN - 1500, 0).ttl_ms == 1000

    def test_nothing_is_a_miss(self) -> None:
        """Of no value and no version."""
        assert (Outcome.MISS, b"", 0, None, None) == tuple(judge(None, WRITTEN, 0))


class TestTtl:
    """Which TTL is set."""

    POLICY = CachePolicy(name="c", ttl_ms=1000, max_ttl_ms=5000, ttl_jitter=0.1)

    @given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True))
    def test_jitter_only_shortens_and_never_to_nothing(self, asked: int, draw: float) -> None:
        """By a tenth at most."""
        chosen = choose_ttl(self.POLICY, asked, draw)
        assert max(1, math.floor(asked * 0.9)) <= chosen <= asked

    def test_the_caches_own_holds_when_none_is_asked(self) -> None:
        """Without jitter at a draw of 0."""
        assert choose_ttl(self.POLICY, None, 0.0) == 1000

    @pytest.mark.parametrize(
        ("asked", "reason"),
        [(0, Reason.TTL_NOT_POSITIVE), (-1, Reason.TTL_NOT_POSITIVE), (5001, Reason.TTL_TOO_LONG)],
    )
    def test_a_ttl_outside_the_bounds_is_refused(self, asked: int, reason: Reason) -> None:
        """With the field that it came in."""
        with pytest.raises(InvalidArgumentError) as caught:
            choose_ttl(self.POLICY, asked, 0.0, "entries[2].ttl")
        assert (reason, "entries[2].ttl") == (caught.value.reason, caught.value.field)

    def test_even_without_a_bound_there_is_one(self) -> None:
        """Ten years, so that no number overflows."""
        with pytest.raises(InvalidArgumentError):
            choose_ttl(CachePolicy(name="c", ttl_ms=1), LONGEST_TTL_MS + 1, 0.0)


class TestEntry:
    """The header."""

    @given(st.binary(max_size=60))
    def test_what_no_sidecar_wrote_is_refused(self, stored: bytes) -> None:
        """F27 in small: an entry or ENTRY_MALFORMED."""
        try:
            entry = decode_entry(stored)
        except StoreError as error:
            assert error.reason is Reason.ENTRY_MALFORMED  # noqa: PT017 (one of the two wanted ends)
        else:
            assert entry is not None
            assert struct.pack(">2sQQQ", b"S\x01", *entry[:3]) + entry[3] == stored


FIELDS = (
    st.text()
    | st.binary()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.builds(Instant, st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 999_999_999))
)


class TestFields:
    """Typed values as bytes."""

    @given(FIELDS)
    def test_a_value_comes_back_with_its_type(self, value: str | bytes | float | bool | Instant) -> None:  # noqa: FBT001
        """True stays a boolean and 1 an integer."""
        back = decode_field(encode_field(value))
        assert (type(value), value) == (type(back), back)

    @given(st.binary(max_size=20))
    def test_random_bytes_are_a_value_or_malformed(self, stored: bytes) -> None:
        """And nothing else."""
        try:
            value = decode_field(stored)
        except StoreError as error:
            assert error.reason is Reason.ENTRY_MALFORMED  # noqa: PT017 (one of the two wanted ends)
        else:
            assert stored == encode_field(value)

    @pytest.mark.parametrize("time", [struct.pack(">qI", 0, 2**31), struct.pack(">qI", 2**40, 0)])
    def test_a_time_out_of_range_is_malformed(self, time: bytes) -> None:
        """It could not be sent to anybody."""
        with pytest.raises(StoreError):
            decode_field(b"m" + time)


@given(st.lists(st.integers() | st.binary() | st.text() | st.none(), max_size=4), st.lists(st.integers(), max_size=4))
def test_only_equal_requests_have_equal_fingerprints(
    one: list[int | bytes | str | None], other: list[int | bytes | str | None]
) -> None:
    """Whatever their parts are."""
    assert (one == other) == (fingerprint(*one) == fingerprint(*other))
