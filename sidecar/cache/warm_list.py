"""Which keys a cache is warmed with: those that somebody lists, and those that are known to be wanted.

There are four places to know them from: the configuration, a file, a query of the cache's origin, and what another
cache is asked for (`hot_sets`). They are asked when the keys are needed, and not before; each brings a bounded number.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sidecar.errors import InvalidArgumentError, Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.cache.hot_sets import HotSets

# Some hundred megabytes of text: a longer list is no list of what is hot.
_MOST_KEYS = 1_000_000


class Listed(NamedTuple):
    """Keys to load, the most wanted first."""

    keys: list[str]
    cut: bool = False
    """Whether there were more than asked for."""
    processes: int = 0
    """Of how many processes the counts were that say what is hot."""

    def plus(self, more: Listed) -> Listed:
        """Return both, one after the other."""
        return Listed(self.keys + more.keys, self.cut or more.cut, max(self.processes, more.processes))


class KeySource(Protocol):
    """Knows which keys of a cache are worth loading."""

    async def first(self, limit: int) -> Listed:
        """Return the first so many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmPolicy:
    """What is to be loaded into a cache."""

    keys: tuple[str, ...] = ()
    file: str | None = None
    """More of them, a key a line."""
    query: bool = False
    """Whether its origin is asked for more."""
    from_cache: str | None = None
    """The cache whose hot keys are loaded too."""
    limit: int = 10_000
    """The most that the query, and the other cache, may bring."""
    per_second: float = 500.0
    at_start: bool = False


class Asked(NamedTuple):
    """What somebody wants to be loaded."""

    keys: Sequence[str] = ()
    configured: bool = False
    """All that the cache's policy names."""
    query: bool = False
    """What the query of the cache's policy returns."""
    from_cache: str = ""
    """What that cache is asked for most."""
    limit: int = 0
    """The most that either may bring; 0: as the policy says."""


class WarmList:
    """Finds the keys, in one process; `queries` are those of the caches that have one."""

    def __init__(
        self, policies: Mapping[str, WarmPolicy], *, queries: Mapping[str, KeySource], hot_sets: HotSets
    ) -> None:
        self.policies = policies
        self.hot_sets = hot_sets
        self._queries = queries

    def policy(self, cache: str) -> WarmPolicy:
        """Return the policy of a cache, that of a cache that says nothing among them."""
        return self.policies.get(cache) or WarmPolicy()

    def check(self, cache: str, asked: Asked) -> None:
        """Raise UNSUPPORTED_BY_CACHE for what the cache's policy does not name, OPERATION_EMPTY for nothing."""
        if asked.configured and cache not in self.policies:
            raise _unsupported(
                f"the configuration of cache {cache!r} names nothing to load (caches.<name>.warm)", "configured"
            )
        if asked.query and cache not in self._queries:
            raise _unsupported(f"cache {cache!r} has no query for keys (caches.<name>.warm.query)", "query")
        if not (asked.keys or asked.configured or asked.query or asked.from_cache):
            raise InvalidArgumentError(
                Reason.OPERATION_EMPTY,
                "nothing is to be loaded: name keys or a cache, or set configured or query",
                field="keys",
            )

    async def listed(self, cache: str, asked: Asked) -> Listed:
        """Return the keys to load into a cache, some of them perhaps more than once; raises as `check` does.

        Raises WARM_LIST_UNSUITABLE too, UNSUPPORTED_BY_CACHE for a cache that does not know what is hot, and what the
        origin and the store raise.
        """
        self.check(cache, asked)
        policy = self.policy(cache)
        found = Listed([])
        if asked.configured:
            found = found.plus(Listed(list(policy.keys)))
            if policy.file is not None:
                found = found.plus(Listed(await asyncio.to_thread(_read, Path(policy.file))))
        found = found.plus(Listed(list(asked.keys)))
        limit = asked.limit or policy.limit
        if asked.query or (asked.configured and policy.query):
            found = found.plus(await self._queries[cache].first(limit))
        configured_source = (policy.from_cache or "") if asked.configured else ""
        for source in dict.fromkeys((configured_source, asked.from_cache)):
            if source:
                found = found.plus(await self.hot_sets.hottest(source, limit))
        return found


def _read(path: Path) -> list[str]:
    keys: list[str] = []
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                if key := line.rstrip("\r\n"):
                    keys.append(key)
                if len(keys) > _MOST_KEYS:
                    raise _unsuitable(f"it has more than {_MOST_KEYS} keys")
    except OSError as error:
        raise _unsuitable(error.strerror or "it cannot be read") from None
    except UnicodeDecodeError:
        raise _unsuitable("it is no UTF-8") from None
    return keys


def _unsuitable(why: str) -> SidecarError:
    return SidecarError(Reason.WARM_LIST_UNSUITABLE, f"the file of keys to warm with (caches.<name>.warm.file): {why}")


def _unsupported(why: str, field: str) -> SidecarError:
    return SidecarError(Reason.UNSUPPORTED_BY_CACHE, why, field=field)
