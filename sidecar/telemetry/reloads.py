"""How often the configuration was reloaded, and how that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sidecar.telemetry.metrics import Metrics

ReloadOutcome = Literal["applied", "unchanged", "refused"]


class ReloadCounter:
    """Attempts by outcome; `refused` above zero is worth an alert."""

    def __init__(self, metrics: Metrics) -> None:
        counter = metrics.counter(
            "sidecar_config_reloads", "Attempts to reload the configuration, by outcome.", "outcome"
        )
        outcomes: tuple[ReloadOutcome, ...] = ("applied", "unchanged", "refused")
        self._cells = {outcome: counter.cell(outcome) for outcome in outcomes}

    def count(self, outcome: ReloadOutcome) -> None:
        """Count an attempt."""
        self._cells[outcome].value += 1
