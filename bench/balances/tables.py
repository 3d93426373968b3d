"""The text of a measurement: how it was taken, and its tables, in Markdown."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.balances.figures import BASE, SATURATION, STEADY
from bench.report import spread, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.balances.figures import Figure, Figures
    from bench.balances.runs import Run

TITLES = {
    "service-database": "service, PostgreSQL",
    "service-store": "service, sidecar, Redis",
    "service-l1": "service, sidecar with L1",
    "direct-store": "sidecar, Redis",
    "direct-l1": "sidecar with L1",
}
"""The ways to a balance, each named by whom a call passes."""

_CALLS = ("way of a call", "RPC/s", "to the first", "p50 ms", "p95 ms", "p99 ms", "hit rate", "by L1", "loads per call")
_CPU = (
    "way of a call", "PostgreSQL µs/RPC", "to the first", "PostgreSQL, % of a core", "service µs/RPC", "sidecar µs/RPC",
    "Redis µs/RPC", "all µs/RPC", "to the first",
)  # fmt: skip
_PACED = (
    "way of a call",
    "RPC/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "PostgreSQL, % of a core",
    "hit rate",
    "by L1",
    "loads per call",
)
# From here on no digit behind the point means anything.
_LARGE = 10


def text(figures: Figures) -> str:
    """Return how it was measured and the tables."""
    return "\n\n".join(
        (
            _how(figures),
            f"As many calls as there are answers ({figures.loads[SATURATION]}):",
            table(_CALLS, [_calls(figures, way) for way in figures.runs[SATURATION]]),
            "The CPU time of these calls:",
            table(_CPU, [_cpu(figures, way) for way in figures.runs[SATURATION]]),
            _resting(figures),
            f"The same number of calls by each way ({figures.loads[STEADY]}):",
            table(_PACED, [_paced(figures, way) for way in figures.runs[STEADY]]),
            _disturbed(figures),
        )
    )


def _how(figures: Figures) -> str:
    return (
        f"{figures.day}, {figures.cores} cores; {figures.machine}. {figures.accounts:,} accounts, "
        f"{figures.postings_per_second:g} postings per second meanwhile; medians (least-most) of {figures.rounds} "
        f"rounds of {figures.seconds:g} s, ratios within a round. Made by `{figures.command}`."
    )


def _calls(figures: Figures, way: str) -> list[str]:
    return [
        TITLES[way],
        f"{figures.median(SATURATION, way, lambda run: run.rps):,.0f}",
        _ratio(figures, way, lambda run: run.rps),
        *_latencies(figures, SATURATION, way),
        *_hits(figures, SATURATION, way),
    ]


def _cpu(figures: Figures, way: str) -> list[str]:
    parts: Sequence[Figure] = (lambda run: run.service_us, lambda run: run.sidecar_us, lambda run: run.store_us)
    return [
        TITLES[way],
        _figure(figures.median(SATURATION, way, lambda run: run.postgres_us)),
        _ratio(figures, way, lambda run: run.postgres_us),
        _percent(figures, SATURATION, way),
        *(_figure(value) if (value := figures.median(SATURATION, way, part)) else "" for part in parts),
        _figure(figures.median(SATURATION, way, lambda run: run.all_us)),
        _ratio(figures, way, lambda run: run.all_us),
    ]


def _paced(figures: Figures, way: str) -> list[str]:
    return [
        TITLES[way],
        f"{figures.median(STEADY, way, lambda run: run.rps):,.0f}",
        *_latencies(figures, STEADY, way),
        _percent(figures, STEADY, way),
        *_hits(figures, STEADY, way),
    ]


def _latencies(figures: Figures, load: str, way: str) -> list[str]:
    percentiles: Sequence[Figure] = (lambda run: run.p50_ms, lambda run: run.p95_ms, lambda run: run.p99_ms)
    return [f"{figures.median(load, way, percentile):.2f}" for percentile in percentiles]


def _hits(figures: Figures, load: str, way: str) -> list[str]:
    if way == BASE:
        return ["", "", "1"]
    l1 = figures.median(load, way, lambda run: run.l1_share)
    return [
        f"{figures.median(load, way, lambda run: run.hit_rate):.1%}",
        f"{l1:.0%}" if l1 else "",
        f"{figures.median(load, way, lambda run: run.load_share):.3f}",
    ]


def _percent(figures: Figures, load: str, way: str) -> str:
    return f"{figures.median(load, way, lambda run: run.postgres_cores):.0%}"


def _ratio(figures: Figures, way: str, figure: Figure) -> str:
    return "1" if way == BASE else spread(figures.ratios(SATURATION, way, figure), ".2f")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= _LARGE else f"{value:.1f}"


def _resting(figures: Figures) -> str:
    return (
        f"With the postings alone and no calls PostgreSQL takes {median(figures.resting_postgres):.1%} of a core, and "
        f"a sidecar that hears of them {median(figures.resting_sidecar):.1%}; that is part of the figures above."
    )


def _disturbed(figures: Figures) -> str:
    runs: list[Run] = [run for ways in figures.runs.values() for each in ways.values() for run in each]
    others = [run.others_cores for run in runs]
    posted = [run.postings / run.seconds for run in runs]
    return (
        f"Other programs used {median(others):.2f} (at most {max(others):.2f}) of the cores meanwhile. "
        f"{median(posted):.0f} (at least {min(posted):.0f}) transactions a second were posted."
    )
