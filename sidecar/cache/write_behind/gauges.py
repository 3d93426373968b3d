"""What the metrics say of a write-behind cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.write_behind.changes import born_ms
from sidecar.cache.write_behind.schedule import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sidecar.cache.write_behind.partitions import Standing
    from sidecar.cache.write_behind.policy import BehindPolicy
    from sidecar.cache.write_behind.schedule import Settled
    from sidecar.clock import StoreClock
    from sidecar.telemetry.metrics import Counter, Histogram, Metrics

_OUTCOMES = {Verdict.STORED: "stored", Verdict.RETRY: "retried", Verdict.DEAD: "dead"}
_US_PER_MS = 1_000
_MS_PER_SECOND = 1_000


class Gauges:
    """The numbers of one cache, as far as this process sends its changes."""

    def __init__(
        self, cache: str, policy: BehindPolicy, clock: StoreClock, changes: Counter, seconds: Histogram
    ) -> None:
        self.policy = policy
        self.standings: dict[int, Standing] = {}
        """How the partitions stood that are owned here, when that was last looked at."""
        self.misconfigured = changes.cell(cache, "misconfigured")
        """How often the origin was there and could not make a change as it is configured."""
        self.coalesced = changes.cell(cache, "coalesced")
        self.seconds = seconds.cell(cache)
        self._cells = {verdict: changes.cell(cache, outcome) for verdict, outcome in _OUTCOMES.items()}
        self._clock = clock

    def count(self, settled: Iterable[Settled]) -> None:
        """Count what came of changes."""
        for one in settled:
            self._cells[one.verdict].value += 1

    @property
    def pending(self) -> int:
        """How many changes are not stored."""
        return sum(standing.waiting + standing.taken for standing in self.standings.values())

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return sum(standing.dead for standing in self.standings.values())

    @property
    def lag_seconds(self) -> float:
        """How old the oldest change is that is not stored; 0 without one."""
        return lag_ms(list(self.standings.values()), self._clock) / _MS_PER_SECOND


def lag_ms(standings: Sequence[Standing], clock: StoreClock) -> int:
    """Return the age of the oldest change that is not stored; 0 without one."""
    oldest = min((born_ms(standing.first) for standing in standings if standing.first), default=None)
    return 0 if oldest is None else max(0, clock.micros() // _US_PER_MS - oldest)


def register_gauges(metrics: Metrics, gauges: Mapping[str, Gauges]) -> None:
    """Have the metrics page show the states of caches."""
    metrics.gauge(
        "sidecar_write_behind_pending",
        "Changes that the origin does not have yet, of the partitions that this process sends, by cache.",
        lambda: {(cache,): one.pending for cache, one in gauges.items()},
        "cache",
    )
    metrics.gauge(
        "sidecar_write_behind_lag_seconds",
        "Age of the oldest change that the origin does not have yet, by cache.",
        lambda: {(cache,): one.lag_seconds for cache, one in gauges.items()},
        "cache",
    )
    metrics.gauge(
        "sidecar_write_behind_overdue",
        "Whether that age is above the cache's max_lag (1) or not (0), by cache.",
        lambda: {
            (cache,): float(one.lag_seconds * _MS_PER_SECOND > one.policy.max_lag_ms) for cache, one in gauges.items()
        },
        "cache",
    )
    metrics.gauge(
        "sidecar_write_behind_dead_letters",
        "Changes that never will be stored, and wait to be replayed or discarded, by cache.",
        lambda: {(cache,): one.dead for cache, one in gauges.items()},
        "cache",
    )
