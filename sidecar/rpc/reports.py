"""The part of `sidecar.v1.RateLimitService` that says whom limits refuse, and whom they would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.rpc.convert import set_us

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.limiter import RateLimiter
    from sidecar.ratelimit.reporter import Reporter
    from sidecar.ratelimit.reports import Trialled


class ReportsServicer:
    """Serves reports."""

    def __init__(self, limiter: RateLimiter, reporter: Reporter) -> None:
        self._limiter = limiter
        self._reporter = reporter

    async def report_limits(self, request: pb.ReportLimitsRequest, call: Call) -> pb.ReportLimitsResponse:
        """Report on one policy."""
        policy = self._limiter.policies.description(request.policy)
        report, age_us = await self._reporter.report(policy.name, policy.rules.candidate, call)
        response = pb.ReportLimitsResponse(
            version=policy.version, processes=report.processes, refused=report.tally.total, hashed=report.hashed
        )
        set_us(response.age, age_us)
        response.since.FromMicroseconds(report.since_us)
        for count in report.tally.counts:
            response.keys.add(key=count.key, refused=count.most, excess=count.excess)
        if report.trial is not None:
            _fill_candidate(response.candidate, report.trial)
        return response


def _fill_candidate(message: pb.CandidateReport, trialled: Trialled) -> None:
    report = trialled.report
    outcomes = report.outcomes
    message.since.FromMicroseconds(report.since_us)
    message.processes = trialled.processes
    message.both_allowed = outcomes.both_allowed
    message.both_refused = outcomes.both_refused
    message.only_candidate_refused = outcomes.only_candidate_refused
    message.only_live_refused = outcomes.only_live_refused
    message.unanswered = outcomes.unanswered
    for sampled in report.sample:
        message.sample.add(key=sampled.key).time.FromMicroseconds(sampled.at_us)
