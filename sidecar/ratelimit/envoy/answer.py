"""From how each limit stands to one answer, as envoyproxy/ratelimit gives it. Pure.

A limit in shadow mode is never over. The request is over if one of its limits is, not counting those in quota mode, or
if all that are in quota mode are. Limits that another one replaces, and descriptors that nothing applies to, are always
within; so, but with all of 2^32 - 1 left, are unlimited ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.envoy.counters import Usage
    from sidecar.ratelimit.envoy.matching import Match
    from sidecar.ratelimit.envoy.rules import Limit

# What is said to be left of a limit that is none.
UNLIMITED_REMAINING = 2**32 - 1


class Status(NamedTuple):
    """The answer about one descriptor."""

    over: bool
    limit: Limit | None
    """None where there is nothing that counts: no rule, an unlimited one, a replaced one."""
    remaining: int = 0
    reset_after_us: int = 0


_WITHOUT_LIMIT = Status(over=False, limit=None)
_UNLIMITED = Status(over=False, limit=None, remaining=UNLIMITED_REMAINING)


class Answer(NamedTuple):
    """The answer to a request."""

    over: bool
    statuses: list[Status]
    least: Status | None
    """The limit that the callers should hear of: the last that is over, else the one with the least left."""
    retry_after_us: int
    """Until the same request could pass; 0 if it does."""
    shadowed: bool
    """Whether the request would have been over if not all of the sidecar's limits were shadows."""


def applied(matches: Sequence[Match | None]) -> list[Limit | None]:
    """Return the limit to count each match against: none if it is unlimited, or replaced by that of another match."""
    replaced: set[str] = set()
    for match in matches:
        if match is not None:
            replaced |= match.rule.replaces
    limits = [None if match is None else match.rule.limit for match in matches]
    return [None if limit is None or limit.name in replaced else limit for limit in limits]


def answer(
    matches: Sequence[Match | None],
    limits: Sequence[Limit | None],
    usages: Sequence[Usage | None],
    *,
    all_shadow: bool,
    all_quota: bool,
) -> Answer:
    """Put the answer together; `limits` are those of `applied`, each with its usage."""
    statuses: list[Status] = []
    least: Status | None = None
    refusal: Status | None = None
    retry_after_us = 0
    quotas = quotas_over = 0
    for match, limit, usage in zip(matches, limits, usages, strict=True):
        if match is None or limit is None or usage is None:
            is_unlimited = match is not None and match.rule.limit is None
            statuses.append(_UNLIMITED if is_unlimited else _WITHOUT_LIMIT)
            quotas += all_quota and not is_unlimited
            continue
        rule = match.rule
        over, remaining, _, reset_after_us, retry = usage
        status = Status(over and not rule.shadow_mode, limit, remaining, reset_after_us)
        statuses.append(status)
        if status.over:
            retry_after_us = max(retry_after_us, retry)
        if all_quota or rule.quota_mode:
            quotas += 1
            quotas_over += status.over
        elif status.over:
            refusal = status
        if least is None or remaining < least.remaining:
            least = status
    over = refusal is not None or 0 < quotas == quotas_over
    return Answer(
        over=over and not all_shadow,
        statuses=statuses,
        least=refusal or least,
        retry_after_us=retry_after_us if over else 0,
        shadowed=over and all_shadow,
    )
