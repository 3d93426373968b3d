"""Counting hits by rule and by what became of them, with no more labels than the configuration has rules.

Each hit of a call is counted by itself, as envoyproxy/ratelimit does: a call of ten that passes the limit in its middle
has five within and five over. `near` are those that are within, past a share of the limit. `shadow` are those of a rule
in shadow mode that would have been over.

`detailed_metric` and `value_to_metric` put values of requests into the name of a rule. Such names have no bound of
their own: a bounded number of them is kept, none of them long, and all others count under the rule's plain name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sidecar.ratelimit.envoy.matching import Match
    from sidecar.ratelimit.envoy.rules import Limit
    from sidecar.telemetry.metrics import Cell, Metrics

# Names with values of requests in them: at most some hundred kilobytes of memory and of the metrics page.
MAX_VALUED_LABELS = 1_000
MAX_VALUED_CHARACTERS = 200


class Shares(NamedTuple):
    """How a call's hits fall."""

    within: int
    near: int
    """Of those within."""
    over: int


def shares(limit: int, near_from: int, before: int, hits: int, *, counts_refused: bool) -> Shares:
    """Return how hits fall on a limit of which `before` was used; `near_from` is where it is nearly reached.

    Where refused hits do not count, they pass together or not at all.
    """
    room = max(0, limit - before)
    within = min(hits, room) if counts_refused or hits <= room else 0
    near = max(0, min(within, before + within - near_from))
    return Shares(within, near, hits - within)


class _Cells(NamedTuple):
    within: Cell
    near: Cell
    over: Cell
    shadow: Cell
    remembered: Cell


class Tally:
    """The counters of all rules."""

    def __init__(self, metrics: Metrics, *, near_ratio: float) -> None:
        self._hits = metrics.counter(
            "sidecar_envoy_hits",
            "Hits that Envoy reported, by the rule that applied and what became of them.",
            "domain",
            "rule",
            "outcome",
        )
        self._remembered = metrics.counter(
            "sidecar_envoy_remembered_refusals",
            "Hits over a limit that was known to be reached, so that the store was not asked, by rule.",
            "domain",
            "rule",
        )
        self._calls = metrics.counter("sidecar_envoy_calls", "Calls of ShouldRateLimit by their answer.", "outcome")
        self.ok = self._calls.cell("ok")
        self.over_limit = self._calls.cell("over_limit")
        self.shadowed = self._calls.cell("shadowed")
        self.unknown_domain = self._calls.cell("unknown_domain")
        self.near_ratio = near_ratio
        """The share of a limit past which it is nearly reached."""
        self._cells: dict[tuple[str, str], _Cells] = {}
        self._valued = 0

    def add(self, domain: str, match: Match, limit: Limit, before: int, hits: int, *, remembered: bool = False) -> None:
        """Count a call's hits on a limit, which may be known by what is remembered alone."""
        policy = match.rule.policy
        most = limit.requests_per_unit if policy is None else policy.limit
        near_from = int(most * self.near_ratio)
        found = shares(most, near_from, before, hits, counts_refused=policy is None)
        cells = self._cells_of(domain, match)
        cells.within.value += found.within
        cells.near.value += found.near
        (cells.shadow if match.rule.shadow_mode else cells.over).value += found.over
        if remembered:
            cells.remembered.value += hits

    def _cells_of(self, domain: str, match: Match) -> _Cells:
        label = match.label
        found = self._cells.get((domain, label))
        if found is not None:
            return found
        if label != match.rule.label:
            if self._valued >= MAX_VALUED_LABELS or len(label) > MAX_VALUED_CHARACTERS:
                return self._cells_of(domain, match._replace(label=match.rule.label))
            self._valued += 1
        made = _Cells(
            within=self._hits.cell(domain, label, "within"),
            near=self._hits.cell(domain, label, "near"),
            over=self._hits.cell(domain, label, "over"),
            shadow=self._hits.cell(domain, label, "shadow"),
            remembered=self._remembered.cell(domain, label),
        )
        self._cells[domain, label] = made
        return made
