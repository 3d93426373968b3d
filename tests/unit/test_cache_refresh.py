"""When entries are loaded anew ahead of their time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.refresh import is_due, is_early, mean_after

MILLISECONDS = st.integers(0, 10**9)
DRAWS = st.floats(0, 1, exclude_max=True)


class TestDue:
    """By the share of a life that is over."""

    @given(MILLISECONDS, MILLISECONDS, st.floats(0.01, 0.99))
    def test_once_due_it_stays_so(self, age_ms: int, left_ms: int, share: float) -> None:
        """For the rest of its life."""
        if is_due(age_ms, left_ms, share):
            assert all(is_due(age_ms + gone, left_ms - gone, share) for gone in (left_ms // 2, left_ms))

    @pytest.mark.parametrize(("age_ms", "due"), [(0, False), (799, False), (800, True), (1_000, True)])
    def test_from_the_share_on(self, age_ms: int, due: bool) -> None:  # noqa: FBT001 (what is expected)
        """Of a life of a second, with four fifths."""
        assert due is is_due(age_ms, 1_000 - age_ms, 0.8)


class TestEarly:
    """By chance."""

    @given(MILLISECONDS, st.floats(0, 1e6), st.floats(0, 100), DRAWS)
    def test_the_nearer_the_end_the_likelier(self, left_ms: int, load_ms: float, eagerness: float, draw: float) -> None:
        """Whoever loads with more time left does with less; so does an eagerer one, or one whose loads take longer."""
        if is_early(left_ms, load_ms, eagerness, draw):
            assert is_early(left_ms // 2, load_ms, eagerness, draw)
            assert is_early(left_ms, load_ms, 2 * eagerness, draw)
            assert is_early(left_ms, 2 * load_ms, eagerness, draw)

    @given(st.integers(1, 10**9), st.floats(0, 1e6), DRAWS)
    def test_never_without_eagerness(self, left_ms: int, load_ms: float, draw: float) -> None:
        """Nor before it is known how long a load takes."""
        assert not is_early(left_ms, load_ms, 0.0, draw)
        assert not is_early(left_ms, 0.0, 1.0, draw)

    def test_as_often_as_the_paper_says(self) -> None:
        """With one load's time left, one reader in e."""
        early = sum(is_early(100, 100.0, 1.0, number / 100) for number in range(100))
        assert round(100 / math.e) - 1 == early


@given(st.lists(st.floats(1, 1_000), min_size=1))
def test_a_mean_lies_between_what_was_measured(measured: list[float]) -> None:
    """Whatever the order."""
    mean = 0.0
    for one in measured:
        mean = mean_after(mean, one)
    assert min(measured) - 1e-9 <= mean <= max(measured) + 1e-9
