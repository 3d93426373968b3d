"""From a match to what the store is asked, and from its reply to what became of the limit.

A fixed window counts every hit and leaves the verdict to its reader. The other algorithms are those of the sidecar's
own policies: they take a cost or refuse it whole, and a refused one costs nothing. Hits that are more than such a limit
could ever allow are refused after a look, since their scripts take no such cost.

The store's key is a digest of domain, algorithm, unit and entries. Entries hold what a proxy found in a request, such
as addresses, user names and paths: they may be long, and none of them belongs in the name of a key.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sidecar.ratelimit.policy import SlidingWindowPolicy, TokenBucketPolicy
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.envoy.matching import Match
    from sidecar.ratelimit.envoy.rules import Entry, Limit, Unit
    from sidecar.ratelimit.policy import Policy
    from sidecar.store.base import Reply
    from sidecar.store.keys import KeySpace

_FIXED_WINDOW = "count_window"
_SCRIPTS: dict[type[Policy], str] = {
    TokenBucketPolicy: "check_token_bucket",
    SlidingWindowPolicy: "check_sliding_window",
}
_TAKE, _LOOK = 1, 0


class Usage(NamedTuple):
    """How a limit stands after the hits."""

    over: bool
    remaining: int
    before: int
    """How much of the limit was used without these hits; it may be more than there is."""
    reset_after_us: int
    """Until all of the limit is there again, if nothing more is taken."""
    retry_after_us: int
    """Until the same hits could pass, 0 if they did; of more than could ever pass, until the reset."""


def script_call(keys: KeySpace, domain: str, match: Match, limit: Limit, hits: int) -> ScriptCall:
    """Return what to ask the store for a match of that limit; hits are at most `MOST_HITS`."""
    return _call(keys, domain, match, limit, hits, takes=True)


def look_call(keys: KeySpace, domain: str, match: Match, limit: Limit, hits: int) -> ScriptCall:
    """Return what to ask the store about hits that are not counted; the reply is for `would_be_over`."""
    return _call(keys, domain, match, limit, hits, takes=False)


def _call(keys: KeySpace, domain: str, match: Match, limit: Limit, hits: int, *, takes: bool) -> ScriptCall:
    policy = match.rule.policy
    if policy is None:
        algorithm = _FIXED_WINDOW
        writes = takes and hits > 0
        words: tuple[int, ...] = (limit.unit.length_us, hits if writes else 0)
    else:
        algorithm = _SCRIPTS[type(policy)]
        writes = takes and 0 < hits <= policy.limit
        words = (*policy.constants, min(hits, policy.limit), _TAKE if writes else _LOOK)
    key = keys.descriptor(_digest(_head(domain, algorithm, limit.unit), match.counted))
    # A second run would count the hits twice.
    return ScriptCall(load(algorithm), (key,), words, not writes, writes)


def usage(match: Match, limit: Limit, hits: int, reply: Reply) -> Usage:
    """Say what the store's reply means."""
    policy = match.rule.policy
    if policy is None:
        count, reset_after_us, _ = reply
        most = limit.requests_per_unit
        if count > most:
            return Usage(True, 0, max(0, count - hits), reset_after_us, reset_after_us)
        return Usage(False, most - count, count - hits, reset_after_us, 0)
    allowed, remaining, retry_after_us, reset_after_us, _ = reply
    used = policy.limit - remaining
    if hits > policy.limit:
        return Usage(True, remaining, used, reset_after_us, reset_after_us)
    if allowed == 0:
        return Usage(True, remaining, used, reset_after_us, retry_after_us)
    return Usage(False, remaining, used - hits, reset_after_us, 0)


def would_be_over(match: Match, limit: Limit, hits: int, reply: Reply) -> bool:
    """Say whether hits would be over, by the reply to a look."""
    policy = match.rule.policy
    if policy is None:
        return int(reply[0]) + hits > limit.requests_per_unit
    return hits > policy.limit or reply[0] == 0


# Of the configuration's domains, with three algorithms and seven units each: far fewer are in use.
@lru_cache(maxsize=1_000)
def _head(domain: str, algorithm: str, unit: Unit) -> str:
    """Return what counters of these have in common."""
    return f"{len(domain)}:{domain}{algorithm}:{unit:d}:"


def _digest(head: str, entries: Sequence[Entry]) -> bytes:
    """Return 32 hexadecimal digits that no other counter has: of a text that gives each part's length before it."""
    text = head + "".join([f"{len(key)}:{key}{len(value)}:{value}" for key, value in entries])
    return hashlib.sha256(text.encode()).hexdigest()[:32].encode()
