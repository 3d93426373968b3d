"""Targets: what was asked for, what was measured, and whether that is enough."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# From here on a figure has enough digits before the point.
_LARGE = 100


class Bound(Enum):
    """On which side of the target the figure has to be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    BELOW = "below"
    ABOVE = "above"

    def holds(self, figure: float, target: float) -> bool:
        """Return whether a figure is on the right side."""
        holds = {
            Bound.AT_MOST: operator.le,
            Bound.AT_LEAST: operator.ge,
            Bound.BELOW: operator.lt,
            Bound.ABOVE: operator.gt,
        }
        return bool(holds[self](figure, target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target and the figures that were measured for it, one for each round; their median decides."""

    what: str
    figures: Sequence[float]
    bound: Bound
    target: float
    unit: str = ""

    @property
    def figure(self) -> float:
        """The median."""
        return median(self.figures)

    @property
    def is_met(self) -> bool:
        """Whether the median is on the right side of the target."""
        return self.bound.holds(self.figure, self.target)

    def __str__(self) -> str:
        """Return the line that says it."""
        unit = f" {self.unit}" if self.unit else ""
        text = f"{'met' if self.is_met else 'missed':6}  {self.what}: {_text(self.figure)}{unit}"
        if len(self.figures) > 1:
            text += f" ({_text(min(self.figures))}-{_text(max(self.figures))})"
        return f"{text}; target: {self.bound.value} {_text(self.target)}{unit}"

    def as_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "what": self.what,
            "figure": self.figure,
            "figures": list(self.figures),
            "bound": self.bound.value,
            "target": self.target,
            "unit": self.unit,
            "met": self.is_met,
        }


def _text(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= _LARGE else f"{figure:.3g}"
