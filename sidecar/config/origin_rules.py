"""Rules about origins: what each kind needs of a cache, and which parameters its statements and paths may have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sidecar.config.findings import Finding
from sidecar.config.named_parameters import take_apart
from sidecar.config.origins import HttpOriginSettings, PostgresOriginSettings, ServiceOriginSettings
from sidecar.config.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.model import Settings
    from sidecar.config.origins import AnyOriginSettings, CacheOriginSettings
    from sidecar.config.policies import CacheSettings
    from sidecar.config.problems import Path

KNOWN_PARAMETERS = {"load": ("keys",), "store": ("key", "value", "token"), "remove": ("key", "token")}
"""What the parameters of a statement may be, by what it is for."""
# What it is for must be in it; of the token it may know nothing.
_NEEDED = {"load": ("keys",), "store": ("key", "value"), "remove": ("key",)}

KEY = "{key}"
# What RFC 3986 (3.3, 3.4) has in a path and a query as it is; the rest has to be percent-encoded.
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}|\{key\})*")


def origin_rules(settings: Settings) -> Iterator[Finding]:
    """Return what is wrong with the origins, and with what caches ask of them."""
    for name, origin in settings.origins.items():
        yield from _origin(("origins", name), origin)
    for name, cache in settings.caches.items():
        if cache.origin is not None:
            yield from _cache_origin(("caches", name), cache, cache.origin, settings)


def _origin(path: Path, origin: AnyOriginSettings) -> Iterator[Finding]:
    if isinstance(origin, PostgresOriginSettings):
        if (origin.url is None) == (origin.url_env is None):
            yield Finding(path, "needs either url or url_env", ((*path, "url"), (*path, "url_env")))
    elif isinstance(origin, ServiceOriginSettings):
        if origin.server_name is not None and origin.ca_file is None:
            yield Finding((*path, "server_name"), "has no use without ca_file", ((*path, "ca_file"),))
    elif origin.unix_socket is not None and origin.url.startswith("https:"):
        what = "is an https:// one, but nothing is encrypted on a Unix socket: write http://"
        yield Finding((*path, "url"), what, ((*path, "unix_socket"),))
    elif origin.ca_file is not None and not origin.url.startswith("https:"):
        yield Finding((*path, "ca_file"), "has no use unless `url` is an https:// one", ((*path, "url"),))


def _cache_origin(
    path: Path, cache: CacheSettings, asked: CacheOriginSettings, settings: Settings
) -> Iterator[Finding]:
    at = (*path, "origin")
    if cache.format == "raw":
        yield Finding(at, "a raw cache has none: it does not know who loads an entry", ((*path, "format"),))
    origin = settings.origins.get(asked.name)
    if origin is None:
        yield Finding(
            (*at, "name"),
            f"no origin of that name is configured{did_you_mean(asked.name, settings.origins)}",
            (("origins",),),
        )
        return
    kind = ("origins", asked.name, "kind")
    for key in ("load", "store", "remove"):
        written: str | None = getattr(asked, key)
        if isinstance(origin, ServiceOriginSettings):
            if written is not None:
                yield Finding((*at, key), "is not for an origin of kind service, which has its own", (kind,))
        elif written is not None:
            problem = _path_problem(written) if isinstance(origin, HttpOriginSettings) else _sql_problem(key, written)
            if problem:
                yield Finding((*at, key), problem, (kind,))
        elif key == "load":
            yield Finding((*at, key), f"is needed for an origin of kind {origin.kind}", (kind,))
    if asked.remove is not None and asked.store is None:
        yield Finding((*at, "remove"), "has no use without store", ((*at, "store"),))


def _sql_problem(key: str, sql: str) -> str:
    if "\0" in sql:
        return "holds a zero byte"
    try:
        names = take_apart(sql, KNOWN_PARAMETERS[key]).parameters
    except ValueError as error:
        return str(error)
    missing = [name for name in _NEEDED[key] if name not in names]
    return f"does not use the parameter :{missing[0]}" if missing else ""


def _path_problem(path: str) -> str:
    if KEY not in path.partition("?")[0]:
        return f"needs {KEY} in its path"
    if _PATH.fullmatch(path) is None:
        return f"is a path such as /balances/{KEY}: it begins with / and has what else is special percent-encoded"
    return ""
