"""What the rules' verdict looks like in HTTP: fields for those that pass, whole answers for those that do not.

A refusal is a 429 (RFC 6585, section 4), a limit that failed closed a 503. Their bodies are problem details (RFC 9457);
the type of a refusal is the one that the draft of the RateLimit fields registers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar_client.durations import to_timedelta
from sidecar_client.http_fields import (
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    RETRY_AFTER,
    LimitItem,
    PolicyItem,
    rate_limit,
    rate_limit_policy,
    retry_after,
)
from sidecar_client.rules import Ruling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar_client.rules import Answer, Verdict

Fields = list[tuple[bytes, bytes]]

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A whole answer."""

    status: int
    fields: Fields
    body: bytes


def fields_of(verdict: Verdict) -> Fields:
    """Return `RateLimit` and `RateLimit-Policy`; neither where no rule that was asked says what is left.

    A refusal shows only the limit that refuses: `Retry-After` stands beside it, and must not end before a window that
    another limit shows.
    """
    shown = [answer for answer in verdict.answers if answer.rule.advertise and answer.decision is not None]
    stopped_by = verdict.stopped_by
    current = shown if stopped_by is None else [answer for answer in shown if answer is stopped_by]
    fields = {
        RATE_LIMIT_POLICY: rate_limit_policy(_policy_items(shown)),
        RATE_LIMIT: rate_limit(_limit_items(current)),
    }
    return [_field(name, value) for name, value in fields.items() if value]


def stopped(verdict: Verdict, answer: Answer) -> HttpAnswer:
    """Return the answer to a request that `answer` does not let through."""
    if answer.ruling is Ruling.REFUSED:
        members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "title": "Quota Exceeded"}
        if answer.rule.advertise:
            members["violated-policies"] = [answer.rule.label]
        status, detail = 429, "Too many requests; Retry-After says when to come again."
    else:
        members = {"type": "about:blank", "title": "Service Unavailable"}
        status, detail = 503, "The rate limit of this resource cannot be asked at present."
    fields = fields_of(verdict)
    if answer.wait is None:
        detail = "This is not allowed at present."
    else:
        fields.append(_field(RETRY_AFTER, retry_after(answer.wait)))
    return _problem(status, {**members, "status": status, "detail": detail}, fields)


def body_too_large() -> HttpAnswer:
    """Return the answer to a request from whose body no key can be made."""
    members = {"type": "about:blank", "title": "Content Too Large", "status": 413}
    return _problem(413, members, [])


def _problem(status: int, members: dict[str, Any], fields: Fields) -> HttpAnswer:
    body = json.dumps(members, separators=(",", ":")).encode()
    return HttpAnswer(
        status=status,
        fields=[
            _field("Content-Type", "application/problem+json"),
            _field("Content-Length", str(len(body))),
            _field("Cache-Control", "no-store"),
            *fields,
        ],
        body=body,
    )


def _policy_items(answers: Sequence[Answer]) -> list[PolicyItem]:
    return [
        PolicyItem(
            name=answer.rule.label,
            quota=answer.decision.limit,
            window=None if answer.rule.window is None else to_timedelta(answer.rule.window),
        )
        for answer in answers
        if answer.decision is not None
    ]


def _limit_items(answers: Sequence[Answer]) -> list[LimitItem]:
    return [
        LimitItem(
            name=answer.rule.label,
            remaining=answer.decision.remaining,
            reset_after=answer.decision.reset_after if answer.decision.allowed else answer.wait,
        )
        for answer in answers
        if answer.decision is not None
    ]


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode(), value.encode()  # ASGI wants names in lower case
