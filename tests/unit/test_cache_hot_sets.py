"""What several processes tell of what a cache is asked for, put together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.hot_sets import from_written, together, written

COUNTS = st.dictionaries(st.text(max_size=3), st.integers(1, 9), max_size=8).map(lambda counts: list(counts.items()))


@given(st.lists(COUNTS, max_size=5), st.integers(1, 12))
def test_the_hottest_are_those_with_the_largest_sums(told: list[list[tuple[str, int]]], limit: int) -> None:
    """No key that is left out was read more than one that is not."""
    sums = Counter({key: 0 for counts in told for key, _ in counts})
    for counts in told:
        sums.update(dict(counts))
    hottest, cut = together(told, limit)
    left = set(sums) - set(hottest)
    assert (min(limit, len(sums)), bool(left)) == (len(set(hottest)), cut)
    assert [sums[key] for key in hottest] == sorted((sums[key] for key in hottest), reverse=True)
    assert all(sums[one] >= sums[other] for one in hottest for other in left)


@given(st.lists(COUNTS, min_size=2, max_size=5))
def test_the_order_of_processes_does_not_matter(told: list[list[tuple[str, int]]]) -> None:
    """Each that asks has the same answer."""
    assert together(told, 5) == together(told[::-1], 5)


@given(COUNTS)
def test_what_is_written_is_read_again(counts: list[tuple[str, int]]) -> None:
    """Whatever the keys hold."""
    assert counts == from_written(written(counts))


@pytest.mark.parametrize("text", [b"", b"\xff", b"{}", b"7", b'[1, "a", ["a"], ["a", "b"], [1, 2], ["a", true]]'])
def test_what_is_no_such_thing_is_left_out(text: bytes) -> None:
    """A newer sidecar may write something else."""
    assert [] == from_written(text)
