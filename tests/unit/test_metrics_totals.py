"""Metrics of several processes in one: sums that never fall, and states that keep their owner's name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.prometheus import garbage_collection, several_processes
from sidecar.telemetry.snapshot import FamilySnapshot, Totals, take

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_NOBODY: frozenset[int] = frozenset()


def _counted(**calls: int) -> tuple[FamilySnapshot, ...]:
    """Return what a worker would tell that counted so many calls by method."""
    rows = tuple(((method,), (float(number),)) for method, number in calls.items())
    return (FamilySnapshot(kind="counter", name="calls", help="Calls.", label_names=("method",), rows=rows),)


def _calls(totals: Totals) -> dict[str, float]:
    return {labels[0]: numbers[0] for family in totals.families(_NOBODY) for labels, numbers in family.rows}


def test_a_snapshot_holds_all_kinds() -> None:
    """Counters, histograms and gauges, as they are at that moment."""
    metrics = Metrics()
    metrics.counter("reads", "Reads.", "cache").cell("a").value += 3
    metrics.histogram("seconds", "Seconds.").cell().observe(99.0)
    metrics.gauge("size", "Size.", lambda: {("x",): 7}, "what")
    reads, seconds, size = take(metrics)
    assert (("a",), (3,)) == reads.rows[0]
    assert ((), (*[0] * len(seconds.bounds), 1, 99.0)) == seconds.rows[0]
    assert ("gauge", ((("x",), (7,)),)) == (size.kind, size.rows)


def test_counters_are_summed_by_label_values() -> None:
    """Also where only one of the workers has met a value."""
    totals = Totals()
    totals.observe(1, _counted(get=2, set=1))
    totals.observe(2, _counted(get=5, delete=1))
    assert {"get": 7, "set": 1, "delete": 1} == _calls(totals)


def test_histograms_are_summed_bucket_by_bucket() -> None:
    """The page of two workers is the page of one that did the work of both."""
    single, totals = Metrics(), Totals()
    together = single.histogram("seconds", "Seconds.").cell()
    for worker, seconds in ((1, 0.0003), (2, 0.0003), (3, 99.0)):
        metrics = Metrics()
        metrics.histogram("seconds", "Seconds.").cell().observe(seconds)
        together.observe(seconds)
        totals.observe(worker, take(metrics))
    assert list(take(single)) == totals.families(_NOBODY)


def test_a_dead_workers_counts_stay() -> None:
    """Its successor, of the same number, counts from nought, and the total does not fall."""
    totals = Totals()
    totals.observe(1, _counted(get=7))
    totals.retire(1)
    assert {"get": 7} == _calls(totals)
    totals.observe(1, _counted(get=1))
    assert {"get": 8} == _calls(totals)


def test_a_worker_that_died_before_it_told_anything() -> None:
    """There is nothing to keep."""
    totals = Totals()
    totals.retire(1)
    assert [] == totals.families(_NOBODY)


STEPS = st.lists(st.tuples(st.sampled_from(["work", "tell", "die"]), st.integers(1, 3), st.integers(0, 9)), max_size=60)


@given(STEPS)
def test_totals_never_fall_and_hold_all_that_was_told(steps: list[tuple[str, int, int]]) -> None:
    """Whatever order workers count, tell and die in."""
    totals = Totals()
    counts = dict.fromkeys((1, 2, 3), 0)
    told = dict.fromkeys((1, 2, 3), 0)
    kept = last = 0.0
    for step, worker, number in steps:
        if step == "work":
            counts[worker] += number
        elif step == "tell":
            told[worker] = counts[worker]
            totals.observe(worker, _counted(get=counts[worker]))
        else:
            kept += told[worker]
            counts[worker] = told[worker] = 0
            totals.retire(worker)
        now = _calls(totals).get("get", 0.0)
        assert now >= last
        assert kept + sum(told.values()) == now
        last = now


def test_gauges_keep_their_workers_name() -> None:
    """And only those of workers that are there are shown: a state that nobody confirms is none."""
    totals = Totals()
    for worker, size in ((1, 7.0), (2, 9.0), (3, 11.0)):
        gauge = FamilySnapshot(
            kind="gauge", name="size", help="Size.", label_names=("what",), rows=((("x",), (size,)),)
        )
        totals.observe(worker, (gauge,))
    totals.retire(3)
    (family,) = totals.families({1, 3})
    assert (("what", "worker"), ((("x", "1"), (7.0,)),)) == (family.label_names, family.rows)


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_processes_are_shown_by_name() -> None:
    """Memory and CPU of each, under the names that one process has."""
    this = os.getpid()
    registry = several_processes(lambda: (), lambda: {"supervisor": this, "1": this, "2": 2**22 + 1})
    assert (_value(registry, "process_resident_memory_bytes", worker="1") or 0) > 0
    assert (_value(registry, "process_cpu_seconds_total", worker="supervisor") or 0) > 0
    assert _value(registry, "process_cpu_seconds_total", worker="2") is None


def test_collections_of_garbage_can_be_summed() -> None:
    """They are counters by generation, under the names that one process has."""
    registry = several_processes(garbage_collection, dict)
    assert _value(registry, "python_gc_collections_total", generation="0") is not None
