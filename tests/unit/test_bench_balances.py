"""What the balances' benchmark makes of its figures."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from bench.balances.chart import chart, nice_step
from bench.balances.document import BEGIN, CHART, END, FIGURES, PAGE, section, with_section
from bench.balances.figures import BASE, SATURATION, STEADY, Figures, load_figures
from bench.balances.poster import zipf_accounts
from bench.balances.runs import Run
from bench.balances.tables import TITLES, text
from bench.processes import Failure

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


def run(*, rps: float, postgres_cpu: float, sidecar_cpu: float = 0.0) -> Run:
    """Return a run of 1,000 calls, in a second, of which the sidecar had to load ten."""
    return Run(
        seconds=1.0,
        calls=1_000,
        rps=rps,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.0,
        postgres_cpu=postgres_cpu,
        service_cpu=0.5,
        sidecar_cpu=sidecar_cpu,
        store_cpu=0.01 if sidecar_cpu else 0.0,
        load_cpu=0.1,
        others_cores=0.0,
        postings=50,
        hits=980 if sidecar_cpu else 0,
        misses=20 if sidecar_cpu else 0,
        loads=10 if sidecar_cpu else 0,
    )


@pytest.fixture
def figures() -> Figures:
    """Return the figures of three rounds of two ways."""
    base = [run(rps=rps, postgres_cpu=0.4) for rps in (1_000.0, 2_000.0, 500.0)]
    other = [run(rps=rps, postgres_cpu=0.1, sidecar_cpu=0.08) for rps in (3_000.0, 4_000.0, 2_000.0)]
    ways = {BASE: base, "direct-l1": other}
    return Figures(
        day="2026-01-31",
        machine="Python 3",
        cores=2,
        command="make bench-balances",
        seconds=2.0,
        rounds=3,
        accounts=100,
        postings_per_second=50,
        loads={SATURATION: "50 callers", STEADY: "500 calls"},
        resting_postgres=[0.02, 0.04, 0.03],
        resting_sidecar=[0.01, 0.01, 0.03],
        runs={SATURATION: ways, STEADY: ways},
    )


def test_a_file_of_figures_reads_back(figures: Figures, tmp_path: Path) -> None:
    """What was saved is what is loaded, run for run."""
    figures.save(tmp_path / "figures.json")
    assert figures == load_figures(tmp_path / "figures.json")


def test_ratios_are_taken_within_a_round(figures: Figures) -> None:
    """The median of 3, 2 and 4, and not the ratio of the medians."""
    rows = {line.split("|")[1].strip(): line for line in text(figures).splitlines() if line.startswith("| ")}
    assert [3.0, 2.0, 4.0] == figures.ratios(SATURATION, "direct-l1", lambda run: run.rps)
    assert "3.00 (2.00-4.00)" in text(figures)
    assert {"way of a call", TITLES[BASE], TITLES["direct-l1"]} == set(rows)


def test_a_hit_is_a_read_that_did_not_wait(figures: Figures) -> None:
    """Misses are counted among the reads, and loads beside them."""
    (line,) = [line for line in text(figures).splitlines() if TITLES["direct-l1"] in line and "3.00 (" in line]
    assert ["98.0%", "", "0.010"] == [cell.strip() for cell in line.split("|")[-4:-1]]


def test_the_bars_are_as_long_as_their_figures(figures: Figures) -> None:
    """On one scale from 0; the parts of a call's CPU time stand end to end."""
    bars = [
        (float(bar.attrib["x"]), float(bar.attrib["width"]))
        for bar in ET.fromstring(chart(figures)).iter(f"{SVG}rect")  # noqa: S314 (it was made here)
        if bar.find(f"{SVG}title") is not None
    ]
    (left, slow), (_, fast), *costs = bars
    assert pytest.approx(3.0, rel=0.01) == fast / slow
    assert left == pytest.approx(190)
    for (begin, width), (next_begin, _) in pairwise(costs[:4]):
        assert pytest.approx(next_begin, abs=0.11) == begin + width


def test_the_axes_have_units_and_the_dark_has_its_colours(figures: Figures) -> None:
    """Whoever sees the picture alone knows what it shows."""
    drawn = chart(figures)
    assert "calls per second (RPC/s)" in drawn
    assert "CPU time (µs per call)" in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_the_grid_has_round_figures() -> None:
    """Steps are 1, 2, 2.5 or 5 times a power of ten."""
    assert [200, 250, 2_000, 0.5, 1] == [nice_step(least) for least in (170, 201, 1_999, 0.3, 1)]


def test_the_section_is_replaced_and_all_else_stays() -> None:
    """A page without the marks is refused, and not written over."""
    assert f"a\n{BEGIN}\n\nnew\n\n{END}\nb" == with_section(f"a\n{BEGIN}\nold\n{END}\nb", "new")
    with pytest.raises(Failure, match="once each"):
        with_section("a page", "new")


def test_the_document_is_what_its_figures_say() -> None:
    """Nobody has changed the tables or the picture by hand."""
    figures = load_figures(FIGURES)
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_section(page, section(figures))
    assert CHART.read_text(encoding="utf-8") == chart(figures)


def test_accounts_are_drawn_by_zipfs_law() -> None:
    """The first is asked for twice as often as the second, and ten times as often as the tenth."""
    drawn = Counter(zipf_accounts(1_000, 100_000, seed=1))
    assert pytest.approx(2, rel=0.1) == drawn["account-0"] / drawn["account-1"]
    assert pytest.approx(10, rel=0.2) == drawn["account-0"] / drawn["account-9"]
