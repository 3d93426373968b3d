"""Whom a rate limit refuses, and whom its candidate would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar_client.durations import from_duration

if TYPE_CHECKING:
    from datetime import timedelta

    from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedKey:
    """A key that was refused."""

    key: str
    """The key, or its pseudonym where the policy's keys are personal."""
    refused: int
    """How often it was refused, at the most."""
    excess: int
    """By how much that may be too high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRefusal:
    """A call that only the candidate would have refused."""

    key: str
    time: datetime
    """By the store's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateReport:
    """How a candidate and the live rule decided on the same calls."""

    since: datetime
    processes: int
    """How many have tried it."""
    both_allowed: int
    both_refused: int
    only_candidate_refused: int
    only_live_refused: int
    unanswered: int
    """Calls that the store decided on, but not on what the candidate says."""
    sample: tuple[CandidateRefusal, ...]
    """Some of those whom only the candidate would have refused, by their times; each had the same chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReport:
    """What the processes of all sidecars have seen of a policy."""

    version: str
    """The policy's, as of `Policy`."""
    processes: int
    """How many report."""
    age: timedelta
    """How long ago the oldest report was made."""
    since: datetime
    """From when on refusals are counted."""
    refused: int
    keys: tuple[RefusedKey, ...]
    """Those that were refused most, at most 20, in falling order."""
    hashed: bool
    """Whether keys are pseudonyms."""
    candidate: CandidateReport | None


def report_of(answer: pb.ReportLimitsResponse) -> LimitReport:
    """Return a report that arrived."""
    return LimitReport(
        version=answer.version,
        processes=answer.processes,
        age=from_duration(answer.age),
        since=answer.since.ToDatetime(UTC),
        refused=answer.refused,
        keys=tuple([RefusedKey(key=one.key, refused=one.refused, excess=one.excess) for one in answer.keys]),
        hashed=answer.hashed,
        candidate=_candidate_of(answer.candidate) if answer.HasField("candidate") else None,
    )


def _candidate_of(message: pb.CandidateReport) -> CandidateReport:
    return CandidateReport(
        since=message.since.ToDatetime(UTC),
        processes=message.processes,
        both_allowed=message.both_allowed,
        both_refused=message.both_refused,
        only_candidate_refused=message.only_candidate_refused,
        only_live_refused=message.only_live_refused,
        unanswered=message.unanswered,
        sample=tuple([CandidateRefusal(key=one.key, time=one.time.ToDatetime(UTC)) for one in message.sample]),
    )
