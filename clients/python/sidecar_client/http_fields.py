"""What an HTTP answer says about rate limits: `RateLimit`, `RateLimit-Policy` and `Retry-After`, as text.

The first two are lists of structured fields (RFC 9651) after draft-ietf-httpapi-ratelimit-headers-11; their items are
strings, the names of the limits, with parameters:

    RateLimit-Policy: "logins";q=10;w=60      what may be used, in how many seconds
    RateLimit: "logins";r=7;t=43              what is left, and for how many seconds no more than that

`Retry-After` is a number of seconds (RFC 9110, section 10.2.3). All three know whole seconds only. A fraction is always
rounded up: a client that is told to wait too long loses a second, one that is told too little is refused again.

Where both stand in an answer, `Retry-After` should not point to before the end of `t` (section 6 of the draft). Who
writes them sees to that: `t` of a refusal is its wait, not the time until all is back.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

RATE_LIMIT = "RateLimit"
RATE_LIMIT_POLICY = "RateLimit-Policy"
RETRY_AFTER = "Retry-After"

# The largest integer of a structured field has 15 digits (RFC 9651, section 3.3.1); a sidecar's limit may be larger.
MAX_INTEGER = 999_999_999_999_999

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyItem:
    """One limit of `RateLimit-Policy`: what does not change from answer to answer."""

    name: str
    quota: int
    window: timedelta | None = None
    """In which time the quota may be used; None is not said."""
    unit: str | None = None
    """`"content-bytes"` or `"concurrent-requests"`; None are requests."""
    partition: bytes | None = None
    """Tells a client which of its quotas this is; it must not hold anything secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitItem:
    """One limit of `RateLimit`: what is left now."""

    name: str
    remaining: int
    reset_after: timedelta | None = None
    """For how long there is no more than `remaining`; None is not said."""
    partition: bytes | None = None


def rate_limit_policy(items: Iterable[PolicyItem]) -> str:
    """Return the value of `RateLimit-Policy`, "" if there are no items: then the field must be left out."""
    return ", ".join(
        _string(item.name)
        + _parameter("q", item.quota)
        + ("" if item.unit is None else f";qu={_string(item.unit)}")
        + ("" if item.window is None else _parameter("w", max(1, whole_seconds(item.window))))
        + _partition(item.partition)
        for item in items
    )


def rate_limit(items: Iterable[LimitItem]) -> str:
    """Return the value of `RateLimit`, "" if there are no items: then the field must be left out."""
    return ", ".join(
        _string(item.name)
        + _parameter("r", item.remaining)
        + ("" if item.reset_after is None else _parameter("t", whole_seconds(item.reset_after)))
        + _partition(item.partition)
        for item in items
    )


def retry_after(wait: timedelta) -> str:
    """Return the value of `Retry-After`."""
    return str(whole_seconds(wait))


def whole_seconds(span: timedelta) -> int:
    """Return `span` in seconds, rounded up; nothing if it is negative."""
    return max(0, -(-span // _SECOND))


def is_name(text: str) -> bool:
    """Say whether a structured field's string can hold `text`: printable ASCII, and here at least a character."""
    return text != "" and text.isascii() and text.isprintable()


def _string(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text!r} is not printable ASCII, so no HTTP field can hold it")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parameter(name: str, number: int) -> str:
    return f";{name}={min(max(0, number), MAX_INTEGER)}"


def _partition(partition: bytes | None) -> str:
    return "" if partition is None else f";pk=:{base64.b64encode(partition).decode()}:"
