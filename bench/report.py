"""From samples to rows, and from rows to text."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load import Report
    from bench.profiles import Profile


class Rest(NamedTuple):
    """What the store does when nobody calls, each second: its clock, and the sidecar's probes."""

    store_us: float
    store_commands: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one profile."""

    report: Report
    cpu_us: float
    """The server's CPU time for each call."""
    store_us: float
    """The store's CPU time for each call."""
    store_commands: float
    """How many commands the store ran for each call, in scripts too."""
    load_us: float
    """The load generator's CPU time for each call, and that of all else that the benchmark itself runs."""
    rss_mib: float
    others_cores: float
    """How many cores the machine gave to what is no part of the run: what disturbed it."""
    seconds: float
    """How long the run took, with the load generator's start."""

    def beyond(self, rest: Rest) -> Rest:
        """Return what the store did for each call beyond what it does when nobody calls."""
        part = self.seconds / self.report.calls
        return Rest(self.store_us - rest.store_us * part, self.store_commands - rest.store_commands * part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the repeats of one profile come to."""

    profile: Profile
    samples: Sequence[Sample]
    ratios: Sequence[float]
    """Each sample's CPU time against the mean of the echo runs before and after it; empty for the echo itself."""

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return median(self.ratios)

    def cells(self) -> list[str]:
        """Return the row's texts: the medians."""
        cpu = [sample.cpu_us for sample in self.samples]
        store = median(sample.store_us for sample in self.samples)
        reports = [sample.report for sample in self.samples]
        return [
            self.profile.title,
            str(self.profile.load),
            f"{median(report.rps for report in reports):,.0f}",
            *(
                f"{median(getattr(report, percentile) for report in reports):.2f}"
                for percentile in ("p50_ms", "p95_ms", "p99_ms")
            ),
            spread(cpu, ".0f"),
            f"{store:.0f}" if store else "",
            f"{median(sample.rss_mib for sample in self.samples):.0f}",
            spread(self.ratios, ".2f") if self.ratios else "1",
        ]


HEADINGS = (
    "call", "callers", "RPC/s", "p50 ms", "p95 ms", "p99 ms", "CPU µs/RPC", "store µs/RPC", "RSS MiB", "CPU x echo",
)  # fmt: skip


def spread(figures: Sequence[float], form: str) -> str:
    """Return the median, and the least and the most in brackets."""
    return f"{median(figures):{form}} ({min(figures):{form}}-{max(figures):{form}})"


def others_line(samples: Sequence[Sample]) -> str:
    """Say how much others disturbed the runs."""
    cores = [sample.others_cores for sample in samples]
    if not cores:
        return "Nothing was measured."
    return f"Others used {median(cores):.2f} (at most {max(cores):.2f}) of the cores meanwhile."


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are also straight as plain text; numbers stand to the right."""
    widths = [max(len(line[column]) for line in (headings, *rows)) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join((first, *others))} |"

    rule = "|".join(
        "-" * (width + 2) if column == 0 else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    return "\n".join((line(headings), f"|{rule}|", *(line(row) for row in rows)))
