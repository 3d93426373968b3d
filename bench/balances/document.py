"""The part of docs/benchmarks.md that a measurement writes, and the picture beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.balances.chart import chart
from bench.balances.figures import load_figures
from bench.balances.tables import text
from bench.processes import Failure

if TYPE_CHECKING:
    from bench.balances.figures import Figures

_DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = _DOCS / "benchmarks.md"
CHART = _DOCS / "benchmarks" / "balances.svg"
FIGURES = _DOCS / "benchmarks" / "balances.json"
BEGIN = "<!-- written by `make bench-balances`: begin -->"
END = "<!-- written by `make bench-balances`: end -->"


def write(figures: Figures) -> None:
    """Write the figures, the picture of them, and their part of the page."""
    figures.save(FIGURES)
    figures = load_figures(FIGURES)  # with as many digits as the file has: text and picture follow from it alone
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), section(figures)), encoding="utf-8")
    CHART.write_text(chart(figures), encoding="utf-8")


def section(figures: Figures) -> str:
    """Return the part of the page, without its marks."""
    picture = f"![Calls per second, and CPU time of each]({CHART.relative_to(PAGE.parent)})"
    return f"{text(figures)}\n\n{picture}"


def with_section(page: str, new: str) -> str:
    """Return the page with another part between the marks; raises `Failure` if they are not there once each."""
    if (page.count(BEGIN), page.count(END)) != (1, 1):
        raise Failure(f"{PAGE.name} needs the lines `{BEGIN}` and `{END}`, once each")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"
