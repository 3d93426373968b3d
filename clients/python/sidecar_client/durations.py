"""Durations: what callers give, what travels, what comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

Span = timedelta | float
"""A length of time: a `timedelta`, or a number of seconds."""

ZERO = timedelta(0)


def to_timedelta(span: Span) -> timedelta:
    """Return `span` as a timedelta; raises ValueError for NaN and OverflowError for infinity."""
    return span if isinstance(span, timedelta) else timedelta(seconds=span)


def to_seconds(span: Span) -> float:
    """Return `span` in seconds."""
    return to_timedelta(span).total_seconds()


def to_duration(span: Span | None) -> duration_pb2.Duration | None:
    """Return `span` as it travels, to the microsecond; None stays unset. Whether it is too long, the sidecar judges."""
    if span is None:
        return None
    duration = duration_pb2.Duration()
    duration.FromTimedelta(to_timedelta(span))
    return duration


def from_duration(duration: duration_pb2.Duration) -> timedelta:
    """Return a duration that arrived."""
    # As ToTimedelta does for what is not negative, at a third of its cost: two stand in most answers.
    return timedelta(0, duration.seconds, duration.nanos // 1000)


def optional_timedelta(message: Message, field: str) -> timedelta | None:
    """Return the message's Duration field, None if it is unset."""
    return from_duration(getattr(message, field)) if message.HasField(field) else None
