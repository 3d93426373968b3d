"""What is loaded into a cache before anybody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from sidecar.config.buckets import TokenRate  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.findings import Finding
from sidecar.config.named_parameters import take_apart
from sidecar.config.origins import Template  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.problems import did_you_mean, shown
from sidecar.config.quantities import Duration, Lasting, Rate
from sidecar.config.section import Count, Name, NonEmpty, Section, Switch
from sidecar.config.words import Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sidecar.config.model import Settings
    from sidecar.config.policies import CacheSettings
    from sidecar.config.problems import Path

# A policy travels to each worker; a longer list belongs in a file.
_MOST_KEYS = 1000

_SOURCES = ("keys", "file", "query", "from_cache")

QUERY_PARAMETERS = ("limit", "tenant")
"""What the parameters of a query for keys may be."""

_LIMIT = 10_000
_QUERY_TIMEOUT = Duration(30_000)


class WarmSettings(Section):
    """The keys to load, and when."""

    at_start: Switch = Field(
        False,
        description="Load them when a sidecar starts: one of all that start within a minute does. Else `sidecar cache "
        "warm CACHE --configured` does it.",
    )
    keys: tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...] = Field(
        (), max_length=_MOST_KEYS, description="Keys to load. At most 1000."
    )
    file: NonEmpty | None = Field(
        None, description="File with more of them, a key a line, at most 1000000; read when they are loaded."
    )
    query: Template | None = Field(
        None,
        description="Statement for the cache's origin, of kind postgres, that returns more of them as the column "
        "`key`, the most wanted first; it may have the parameters `:limit` and `:tenant`.",
    )
    query_timeout: Annotated[Duration, Lasting("100ms", "10m")] = Field(
        _QUERY_TIMEOUT, description="Longest time of the query, in place of the origin's `timeout`. 100ms to 10m."
    )
    from_cache: Name | None = Field(
        None,
        description="A cache with `l1`, this one or another: the keys that it was asked for most in the last hour, by "
        "all sidecars of the tenant, are loaded here. Not a phi cache.",
    )
    limit: Annotated[Count, Field(ge=1, le=1_000_000)] = Field(
        _LIMIT,
        description="Most keys that `query`, and `from_cache`, may bring; what is beyond is not loaded. 1 to 1000000.",
    )
    rate: TokenRate = Field(
        Rate(500, 1000), description="How many keys are asked for per s, m, h or d at most: `500/s`. 1/d to 1000000/s."
    )


def warm_rules(path: Path, cache: CacheSettings, settings: Settings) -> Iterator[Finding]:
    """Return what is wrong with what a cache is warmed with."""
    warm = cache.warm
    if warm is None:
        return
    at = (*path, "warm")
    if cache.strategy == "cache_aside":
        yield Finding(at, "needs an origin to load from: a strategy other than cache_aside", ((*path, "strategy"),))
    if not any(getattr(warm, source) for source in _SOURCES):
        yield Finding(at, "names nothing to load: give `keys`, `file`, `query` or `from_cache`")
    if warm.query is not None:
        yield from _query(path, cache, warm.query, settings)
    elif warm.query_timeout != _QUERY_TIMEOUT:
        yield Finding((*at, "query_timeout"), "has no use without `query`", ((*at, "query"),))
    if warm.from_cache is not None:
        yield from _from_cache((*at, "from_cache"), warm.from_cache, settings.caches)
    elif warm.query is None and warm.limit != _LIMIT:
        yield Finding((*at, "limit"), "has no use without `query` or `from_cache`", ((*at, "query"),))


def _query(path: Path, cache: CacheSettings, sql: str, settings: Settings) -> Iterator[Finding]:
    at = (*path, "warm", "query")
    name = "" if cache.origin is None else cache.origin.name
    origin = settings.origins.get(name)
    if origin is not None and origin.kind != "postgres":
        yield Finding(
            at,
            f"is for an origin of kind postgres, and `{name}` is of kind {origin.kind}, which is asked by keys alone: "
            "have it write the keys to a file, and give `file`",
            (("origins", name, "kind"),),
        )
        return
    problem = "holds a zero byte" if "\0" in sql else ""
    try:
        take_apart(sql, QUERY_PARAMETERS)
    except ValueError as error:
        problem = str(error)
    if problem:
        yield Finding(at, problem)


def _from_cache(path: Path, name: str, caches: Mapping[str, CacheSettings]) -> Iterator[Finding]:
    source = caches.get(name)
    if source is None:
        yield Finding(path, f"there is no cache {shown(name)}{did_you_mean(name, caches)}", (("caches",),))
    elif source.data_class == "phi":
        message = f"`{name}` is phi, and which of its keys are hot is told to nobody"
        yield Finding(path, message, (("caches", name, "data_class"),))
    elif source.l1 is None:
        message = f"`{name}` has no `l1`, which is what counts how often keys are asked for"
        yield Finding(path, message, (("caches", name, "l1"), ("caches", name)))
