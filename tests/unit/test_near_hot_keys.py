"""Which keys are hot."""

from __future__ import annotations

import itertools
import random

from sidecar.cache.near.hot_keys import SAMPLED, WINDOW, HotKeys

FEW = 40


def made() -> HotKeys:
    """Return a sketch that draws the same numbers in each run."""
    return HotKeys(random.Random(7).getrandbits)


def test_a_key_that_is_read_often_is_hot() -> None:
    """Within some forty reads."""
    hot = made()
    for _ in range(20 * SAMPLED):
        hot.see("often")

    assert "often" in hot


def test_keys_that_are_read_once_are_not() -> None:
    """However many there are."""
    hot = made()
    keys = [f"once-{number}" for number in range(20_000)]
    for key in keys:
        hot.see(key)

    assert [] == [key for key in keys if key in hot]


def test_the_hot_ones_of_a_zipf_load_are_found_among_the_cold() -> None:
    """The ten that make up a quarter of it, and few of the 99 % that make up the tail."""
    hot, draw = made(), random.Random(11)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, 10_001)))
    for rank in draw.choices(range(10_000), cum_weights=weights, k=60_000):
        hot.see(f"key-{rank}")

    assert all(f"key-{rank}" in hot for rank in range(10))
    assert sum(f"key-{rank}" in hot for rank in range(1_000, 10_000)) < FEW


def test_what_cools_down_is_forgotten() -> None:
    """After two windows of other reads."""
    hot = made()
    for _ in range(20 * SAMPLED):
        hot.see("once")
    for number in range(3 * WINDOW * SAMPLED):
        hot.see(f"other-{number % 5}")

    assert "once" not in hot
    assert "other-1" in hot


def test_the_hottest_are_named_with_their_reads() -> None:
    """In falling order, about as often as they were read."""
    hot = made()
    for _ in range(4_000):
        hot.see("first")
        hot.see("first")
        hot.see("second")

    (first, most), (second, fewer) = hot.most(2)
    assert ("first", "second") == (first, second)
    assert 0.8 < most / 8_000 < 1.2
    assert 0.8 < fewer / 4_000 < 1.2
