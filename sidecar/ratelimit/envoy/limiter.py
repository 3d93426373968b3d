"""ShouldRateLimit, without its messages: match, ask the store for all that counts together, put the answer together.

Each descriptor counts by itself, as in envoyproxy/ratelimit: one that is over does not keep the others from counting,
unless `stop_counting_when_over` wants that. Then the store is asked twice, first how all limits stand. Others may count
between the two, so the second answer is what decides, and no limit lets more through than it says; but a request that
turns out to be over only then has counted towards its others. One that is within only then, since a window has ended in
between, is counted with a third question. A request that is over and let through, by a shadow or because other quotas
have room, counts everywhere; with envoyproxy/ratelimit it does not, and passes limits uncounted.

The store is asked once, and not at all when nothing counts or all that counts is known to be over. If it fails for one
limit, the call fails: Envoy has a setting for what to do then (`failure_mode_deny`), and an answer about half of the
limits is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.ratelimit.envoy.answer import answer, applied
from sidecar.ratelimit.envoy.counters import Usage, look_call, script_call, usage, would_be_over
from sidecar.ratelimit.envoy.headers import HeaderPolicy, headers
from sidecar.ratelimit.envoy.matching import REQUEST_LABEL, Match, find
from sidecar.ratelimit.envoy.metadata import metadata_within
from sidecar.ratelimit.envoy.refusals import Refusals
from sidecar.ratelimit.envoy.rules import Rule
from sidecar.ratelimit.envoy.tally import Tally
from sidecar.ratelimit.envoy.window import MOST_HITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.ratelimit.envoy.answer import Answer
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
    stop_counting_when_over: bool = False
    """A request that is refused does not count towards the limits that it is not over."""
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


class _Counter(NamedTuple):
    """A limit that the store is asked about."""

    place: int
    match: Match
    limit: Limit
    hits: int
    request: ScriptCall

    @property
    def state_key(self) -> bytes:
        return self.request.keys[0]


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
        given = _answer(policy, matches, limits, usages)
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
        usages, counters = self._recall(domain, descriptors, matches, limits)
        policy = self._policy

        def refuses(over: Mapping[int, bool]) -> bool:
            looked = [_looked(known, over.get(place)) for place, known in enumerate(usages)]
            return _answer(policy, matches, limits, looked).over

        spared: list[_Counter] = []
        # One that stands alone spares nothing.
        if policy.stop_counting_when_over and counters and sum(limit is not None for limit in limits) > 1:
            asked, counters = counters, await self._spare(domain, counters, refuses, call)
            spared = [each for each, now in zip(asked, counters, strict=True) if now is not each]
        await self._take(domain, counters, usages, call)
        if spared and not refuses({}):
            # The window of what it was over has ended since the look: it passes, and counts.
            await self._take(domain, spared, usages, call)
        return usages

    async def _take(self, domain: str, counters: Sequence[_Counter], usages: list[Usage | None], call: Call) -> None:
        """Count in the store, and write down how each limit stands then."""
        replies = await self._ask([counter.request for counter in counters], call)
        for counter, reply in zip(counters, replies, strict=True):
            place, match, limit, hits, _ = counter
            used = usages[place] = usage(match, limit, hits, reply)
            self._tally.add(domain, match, limit, used.before, hits)
            if self._refusals is not None and match.rule.policy is None:
                self._refusals.note(counter.state_key, limit, reply)

    def _recall(
        self,
        domain: str,
        descriptors: Sequence[Asked],
        matches: Sequence[Match | None],
        limits: Sequence[Limit | None],
    ) -> tuple[list[Usage | None], list[_Counter]]:
        """Return how the limits stand that are known to be over, and the counters of the others."""
        usages: list[Usage | None] = [None] * len(matches)
        counters: list[_Counter] = []
        for place, limit in enumerate(limits):
            match = matches[place]
            if match is None or limit is None:
                continue
            counter = self._counter(domain, place, match, limit, min(descriptors[place].hits, MOST_HITS))
            known = None if self._refusals is None else self._refusals.find(counter.state_key, limit)
            if known is None:
                counters.append(counter)
            else:
                usages[place] = known
                self._tally.add(domain, match, limit, known.before, counter.hits, remembered=True)
        return usages, counters

    async def _spare(
        self, domain: str, counters: list[_Counter], refuses: Callable[[Mapping[int, bool]], bool], call: Call
    ) -> list[_Counter]:
        """Return what to count where a refused request counts only towards what it is over: looks in place of the rest.

        `refuses` says whether the request is refused, given by place which limits would be over.
        """
        over = dict.fromkeys((each.place for each in counters), False)
        if not refuses(over):  # by what is remembered alone
            looks = [look_call(self._keys, domain, each.match, each.limit, each.hits) for each in counters]
            for each, reply in zip(counters, await self._ask(looks, call), strict=True):
                over[each.place] = would_be_over(each.match, each.limit, each.hits, reply)
            if not refuses(over):
                return counters
        return [
            each if over[each.place] else self._counter(domain, each.place, each.match, each.limit, 0)
            for each in counters
        ]

    def _counter(self, domain: str, place: int, match: Match, limit: Limit, hits: int) -> _Counter:
        return _Counter(place, match, limit, hits, script_call(self._keys, domain, match, limit, hits))

    async def _ask(self, requests: Sequence[ScriptCall], call: Call) -> list[Reply]:
        """Ask the store all at once; if one fails, all do."""
        if len(requests) == 1:
            return [await self._store.run(requests[0], call)]
        replies: list[Reply] = []
        for reply in await self._store.call_many(requests, call) if requests else ():
            if isinstance(reply, SidecarError):
                raise reply
            replies.append(reply)
        return replies

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


def _answer(
    policy: EnvoyPolicy,
    matches: Sequence[Match | None],
    limits: Sequence[Limit | None],
    usages: Sequence[Usage | None],
) -> Answer:
    return answer(matches, limits, usages, all_shadow=policy.shadow_mode, all_quota=policy.quota_mode)


def _looked(known: Usage | None, over: bool | None) -> Usage | None:  # noqa: FBT001 (what a look has found)
    """Return what is known of a limit, else how it would stand as far as that decides about a refusal."""
    return known if over is None else Usage(over, 0, 0, 0, 0)


def _match(top: Node, asked: Asked) -> Match | None:
    """Return what applies to a descriptor: the limit that it brings along, else a rule."""
    if asked.limit is not None:
        return Match(Rule(limit=asked.limit, label=REQUEST_LABEL), asked.entries, REQUEST_LABEL)
    return find(top, asked.entries)
