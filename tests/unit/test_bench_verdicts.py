"""What the benchmark makes of its figures: ratios of rounds, and verdicts on medians."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contest import Contestant, Entry, cpu_us, ratios
from bench.hotspots import functions
from bench.load import Report
from bench.processes import Server
from bench.profiles import ECHO
from bench.report import Rest, Sample
from bench.targets import Target
from bench.verdicts import Bound, Verdict


def entry(*cpu: float) -> Entry:
    """Return an entry with a sample for each CPU time."""
    server = Server("server", ["true"], log=Path("log"), is_ready=lambda: True)
    report = Report(calls=1, rps=1.0, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0)
    samples = [
        Sample(
            report=report,
            cpu_us=each,
            store_us=0.0,
            store_commands=0.0,
            load_us=0.0,
            rss_mib=1.0,
            others_cores=0.0,
            seconds=1.0,
        )
        for each in cpu
    ]
    return Entry(contestant=Contestant(name="server", target=Target(server, ""), profile=ECHO), samples=samples)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is twice as slow in one round changes no ratio."""
    assert [0.5, 0.5] == ratios(entry(10, 20), entry(20, 40), cpu_us)


def test_what_the_store_does_at_rest_is_no_calls() -> None:
    """A run of three seconds and a hundred calls, each of which costs 2 µs and one command beyond that."""
    report = Report(calls=100, rps=50.0, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0)
    sample = Sample(
        report=report,
        cpu_us=1.0,
        store_us=2.0 + 3 * 500 / 100,
        store_commands=1 + 3 * 5 / 100,
        load_us=0.0,
        rss_mib=1.0,
        others_cores=0.0,
        seconds=3.0,
    )
    assert pytest.approx(Rest(store_us=2.0, store_commands=1.0)) == sample.beyond(Rest(500.0, 5.0))


@pytest.mark.parametrize(
    ("bound", "figure", "is_met"),
    [
        (Bound.AT_MOST, 5.0, True),
        (Bound.AT_MOST, 5.1, False),
        (Bound.AT_LEAST, 5.0, True),
        (Bound.AT_LEAST, 4.9, False),
        (Bound.BELOW, 5.0, False),
        (Bound.BELOW, 4.9, True),
        (Bound.ABOVE, 5.0, False),
        (Bound.ABOVE, 5.1, True),
    ],
)
def test_a_bound_holds_on_its_side(bound: Bound, figure: float, is_met: bool) -> None:  # noqa: FBT001 (a parameter of a test)
    """Whether the target itself is enough depends on the bound."""
    assert is_met == Verdict(what="", figures=[figure], bound=bound, target=5.0).is_met


def test_the_median_decides() -> None:
    """One round that was disturbed changes no verdict, and the line shows it."""
    verdict = Verdict(what="Get", figures=[1.0, 2.0, 90.0], bound=Bound.BELOW, target=5.0, unit="ms")
    assert "met     Get: 2 ms (1-90); target: below 5 ms" == str(verdict)


def test_a_function_counts_once_in_a_stack() -> None:
    """A function that calls itself is in a stack once, however deep."""
    top, anywhere = functions({"main;walk;walk": 3, "main": 1})
    assert {"walk": 3, "main": 1} == top
    assert {"walk": 3, "main": 4} == anywhere
