"""The origins of the caches that have one. A kind's driver is loaded only if one is configured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sidecar.errors import SidecarError
from sidecar.origins.failures import NOTHING_CHANGED
from sidecar.origins.gate import Gate, OriginMetrics
from sidecar.origins.policies import (
    WARM_QUERY,
    CacheOriginPolicy,
    DatabasePolicy,
    OriginPolicy,
    ServicePolicy,
    WebPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sidecar.cache.origin import Origin
    from sidecar.cache.warm_list import KeySource
    from sidecar.telemetry.metrics import Metrics


class Findings(NamedTuple):
    """What was found when the origins were asked whether they understand what they will be asked."""

    problems: tuple[str, ...]
    """A line each, with the setting that it is about."""
    unreachable: Mapping[str, str]
    """The origins that could not be asked, by name, and why not."""


class _Checked(Protocol):
    """An origin that can say what is wrong with what it will be asked."""

    async def problems(self, seconds: float) -> dict[str, str]: ...


class Origins:
    """The origins of caches, made at once and connected when they are first used; `draw` gives numbers in [0, 1)."""

    def __init__(
        self,
        origins: Sequence[OriginPolicy],
        caches: Sequence[CacheOriginPolicy],
        *,
        max_value_bytes: int,
        metrics: Metrics,
        draw: Callable[[], float],
    ) -> None:
        self.of_caches: dict[str, Origin] = {}
        """By the cache's name."""
        self.key_queries: dict[str, KeySource] = {}
        """What says which keys to load, by the cache's name, of those that have such a thing."""
        self._max_value_bytes = max_value_bytes
        self._checked: list[tuple[CacheOriginPolicy, float, _Checked]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        counted = OriginMetrics(metrics) if caches else None
        for policy in origins:
            own = [cache for cache in caches if cache.origin == policy.gate.name]
            if counted is not None and own:
                self._add(policy, Gate(policy.gate, counted, draw), own)

    async def check(self) -> Findings:
        """Ask the databases whether they understand the statements of the caches."""
        asked = await asyncio.gather(*(self._ask(*checked) for checked in self._checked))
        problems = [line for lines in asked if not isinstance(lines, SidecarError) for line in lines]
        unreachable = {
            cache.origin: lines.message.removesuffix(NOTHING_CHANGED)
            for (cache, _, _), lines in zip(self._checked, asked, strict=True)
            if isinstance(lines, SidecarError)
        }
        return Findings(tuple(dict.fromkeys(problems)), unreachable)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(close() for close in self._closers))

    async def _ask(self, cache: CacheOriginPolicy, seconds: float, origin: _Checked) -> list[str] | SidecarError:
        """Return what is wrong with a cache's statements, a line each; the error if they could not be looked at."""
        try:
            found = await origin.problems(seconds)
        except SidecarError as error:
            return error
        return [f"{_path(cache, purpose)}: {problem}" for purpose, problem in found.items()]

    def _add(self, policy: OriginPolicy, gate: Gate, caches: Sequence[CacheOriginPolicy]) -> None:
        if isinstance(policy, ServicePolicy):
            self._add_service(policy, gate, caches)
        elif isinstance(policy, DatabasePolicy):
            self._add_database(policy, gate, caches)
        else:
            self._add_web(policy, gate, caches)

    def _add_service(self, policy: ServicePolicy, gate: Gate, caches: Sequence[CacheOriginPolicy]) -> None:
        from sidecar.origins.service import ServiceChannel, ServiceOrigin  # noqa: PLC0415 (20 MB of memory)

        channel = ServiceChannel(policy)
        self._closers.append(channel.close)
        for cache in caches:
            self.of_caches[cache.cache] = ServiceOrigin(
                cache=cache.cache, channel=channel, gate=gate, max_value_bytes=self._max_value_bytes
            )

    def _add_database(self, policy: DatabasePolicy, gate: Gate, caches: Sequence[CacheOriginPolicy]) -> None:
        from sidecar.origins.database import Database  # noqa: PLC0415 (as above, a little less)
        from sidecar.origins.postgres import PostgresOrigin  # noqa: PLC0415

        database = Database(policy)
        self._closers.append(database.close)
        for cache in caches:
            origin = PostgresOrigin(
                database=database,
                gate=gate,
                statements=cache.statements,
                applied_table=policy.applied_table,
                max_value_bytes=self._max_value_bytes,
            )
            self.of_caches[cache.cache] = origin
            self._checked.append((cache, policy.gate.timeout, origin))
            if cache.key_query is not None:
                from sidecar.origins.key_query import KeyQuery  # noqa: PLC0415

                query = self.key_queries[cache.cache] = KeyQuery(cache.key_query, database=database, gate=gate)
                self._checked.append((cache, policy.gate.timeout, query))

    def _add_web(self, policy: WebPolicy, gate: Gate, caches: Sequence[CacheOriginPolicy]) -> None:
        from sidecar.origins.web import WebClient, WebOrigin  # noqa: PLC0415 (as above)

        client = WebClient(policy)
        self._closers.append(client.close)
        for cache in caches:
            self.of_caches[cache.cache] = WebOrigin(
                client=client, gate=gate, paths=cache.paths, max_value_bytes=self._max_value_bytes
            )


def _path(cache: CacheOriginPolicy, purpose: str) -> str:
    """Return the setting that a problem is about."""
    if purpose in cache.statements:
        return f"caches.{cache.cache}.origin.{purpose}"
    if purpose == WARM_QUERY:
        return f"caches.{cache.cache}.{purpose}"
    return f"origins.{cache.origin}.{purpose}"
