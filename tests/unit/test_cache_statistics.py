"""The statistics of caches are what the metrics say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.statistics import LoadTimes, percentile, statistics_of
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.snapshot import Totals, take


def test_each_cache_has_its_own_numbers() -> None:
    """Reads and loads by outcome; what is not counted of a cache is 0."""
    metrics = Metrics()
    reads = metrics.counter("sidecar_cache_reads", "Reads.", "cache", "outcome")
    for outcome, count in (("hit", 3), ("miss", 2), ("stale", 1)):
        reads.cell("a", outcome).value = count
    metrics.counter("sidecar_cache_loads", "Loads.", "cache", "outcome").cell("a", "filled").value = 5
    metrics.counter("sidecar_cache_refreshes", "Refreshes.", "cache", "why").cell("b", "ahead").value = 4
    metrics.gauge("sidecar_cache_memory_bytes", "Memory.", lambda: {("b",): 7.0}, "cache")
    first, second = statistics_of(take(metrics), ["a", "b"])
    assert (3, 2, 1, {"filled": 5}, 0, None) == (
        first.hits, first.misses, first.stale, first.loads, first.refreshes, first.memory_bytes,
    )  # fmt: skip
    assert (0, 0, 0, {}, 4, 7) == (
        second.hits, second.misses, second.stale, second.loads, second.refreshes, second.memory_bytes,
    )  # fmt: skip


def test_what_is_still_to_be_written_is_told() -> None:
    """How many changes, and how old the oldest is; and which reads a copy has answered."""
    metrics = Metrics()
    metrics.gauge("sidecar_write_behind_pending", "Pending.", lambda: {("a",): 3.0, ("b",): 5.0}, "cache")
    metrics.gauge("sidecar_write_behind_lag_seconds", "Lag.", lambda: {("a",): 1.5}, "cache")
    metrics.counter("sidecar_l1_hits", "Hits.", "cache").cell("b").value = 9
    first, second = statistics_of(take(metrics), ["a", "b"])
    assert (3, 1.5, 0) == (first.write_behind_pending, first.write_behind_lag_seconds, first.l1_hits)
    assert (5, 0.0, 9) == (second.write_behind_pending, second.write_behind_lag_seconds, second.l1_hits)


def test_the_numbers_of_several_processes() -> None:
    """Are summed; of a bound that one of them keeps there is one number, whichever does."""
    totals = Totals()
    for worker, count in ((1, 3), (2, 4)):
        metrics = Metrics()
        metrics.counter("sidecar_cache_reads", "Reads.", "cache", "outcome").cell("a", "hit").value = count
        metrics.gauge("sidecar_write_behind_pending", "Pending.", lambda: {("a",): 5.0}, "cache")
        metrics.gauge("sidecar_cache_memory_bytes", "Memory.", lambda: {("a",): 7.0}, "cache")
        totals.observe(worker, take(metrics))
    (one,) = statistics_of(totals.families({1, 2}), ["a"])
    assert (7, 10, 7) == (one.hits, one.write_behind_pending, one.memory_bytes)


def test_load_times_are_those_of_the_histogram() -> None:
    """Their number, mean and percentiles; none where nothing was loaded."""
    metrics = Metrics()
    seconds = metrics.histogram("sidecar_cache_origin_load_seconds", "Loads.", "cache")
    for _ in range(99):
        seconds.cell("a").observe(0.02)
    seconds.cell("a").observe(2.0)
    loaded, idle = statistics_of(take(metrics), ["a", "b"])
    times = loaded.origin_times
    assert isinstance(times, LoadTimes)
    assert idle.origin_times is None
    assert 100 == times.count
    assert 0.0398 == pytest.approx(times.mean)
    assert 0.01 < times.p50 < times.p95 < times.p99 <= 0.025


@given(st.lists(st.floats(0, 9), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_percentile_lies_in_the_bucket_of_the_one_it_estimates(observed: list[float], part: float) -> None:
    """Between that bucket's bounds, or at the last bound for what is above."""
    bounds = (1.0, 2.0, 4.0)
    edges = (0.0, *bounds)
    places = [next((place for place, bound in enumerate(bounds) if one <= bound), 3) for one in observed]
    buckets = [places.count(place) for place in range(4)]
    rank = sorted(observed)[min(len(observed) - 1, max(0, -int(-part * len(observed) // 1) - 1))]
    found = percentile(buckets, bounds, part)
    nearest = next((index for index, bound in enumerate(bounds) if rank <= bound), 3)
    assert edges[nearest] - 1e-9 <= found <= edges[min(nearest + 1, 3)] + 1e-9
