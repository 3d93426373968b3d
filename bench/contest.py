"""Servers against each other in one run: they take turns in a changing order, and what counts is the ratio of a round.

A machine's speed drifts, so figures that were taken at different times do not compare. Within a round they nearly do;
the order turns around with each round, so that what one leaves behind (a warm cache, a hot core) does not always meet
the same next one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.report import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.measure import Meter
    from bench.profiles import Profile
    from bench.report import Sample
    from bench.targets import Target

    Figure = Callable[[Sample], float]

HEADINGS = (
    "server", "call", "callers", "RPC/s", "p50 ms", "p95 ms", "p99 ms", "CPU µs/RPC", "store µs/RPC",
    "commands/RPC", "load µs/RPC", "RSS MiB", "CPU of the first to it",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contestant:
    """A server and the call that is measured on it."""

    name: str
    target: Target
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """What a contestant did: a sample for each round."""

    contestant: Contestant
    samples: list[Sample] = field(default_factory=list)

    def median(self, figure: Figure) -> float:
        """Return the median of a figure over the rounds."""
        return median(map(figure, self.samples))

    def cells(self, first: Entry) -> list[str]:
        """Return the entry's texts for the table, beside the first one's."""
        profile = self.contestant.profile
        store = self.median(lambda sample: sample.store_us)
        return [
            self.contestant.name,
            profile.title,
            str(profile.load),
            f"{self.median(lambda sample: sample.report.rps):,.0f}",
            f"{self.median(lambda sample: sample.report.p50_ms):.2f}",
            f"{self.median(lambda sample: sample.report.p95_ms):.2f}",
            f"{self.median(lambda sample: sample.report.p99_ms):.2f}",
            spread([sample.cpu_us for sample in self.samples], ".0f"),
            f"{store:.1f}" if store else "",
            f"{self.median(lambda sample: sample.store_commands):.3f}" if store else "",
            f"{self.median(lambda sample: sample.load_us):.0f}",
            f"{self.median(lambda sample: sample.rss_mib):.0f}",
            "1" if first is self else spread(ratios(first, self, cpu_us), ".2f"),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return all that was measured."""
        profile = self.contestant.profile
        return {
            "server": self.contestant.name,
            "profile": profile.name,
            "load": asdict(profile.load),
            "keys": profile.keys,
            "samples": [asdict(sample) for sample in self.samples],
        }


def compete(contestants: Sequence[Contestant], meter: Meter, rounds: int, say: Callable[[str], None]) -> list[Entry]:
    """Let all take their turns; the entries come in the contestants' order."""
    entries = [Entry(contestant=contestant) for contestant in contestants]
    for contestant in contestants:
        say(f"{contestant.name}: warming up")
        meter.warm_up(contestant.target, contestant.profile)
    for number in range(rounds):
        for entry in entries if number % 2 == 0 else reversed(entries):
            contestant = entry.contestant
            say(f"round {number + 1} of {rounds}: {contestant.name}, {contestant.profile.title}")
            entry.samples.append(meter.take(contestant.target, contestant.profile))
    return entries


def ratios(first: Entry, other: Entry, figure: Figure) -> list[float]:
    """Return for each round what the figure of the first is to that of the other."""
    return [figure(mine) / figure(its) for mine, its in zip(first.samples, other.samples, strict=True)]


def cpu_us(sample: Sample) -> float:
    """Return the server's CPU time for each call."""
    return sample.cpu_us


def p50_ms(sample: Sample) -> float:
    """Return the latency that half of the calls did not exceed."""
    return sample.report.p50_ms
