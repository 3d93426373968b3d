"""The picture of a measurement: an SVG of two panels of bars that share their names.

Written with xml.etree. A library (pygal, matplotlib) would draw one panel a file or bring a stack of packages, and its
files have random ids or scripts in them, so that the same figures would not give the same file. Two rows of rectangles
need less code than either needs settings.

Colours are of Okabe and Ito's palette, which people who see fewer colours can tell apart too; they stand on a white
ground and on a dark one alike, and the ground is what the reader's browser asks for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from bench.balances.figures import SATURATION
from bench.balances.tables import TITLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.balances.figures import Figure, Figures

_WIDTH, _TOP, _ROW, _BAR = 920, 62, 34, 20
_RPC = (190, 260)
"""The left edge of a panel and its width."""
_CPU = (530, 330)
_TICKS = 5
_RPC_COLOUR = "#999999"
_PARTS: tuple[tuple[str, str, Figure], ...] = (
    ("PostgreSQL", "#0072B2", lambda run: run.postgres_us),
    ("service", "#E69F00", lambda run: run.service_us),
    ("sidecar", "#009E73", lambda run: run.sidecar_us),
    ("Redis", "#CC79A7", lambda run: run.store_us),
)
# What a viewer without style sheets shows is the light one, by the attributes.
_STYLE = """
text { font: 12px system-ui, sans-serif }
.title { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117 }
  text { fill: #e6edf3 }
  .grid { stroke: #3d444d }
}
"""


def chart(figures: Figures) -> str:
    """Return the picture as text."""
    ways = list(figures.runs[SATURATION])
    bottom = _TOP + _ROW * len(ways)
    height = bottom + 72
    svg = ET.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_WIDTH} {height}", role="img",
    )  # fmt: skip
    ET.SubElement(
        svg, "title"
    ).text = "Reading balances with and without the sidecar: calls per second, CPU time per call"
    ET.SubElement(svg, "style").text = _STYLE
    _add(svg, "rect", {"class": "ground", "width": _WIDTH, "height": height, "fill": "#ffffff"})
    rates = [figures.median(SATURATION, way, lambda run: run.rps) for way in ways]
    costs = [[figures.median(SATURATION, way, figure) for _, _, figure in _PARTS] for way in ways]
    for row, way in enumerate(ways):
        _text(svg, _RPC[0] - 10, _middle(row), TITLES[way], anchor="end")
    at = _panel(svg, _RPC, bottom, max(rates), title="Calls at saturation", axis="calls per second (RPC/s)")
    for row, rate in enumerate(rates):
        _bar(svg, at(0), at(rate), row, colour=_RPC_COLOUR, hint=f"{rate:,.0f} RPC/s")
        _text(svg, at(rate) + 5, _middle(row), f"{rate:,.0f}")
    at = _panel(svg, _CPU, bottom, max(map(sum, costs)), title="CPU time of a call", axis="CPU time (µs per call)")
    for row, parts in enumerate(costs):
        begun = 0.0
        for (name, colour, _), cost in zip(_PARTS, parts, strict=True):
            _bar(svg, at(begun), at(begun + cost), row, colour=colour, hint=f"{name}: {cost:,.1f} µs")
            begun += cost
        whole = figures.median(SATURATION, ways[row], lambda run: run.all_us)  # not quite the sum of medians
        _text(svg, at(begun) + 5, _middle(row), f"{whole:,.0f}")
    left = _CPU[0]
    for name, colour, _ in _PARTS:
        _add(svg, "rect", {"x": left, "y": bottom + 48, "width": 12, "height": 12, "fill": colour})
        _text(svg, left + 17, bottom + 58, name)
        left += 40 + 7 * len(name)
    ET.indent(svg, " ")
    return ET.tostring(svg, encoding="unicode") + "\n"


def _panel(
    svg: ET.Element, place: tuple[int, int], bottom: int, most: float, *, title: str, axis: str
) -> Callable[[float], float]:
    """Draw a panel's title, grid and axis; return where a figure is on the latter."""
    left, width = place
    step = nice_step(most / _TICKS)
    # The longest bar's figure stands beside it, within the panel.
    end = step * math.ceil(most * 1.08 / step)

    def at(figure: float) -> float:
        return left + width * figure / end

    _text(svg, left, _TOP - 32, title, kind="title")
    for number in range(round(end / step) + 1):
        x = at(number * step)
        _add(svg, "line", {"class": "grid", "x1": x, "x2": x, "y1": _TOP - 14, "y2": bottom, "stroke": "#d0d7de"})
        _text(svg, x, bottom + 16, f"{number * step:,.0f}", anchor="middle")
    _text(svg, left + width / 2, bottom + 34, axis, anchor="middle")
    return at


def nice_step(least: float) -> float:
    """Return the least of 1, 2, 2.5 and 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least)


def _middle(row: int) -> float:
    return _TOP + _ROW * row + _BAR / 2 + 4


def _bar(svg: ET.Element, begin: float, end: float, row: int, *, colour: str, hint: str) -> None:
    bar = _add(svg, "rect", {"x": begin, "y": _TOP + _ROW * row, "width": end - begin, "height": _BAR, "fill": colour})
    ET.SubElement(bar, "title").text = hint


def _text(svg: ET.Element, x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> None:
    attributes: dict[str, Any] = {"x": x, "y": y, "text-anchor": anchor, "fill": "#1f2328"}
    _add(svg, "text", {**attributes, **({"class": kind} if kind else {})}).text = text


def _add(parent: ET.Element, name: str, attributes: dict[str, Any]) -> ET.Element:
    return ET.SubElement(
        parent, name, {key: f"{each:.1f}" if isinstance(each, float) else str(each) for key, each in attributes.items()}
    )
