"""What the processes of a tenant report of a policy, as it is stored, and what it says together: pure data.

A report is JSON, since it is written once in five seconds and read by people too when something is amiss. What is none,
such as that of a newer sidecar, is left out. Trials of another candidate, as during a rolling update, are not added up
with those of this one; the rest of their reports is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.candidate import OUTCOMES, Outcomes
from sidecar.ratelimit.reservoir import Sampled, as_one
from sidecar.sketch import Count, Tally, added, cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sidecar.ratelimit.observations import Seen

# A person reads them.
TOP = 20

# 64 bits: of some thousand keys no two have the same.
_PSEUDONYM_HEX = 16


class TrialReport(NamedTuple):
    """How a candidate did."""

    version: str
    since_us: int
    outcomes: Outcomes
    sample: Sequence[Sampled]


class Report(NamedTuple):
    """What one process says of a policy. Times by the store's clock."""

    told_us: int
    since_us: int
    """From when on refusals are counted."""
    tally: Tally
    trial: TrialReport | None
    hashed: bool
    """Whether its keys are pseudonyms."""


class Trialled(NamedTuple):
    """How a candidate did in all processes that have the same one."""

    report: TrialReport
    processes: int


class Together(NamedTuple):
    """What all processes say of a policy."""

    processes: int
    oldest_us: int
    """When the oldest of the reports was told."""
    since_us: int
    tally: Tally
    """The keys that were refused most."""
    trial: Trialled | None
    hashed: bool
    """Whether the keys are pseudonyms."""


def pseudonym(tenant: str, key: str) -> str:
    """Return what stands for a personal key: the same in every process of the tenant, and in no other.

    It hides the key from who reads a report, not from who has a list of all keys and tries each.
    """
    return hmac.digest(tenant.encode(), key.encode(), hashlib.sha256).hex()[:_PSEUDONYM_HEX]


def report_of(seen: Seen, told_us: int) -> Report:
    """Return what is to be told of a policy, with its keys as they are."""
    trial = seen.trial
    told = None
    if trial is not None:
        told = TrialReport(trial.version, trial.since_us, trial.outcomes, trial.sample.sample())
    return Report(told_us, seen.since_us, seen.tally, told, hashed=False)


def hidden(report: Report, tenant: str) -> Report:
    """Return a report with pseudonyms in place of its keys."""
    if report.hashed:
        return report
    tally, trial = report.tally, report.trial
    counts = [count._replace(key=pseudonym(tenant, count.key)) for count in tally.counts]
    if trial is not None:
        trial = trial._replace(sample=[one._replace(key=pseudonym(tenant, one.key)) for one in trial.sample])
    return report._replace(tally=tally._replace(counts=counts), trial=trial, hashed=True)


def stored(report: Report) -> bytes:
    """Return a report as it is stored."""
    trial = report.trial
    return json.dumps(
        {
            "told": report.told_us,
            "since": report.since_us,
            "counts": report.tally.counts,
            "floor": report.tally.floor,
            "total": report.tally.total,
            "hashed": report.hashed,
            "trial": trial and [trial.version, trial.since_us, _counts_of(trial.outcomes), trial.sample],
        },
        separators=(",", ":"),
    ).encode()


def from_stored(text: bytes) -> Report | None:
    """Return a stored report; None for what is none."""
    try:
        said = json.loads(text)
        counts = [Count(str(key), int(most), int(excess)) for key, most, excess in said["counts"]]
        trial = None
        if said["trial"] is not None:
            version, since_us, outcomes, sample = said["trial"]
            trial = TrialReport(
                str(version),
                int(since_us),
                Outcomes(**{name: int(outcomes[name]) for name in OUTCOMES}),
                [Sampled(int(priority), str(key), int(at_us)) for priority, key, at_us in sample],
            )
        return Report(
            int(said["told"]),
            int(said["since"]),
            Tally(counts, int(said["floor"]), int(said["total"])),
            trial,
            bool(said["hashed"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def together(reports: Sequence[Report], candidate: str | None) -> Together:
    """Return what reports, of which there is one at least, say together; of trials, those of that candidate."""
    trials = [report.trial for report in reports if report.trial is not None and report.trial.version == candidate]
    tally = added(report.tally for report in reports)
    return Together(
        processes=len(reports),
        oldest_us=min(report.told_us for report in reports),
        since_us=min(report.since_us for report in reports),
        tally=cut(tally, TOP),
        trial=Trialled(_summed(trials), len(trials)) if trials else None,
        hashed=any(report.hashed for report in reports),
    )


def _summed(trials: Sequence[TrialReport]) -> TrialReport:
    return TrialReport(
        trials[0].version,
        min(trial.since_us for trial in trials),
        _added(trial.outcomes for trial in trials),
        sorted(as_one([trial.sample for trial in trials]), key=lambda one: (one.at_us, one.key)),
    )


def _added(each: Iterable[Outcomes]) -> Outcomes:
    total = Outcomes()
    for outcomes in each:
        for name in OUTCOMES:
            setattr(total, name, getattr(total, name) + getattr(outcomes, name))
    return total


def _counts_of(outcomes: Outcomes) -> dict[str, int]:
    return {name: getattr(outcomes, name) for name in OUTCOMES}
