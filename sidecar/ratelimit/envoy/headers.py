"""The response headers that tell callers how their limits stand. Pure.

Two kinds, by configuration. `fields` are those of envoyproxy/ratelimit, three headers with a number each, about the one
limit that is nearest; their names can be chosen (`X-RateLimit-Limit` and so on are what many clients read). `ietf` are
`RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10: structured fields (RFC 9651) with an item
for each limit, and `Retry-After` (RFC 9110, section 10.2.3) with a refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.envoy.answer import Answer, Status

Header = tuple[str, str]

# What a String of a structured field may hold as it is (RFC 9651, section 3.3.3), without the two that need an escape.
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
_MICROS = 1_000_000


class HeaderKind(Enum):
    """Which headers are sent."""

    NONE = "none"
    FIELDS = "fields"
    IETF = "ietf"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderPolicy:
    """Which headers are sent, and what those of the kind `fields` are called."""

    kind: HeaderKind = HeaderKind.NONE
    limit: str = "RateLimit-Limit"
    remaining: str = "RateLimit-Remaining"
    reset: str = "RateLimit-Reset"


def headers(policy: HeaderPolicy, answer: Answer) -> list[Header]:
    """Return the headers of an answer; none where no limit applies."""
    least = answer.least
    if policy.kind is HeaderKind.NONE or least is None or least.limit is None:
        return []
    if policy.kind is HeaderKind.IETF:
        return _ietf(answer)
    return [
        (policy.limit, str(least.limit.requests_per_unit)),
        (policy.remaining, str(least.remaining)),
        (policy.reset, str(seconds(least.reset_after_us))),
    ]


def seconds(duration_us: int) -> int:
    """Return whole seconds, rounded up: who comes back then does not come too early."""
    return -(-duration_us // _MICROS)


def _ietf(answer: Answer) -> list[Header]:
    named = [(_name(number, status), status) for number, status in enumerate(answer.statuses, 1)]
    made = [
        ("RateLimit-Policy", _joined([_policy_item(name, status) for name, status in named])),
        ("RateLimit", _joined([_limit_item(name, status) for name, status in named])),
    ]
    if answer.over:
        made.append(("Retry-After", str(max(1, seconds(answer.retry_after_us)))))
    return made


def _name(number: int, status: Status) -> str:
    """Return what both headers call a limit: its own name, else its place among the descriptors."""
    name = status.limit.name if status.limit is not None else ""
    return name if _PLAIN.fullmatch(name) else f"descriptor-{number}"


def _policy_item(name: str, status: Status) -> str:
    if status.limit is None:
        return ""
    window = status.limit.unit.length_us // _MICROS
    return f'"{name}";q={status.limit.requests_per_unit};w={window}'


def _limit_item(name: str, status: Status) -> str:
    if status.limit is None:
        return ""
    return f'"{name}";r={status.remaining};t={seconds(status.reset_after_us)}'


def _joined(items: Sequence[str]) -> str:
    return ", ".join(item for item in items if item)
