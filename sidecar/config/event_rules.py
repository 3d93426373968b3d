"""Rules about events: that there is one source, and that what its rules invalidate is there and can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.findings import Finding
from sidecar.config.problems import did_you_mean, shown
from sidecar.template import Template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sidecar.config.events import EventRuleSettings, EventSettings, PostgresEventSettings
    from sidecar.config.origins import AnyOriginSettings
    from sidecar.config.policies import CacheSettings
    from sidecar.config.problems import Path

_SOURCES = ("pubsub", "stream", "postgres")
_DATABASES = ("origin", "url", "url_env")
_REACHES = ("keys", "tags", "prefix", "all")
_OWN_PREFIX = "sc:"
# Those of an event whose payload is a text.
_TEXT_FIELDS = frozenset({("text",), ("@channel",)})


def event_rules(
    path: Path,
    event: EventSettings,
    caches: Mapping[str, CacheSettings],
    origins: Mapping[str, AnyOriginSettings],
) -> Iterator[Finding]:
    """Return what is wrong with an event."""
    given = [name for name in _SOURCES if getattr(event, name) is not None]
    if len(given) != 1:
        yield Finding(
            path, "needs exactly one of `pubsub`, `stream` and `postgres`", tuple((*path, one) for one in given)
        )
    if event.pubsub is not None and not event.pubsub.channels and not event.pubsub.patterns:
        yield Finding((*path, "pubsub"), "needs `channels`, `patterns` or both")
    if event.stream is not None:
        stream = (*path, "stream")
        if event.stream.name.startswith(_OWN_PREFIX):
            yield Finding((*stream, "name"), f"keys that begin with {_OWN_PREFIX} are the sidecar's own")
        if event.payload == "text" and event.stream.field is None:
            yield Finding((*stream, "field"), "is needed where the payload is a text", ((*path, "payload"),))
    if event.postgres is not None:
        yield from _postgres((*path, "postgres"), event.postgres, origins)
    for number, rule in enumerate(event.rules):
        at = (*path, "rules", number)
        yield from _reach(at, rule)
        yield from _templates(at, event, rule)
        yield from _cache(at, event, rule, caches)


def _postgres(path: Path, source: PostgresEventSettings, origins: Mapping[str, AnyOriginSettings]) -> Iterator[Finding]:
    given = [name for name in _DATABASES if getattr(source, name) is not None]
    if len(given) != 1:
        yield Finding(path, "needs exactly one of `origin`, `url` and `url_env`", tuple((*path, one) for one in given))
    if source.origin is not None:
        yield from _origin((*path, "origin"), source.origin, origins)
    for repeated in sorted({name for name in source.channels if source.channels.count(name) > 1}):
        yield Finding((*path, "channels"), f"{shown(repeated)} is listed twice")
    for name in source.channels:
        if len(name.encode()) > 63:  # noqa: PLR2004 (NAMEDATALEN of PostgreSQL, less one)
            yield Finding((*path, "channels"), f"{shown(name)} is longer than the 63 bytes that PostgreSQL keeps")


def _origin(path: Path, name: str, origins: Mapping[str, AnyOriginSettings]) -> Iterator[Finding]:
    databases = [one for one, origin in origins.items() if origin.kind == "postgres"]
    origin = origins.get(name)
    if origin is None:
        yield Finding(path, f"there is no origin {shown(name)}{did_you_mean(name, databases)}", (("origins",),))
    elif origin.kind != "postgres":
        message = f"`{name}` is of kind {origin.kind}, and only a postgres notifies{did_you_mean(name, databases)}"
        yield Finding(path, message, (("origins", name, "kind"),))


def _reach(path: Path, rule: EventRuleSettings) -> Iterator[Finding]:
    given = [name for name in _REACHES if getattr(rule, name)]
    if len(given) != 1:
        yield Finding(
            path, "needs exactly one of `keys`, `tags`, `prefix` and `all`", tuple((*path, one) for one in given)
        )
    if rule.prefix is not None and not Template(rule.prefix).ending.endswith(":"):
        yield Finding((*path, "prefix"), "must end with a colon, since only such prefixes can be invalidated")


def _templates(path: Path, event: EventSettings, rule: EventRuleSettings) -> Iterator[Finding]:
    if event.payload != "text":
        return
    for name, texts in (("keys", rule.keys), ("tags", rule.tags), ("prefix", (rule.prefix,) if rule.prefix else ())):
        for unknown in sorted({one for text in texts for one in Template(text).paths} - _TEXT_FIELDS):
            message = f"a text has the fields `text` and `@channel`, and no {shown('.'.join(unknown))}"
            yield Finding((*path, name), message, ((*path[:-2], "payload"),))


def _cache(
    path: Path, event: EventSettings, rule: EventRuleSettings, caches: Mapping[str, CacheSettings]
) -> Iterator[Finding]:
    at = (*path, "cache")
    cache = caches.get(rule.cache)
    if cache is None:
        yield Finding(at, f"there is no cache {shown(rule.cache)}{did_you_mean(rule.cache, caches)}", (("caches",),))
        return
    settings: Path = ("caches", rule.cache)
    if cache.format == "raw":
        message = f"`{rule.cache}` is raw: others write it too, and its entries are deleted by their keys alone"
        yield Finding(at, message, ((*settings, "format"),))
        return
    if rule.tags and not cache.tags:
        yield Finding((*path, "tags"), f"the cache `{rule.cache}` has no `tags`", ((*settings, "tags"), at))
    generations = (*settings, "generations")
    for name in ("prefix", "all"):
        if getattr(rule, name) and not cache.generations:
            yield Finding((*path, name), f"the cache `{rule.cache}` has no `generations`", (generations, at))
    if rule.prefix is not None and cache.data_class == "phi":
        message = f"the keys of the phi cache `{rule.cache}` are kept as hashes, which have no prefixes"
        yield Finding((*path, "prefix"), message, ((*settings, "data_class"), at))
    if event.on_gap == "invalidate_all" and not cache.generations:
        message = f"the cache `{rule.cache}` has no `generations`, and cannot be invalidated as a whole"
        yield Finding((*path[:-2], "on_gap"), message, (generations, at))
