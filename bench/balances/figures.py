"""What a measurement showed, kept in a file: all that text and picture are made of.

The file has a line for each run, so that a new measurement can be read as a difference.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.balances.runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Figure = Callable[[Run], float]

SATURATION = "saturation"
STEADY = "steady"
BASE = "service-database"
"""The way that all are compared with: what there was before."""
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How it was measured, and every run."""

    day: str
    """As in 2026-01-31."""
    machine: str
    cores: int
    command: str
    seconds: float
    """The length of each run."""
    rounds: int
    accounts: int
    postings_per_second: int
    loads: Mapping[str, str]
    """What each load is, in words."""
    resting_postgres: Sequence[float]
    """How many cores it uses with postings and without calls, in each round."""
    resting_sidecar: Sequence[float]
    """The same of a sidecar."""
    runs: Mapping[str, Mapping[str, Sequence[Run]]]
    """By load and way; one for each round."""

    def of(self, load: str, way: str, figure: Figure) -> list[float]:
        """Return a figure of each round."""
        return [figure(run) for run in self.runs[load][way]]

    def median(self, load: str, way: str, figure: Figure) -> float:
        """Return the median of a figure."""
        return median(self.of(load, way, figure))

    def ratios(self, load: str, way: str, figure: Figure) -> list[float]:
        """Return for each round what a way's figure is to that of the base."""
        pairs = zip(self.of(load, way, figure), self.of(load, BASE, figure), strict=True)
        return [mine / its if its else 0.0 for mine, its in pairs]

    def save(self, file: Path) -> None:
        """Write all of it."""
        head = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "runs"}
        lines = [f" {json.dumps(name)}: {json.dumps(_rounded(value))}," for name, value in head.items()]
        lines.append(' "runs": {')
        for load_number, (load, ways) in enumerate(self.runs.items(), 1):
            lines.append(f"  {json.dumps(load)}: {{")
            for way_number, (way, runs) in enumerate(ways.items(), 1):
                lines.append(f"   {json.dumps(way)}: [")
                lines += [
                    f"    {json.dumps(_rounded(asdict(run)))}{',' if number < len(runs) else ''}"
                    for number, run in enumerate(runs, 1)
                ]
                lines.append(f"   ]{',' if way_number < len(ways) else ''}")
            lines.append(f"  }}{',' if load_number < len(self.runs) else ''}")
        lines.append(" }")
        file.write_text("\n".join(("{", *lines, "}")) + "\n", encoding="utf-8")


def load_figures(file: Path) -> Figures:
    """Read what `save` has written."""
    content = json.loads(file.read_text(encoding="utf-8"))
    content["runs"] = {
        load: {way: [Run(**run) for run in runs] for way, runs in ways.items()}
        for load, ways in content["runs"].items()
    }
    return Figures(**content)


def _rounded(value: Any) -> Any:
    """Return a value with its floats to as many digits as mean anything."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value
