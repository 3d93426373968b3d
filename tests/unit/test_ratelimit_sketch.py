"""What the tally of refused keys promises, held against a count of all of them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidecar.sketch import EMPTY, SpaceSaving, Tally, added, cut

streams = st.lists(st.sampled_from("abcdefghijklmnop"), max_size=300)
capacities = st.integers(1, 20)


def tallied(stream: list[str], capacity: int, most: int = 100) -> Tally:
    """Return the tally of a stream of keys."""
    sketch = SpaceSaving(capacity)
    for key in stream:
        sketch.add(key)
    return sketch.tally(most)


def check_bounds(tally: Tally, truth: Counter[str]) -> None:
    """Hold a tally against the true counts."""
    listed = {count.key: count for count in tally.counts}
    assert truth.total() == tally.total
    assert [] == [count for count in tally.counts if not count.most - count.excess <= truth[count.key] <= count.most]
    assert [] == [key for key in truth if key not in listed and truth[key] > tally.floor]
    assert sorted((count.most for count in tally.counts), reverse=True) == [count.most for count in tally.counts]


@given(streams, capacities)
def test_counts_have_true_bounds(stream: list[str], capacity: int) -> None:
    """Of what is listed, above and below; of what is not, above."""
    check_bounds(tallied(stream, capacity), Counter(stream))


@given(streams, capacities)
def test_memory_is_bounded_and_counts_add_up(stream: list[str], capacity: int) -> None:
    """There are never more counters, and together they have counted everything."""
    counts = tallied(stream, capacity).counts
    assert (True, len(stream)) == (len(counts) <= capacity, sum(count.most for count in counts))


@given(streams, capacities)
def test_a_frequent_key_is_found(stream: list[str], capacity: int) -> None:
    """One that has more than its n-th of all, with n counters."""
    listed = {count.key for count in tallied(stream, capacity).counts}
    frequent = {key for key, times in Counter(stream).items() if times > len(stream) / capacity}
    assert set() == frequent - listed


@given(streams)
def test_few_keys_are_counted_exactly(stream: list[str]) -> None:
    """As long as there are counters for all."""
    tally = tallied(stream, 16)
    assert (Counter(stream), 0) == (Counter({count.key: count.most for count in tally.counts}), tally.floor)
    assert [] == [count for count in tally.counts if count.excess]


@given(st.lists(st.tuples(streams, capacities, st.integers(1, 20)), max_size=5), st.integers(1, 20))
def test_bounds_hold_for_sums(apart: list[tuple[list[str], int, int]], most: int) -> None:
    """Of tallies that were made apart, cut before and after."""
    sums = added(tallied(stream, capacity, kept) for stream, capacity, kept in apart)
    truth = Counter(key for stream, _, _ in apart for key in stream)
    check_bounds(sums, truth)
    check_bounds(cut(sums, most), truth)


def test_nothing_is_nothing() -> None:
    """The sum of none is empty."""
    assert (EMPTY.total, EMPTY.floor, 0) == (added(()).total, added(()).floor, len(added(()).counts))
