"""The `metadata` of the limits that a request is within, merged into one, as envoyproxy/ratelimit does it. Pure.

Of two values for a key that are both mappings the keys are merged in turn; of any other two the first stays, in the
order of the request's descriptors. A limit that is over adds nothing, so that an access log that has the result tells
which limits let a request through; nor does one that does not count, being unlimited or replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.ratelimit.envoy.answer import Status
    from sidecar.ratelimit.envoy.matching import Match
    from sidecar.ratelimit.envoy.rules import Limit, Value


def metadata_within(
    matches: Sequence[Match | None], limits: Sequence[Limit | None], statuses: Sequence[Status]
) -> dict[str, Value]:
    """Return the metadata of all limits that count and are not over."""
    merged: dict[str, Value] = {}
    for match, limit, status in zip(matches, limits, statuses, strict=True):
        if match is not None and limit is not None and not status.over and match.rule.metadata:
            merged = _merged(merged, match.rule.metadata)
    return merged


def _merged(first: Mapping[str, Value], second: Mapping[str, Value]) -> dict[str, Value]:
    """Return both; neither is changed."""
    result = dict(first)
    for key, value in second.items():
        there = result.get(key)
        if key not in result:
            result[key] = value
        elif isinstance(there, dict) and isinstance(value, dict):
            result[key] = _merged(there, value)
    return result
