"""ShouldRateLimit, without its messages: match, ask the store for all that counts together, put the answer together.

Each descriptor counts by itself, as in envoyproxy/ratelimit: one that is over does not keep the others from counting.
The store is asked once, and not at all when nothing counts or all that counts is known to be over. If it fails for one
limit, the call fails: Envoy has a setting for what to do then (`failure_mode_deny`), and an answer about half of the
limits is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.ratelimit.envoy.answer import answer, applied
from sidecar.ratelimit.envoy.counters import script_call, usage
from sidecar.ratelimit.envoy.headers import HeaderPolicy, headers
from sidecar.ratelimit.envoy.matching import REQUEST_LABEL, Match, find
from sidecar.ratelimit.envoy.metadata import metadata_within
from sidecar.ratelimit.envoy.refusals import Refusals
from sidecar.ratelimit.envoy.rules import Rule
from sidecar.ratelimit.envoy.tally import Tally
from sidecar.ratelimit.envoy.window import MOST_HITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.ratelimit.envoy.answer import Answer
    from sidecar.ratelimit.envoy.counters import Usage
    from sidecar.ratelimit.envoy.headers import Header
    from sidecar.ratelimit.envoy.rules import Asked, Limit, Node, Value
    from sidecar.store.base import Reply, ScriptCall, Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyPolicy:
    """What holds for all domains."""

    shadow_mode: bool = False
    """Every call is let through, whatever its limits say."""
    quota_mode: bool = False
    """Every limit is in quota mode."""
    near_limit_ratio: float = 0.8
    max_descriptors: int = 1_000
    """The most that one request may have."""
    remembered_refusals: int = 0
    """How many counters that are over their limit are remembered; 0: none."""
    dynamic_metadata: bool = False
    """The metadata of the limits that a request is within is part of the response."""
    headers: HeaderPolicy = field(default_factory=HeaderPolicy)


class Response(NamedTuple):
    """What a request is told."""

    answer: Answer
    headers: list[Header]
    """To be added to the HTTP response."""
    metadata: Mapping[str, Value] | None
    """Of the limits that it is within; None where none is told."""


class EnvoyLimiter:
    """The domains of a configuration, over one store."""

    def __init__(
        self,
        *,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        metrics: Metrics,
        domains: Mapping[str, Node],
        policy: EnvoyPolicy,
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._domains = domains
        self._policy = policy
        self._refusals = self._memory(policy)
        self._tally = Tally(metrics, near_ratio=policy.near_limit_ratio)

    def replace(self, domains: Mapping[str, Node], policy: EnvoyPolicy) -> None:
        """Have these apply to the calls that begin from now on; what was counted stays counted."""
        self._domains = domains
        if policy.remembered_refusals != self._policy.remembered_refusals:
            self._refusals = self._memory(policy)
        self._policy = policy
        self._tally.near_ratio = policy.near_limit_ratio

    async def should_rate_limit(self, domain: str, descriptors: Sequence[Asked], call: Call) -> Response:
        """Count a request's hits; return what it is told.

        Raises SidecarError: KEY_EMPTY (no domain), BATCH_SIZE (no descriptors, or too many), and what the store raises.
        """
        policy = self._policy
        _check(domain, descriptors, policy.max_descriptors)
        top = self._domains.get(domain)
        if top is None:
            self._tally.unknown_domain.value += 1
        matches = [None if top is None else _match(top, asked) for asked in descriptors]
        limits = applied(matches)
        usages = await self._use(domain, descriptors, matches, limits, call)
        given = answer(matches, limits, usages, all_shadow=policy.shadow_mode, all_quota=policy.quota_mode)
        self._count(given)
        metadata = metadata_within(matches, limits, given.statuses) if policy.dynamic_metadata else None
        return Response(given, headers(policy.headers, given), metadata)

    def _memory(self, policy: EnvoyPolicy) -> Refusals | None:
        most = policy.remembered_refusals
        return Refusals(clock=self._clock, most=most) if most > 0 else None

    async def _use(
        self,
        domain: str,
        descriptors: Sequence[Asked],
        matches: Sequence[Match | None],
        limits: Sequence[Limit | None],
        call: Call,
    ) -> list[Usage | None]:
        """Count in the store what counts; return how each limit stands then."""
        refusals = self._refusals
        usages: list[Usage | None] = [None] * len(matches)
        counted: list[tuple[int, Match, Limit, int]] = []
        requests: list[ScriptCall] = []
        for place, limit in enumerate(limits):
            match = matches[place]
            if match is None or limit is None:
                continue
            hits = min(descriptors[place].hits, MOST_HITS)
            request = script_call(self._keys, domain, match, limit, hits)
            known = None if refusals is None else refusals.find(request.keys[0], limit)
            if known is None:
                counted.append((place, match, limit, hits))
                requests.append(request)
            else:
                usages[place] = known
                self._tally.add(domain, match, limit, known.before, hits, remembered=True)
        replies: list[Reply] = []
        if len(requests) == 1:
            replies = [await self._store.run(requests[0], call)]
        elif requests:
            replies = await self._store.call_many(requests, call)
        for (place, match, limit, hits), request, reply in zip(counted, requests, replies, strict=True):
            if isinstance(reply, SidecarError):
                raise reply
            used = usages[place] = usage(match, limit, hits, reply)
            self._tally.add(domain, match, limit, used.before, hits)
            if refusals is not None and match.rule.policy is None:
                refusals.note(request.keys[0], limit, reply)
        return usages

    def _count(self, given: Answer) -> None:
        if given.over:
            self._tally.over_limit.value += 1
        elif given.shadowed:
            self._tally.shadowed.value += 1
        else:
            self._tally.ok.value += 1


def _check(domain: str, descriptors: Sequence[Asked], most: int) -> None:
    if not domain:
        raise InvalidArgumentError(Reason.KEY_EMPTY, "the domain is empty", field="domain")
    if not 0 < len(descriptors) <= most:
        raise InvalidArgumentError(
            Reason.BATCH_SIZE,
            f"a request needs from 1 to {most} descriptors (limits.max_batch_keys), not {len(descriptors)}",
            field="descriptors",
            metadata={"max_keys": str(most)},
        )


def _match(top: Node, asked: Asked) -> Match | None:
    """Return what applies to a descriptor: the limit that it brings along, else a rule."""
    if asked.limit is not None:
        return Match(Rule(limit=asked.limit, label=REQUEST_LABEL), asked.entries, REQUEST_LABEL)
    return find(top, asked.entries)
