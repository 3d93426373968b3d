"""From the settings of origins to the policies that they are made of; see `translate.py`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sidecar.config.addresses import is_local
from sidecar.config.databases import database_address, encrypts
from sidecar.config.named_parameters import take_apart
from sidecar.config.origin_rules import KNOWN_PARAMETERS
from sidecar.config.origins import PostgresOriginSettings, ServiceOriginSettings
from sidecar.config.tls_files import roots, trusting
from sidecar.config.variables import variable
from sidecar.config.warming import QUERY_PARAMETERS
from sidecar.errors import StartupError
from sidecar.origins.breaker import BreakerPolicy
from sidecar.origins.catalog import Origins
from sidecar.origins.gate import GatePolicy
from sidecar.origins.policies import CacheOriginPolicy, DatabasePolicy, KeyQueryPolicy, ServicePolicy, WebPolicy
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.config.model import Settings
    from sidecar.config.origins import AnyOriginSettings, CacheOriginSettings, HttpOriginSettings
    from sidecar.origins.policies import OriginPolicy

_PURPOSES = ("load", "store", "remove")


def origins_of(settings: Settings, environ: Mapping[str, str], metrics: Metrics) -> Origins:
    """Return the origins of the caches, of which only those that a cache names are looked at.

    Raises `StartupError` for variables that are not set and files that cannot be read, a line for each.
    """
    asked = {name: cache.origin for name, cache in settings.caches.items() if cache.origin is not None}
    named = {origin.name for origin in asked.values()}
    policies: list[OriginPolicy] = []
    problems: list[str] = []
    for name, origin in settings.origins.items():
        if name in named:
            try:
                policies.append(_policy(name, origin, settings, environ))
            except StartupError as error:
                problems.append(str(error))
    if problems:
        raise StartupError("\n".join(problems))
    return Origins(
        policies,
        [_cache_policy(name, origin, settings) for name, origin in asked.items()],
        max_value_bytes=settings.limits.max_value_bytes,
        metrics=metrics,
        draw=random.random,
    )  # fmt: skip


async def check_origins(settings: Settings, environ: Mapping[str, str]) -> None:
    """Prepare the statements of caches in their databases; raises `StartupError`, a line for each problem."""
    origins = origins_of(settings, environ, Metrics())
    try:
        found = await origins.check()
    finally:
        await origins.close()
    unreachable = [f"origins.{name}: {why}" for name, why in found.unreachable.items()]
    if found.problems or unreachable:
        raise StartupError("\n".join([*found.problems, *unreachable]))


def origin_warnings(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return what is not safe for production about the origins, a sentence each."""
    return [
        f"the connection to the origin {name!r} is not encrypted; {advice}"
        for name, origin in settings.origins.items()
        if (advice := _advice(origin, environ))
    ]


def _advice(origin: AnyOriginSettings, environ: Mapping[str, str]) -> str:
    """Return how to encrypt an origin's connections, empty if they are, or stay on this machine."""
    if isinstance(origin, ServiceOriginSettings):
        return "" if origin.ca_file is not None or is_local(origin.address) else "set ca_file"
    if isinstance(origin, PostgresOriginSettings):
        url = origin.url or environ.get(origin.url_env or "")
        return "" if url is None or encrypts(url) else "add ?sslmode=verify-full to its URL"
    host = origin.url.partition("://")[2].partition("/")[0]
    is_safe = origin.url.startswith("https:") or origin.unix_socket or is_local(f"{host}:" if ":" not in host else host)
    return "" if is_safe else "use https://"


def _policy(name: str, settings: AnyOriginSettings, everything: Settings, environ: Mapping[str, str]) -> OriginPolicy:
    path = f"origins.{name}"
    gate = GatePolicy(
        name=name,
        timeout=settings.timeout.seconds,
        max_concurrency=settings.max_concurrency,
        breaker=BreakerPolicy(
            failures=settings.breaker.failures,
            window=settings.breaker.window.seconds,
            pause=settings.breaker.pause.seconds,
        ),
    )
    if isinstance(settings, ServiceOriginSettings):
        return ServicePolicy(
            gate=gate,
            address=settings.address,
            root_certificates=None if settings.ca_file is None else roots(f"{path}.ca_file", settings.ca_file),
            server_name=settings.server_name,
            max_answer_bytes=max(everything.limits.max_message_bytes, everything.limits.max_value_bytes),
        )
    if isinstance(settings, PostgresOriginSettings):
        return _database_policy(path, gate, settings, environ)
    return _web_policy(path, gate, settings, environ)


def _database_policy(
    path: str, gate: GatePolicy, settings: PostgresOriginSettings, environ: Mapping[str, str]
) -> DatabasePolicy:
    address = database_address(
        path, environ, url=settings.url, url_env=settings.url_env, password_env=settings.password_env
    )
    return DatabasePolicy(
        gate=gate,
        url=address.url,
        password=address.password,
        applied_table=settings.applied_table,
    )


def _web_policy(path: str, gate: GatePolicy, settings: HttpOriginSettings, environ: Mapping[str, str]) -> WebPolicy:
    bearer = settings.bearer_env
    return WebPolicy(
        gate=gate,
        url=settings.url,
        unix_socket=settings.unix_socket,
        tls=None if settings.ca_file is None else trusting(f"{path}.ca_file", settings.ca_file),
        bearer=None if bearer is None else variable(f"{path}.bearer_env", bearer, environ),
        media_type=settings.media_type,
        max_age=settings.max_age,
    )


def _cache_policy(cache: str, asked: CacheOriginSettings, settings: Settings) -> CacheOriginPolicy:
    written: dict[str, str] = {key: text for key in _PURPOSES if (text := getattr(asked, key)) is not None}
    if not isinstance(settings.origins[asked.name], PostgresOriginSettings):
        return CacheOriginPolicy(cache=cache, origin=asked.name, paths=written)
    statements = {key: take_apart(sql, KNOWN_PARAMETERS[key]) for key, sql in written.items()}
    warm = settings.caches[cache].warm
    query = None
    if warm is not None and warm.query is not None:
        query = KeyQueryPolicy(
            statement=take_apart(warm.query, QUERY_PARAMETERS),
            seconds=warm.query_timeout.seconds,
            tenant=settings.tenant,
        )
    return CacheOriginPolicy(cache=cache, origin=asked.name, statements=statements, key_query=query)
