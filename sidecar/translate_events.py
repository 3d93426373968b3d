"""From the settings of events to what handles them, and to the SQL that sends them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sidecar.cache.tags import MOST_TAG_BYTES
from sidecar.config.databases import database_address, encrypts
from sidecar.config.origins import PostgresOriginSettings
from sidecar.errors import StartupError
from sidecar.events.handling import EventPolicy
from sidecar.events.rules import Reach, Rule
from sidecar.events.triggers import WatchedTable, trigger_sql
from sidecar.template import Template, parse_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.config.databases import DatabaseAddress
    from sidecar.config.events import EventRuleSettings, EventSettings, PostgresEventSettings
    from sidecar.config.model import Settings


def event_database(
    name: str, postgres: PostgresEventSettings, settings: Settings, environ: Mapping[str, str]
) -> DatabaseAddress:
    """Return where an event's database is; raises `StartupError`."""
    origin = settings.origins.get(postgres.origin or "")
    if isinstance(origin, PostgresOriginSettings):
        path = f"origins.{postgres.origin}"
        return database_address(path, environ, url=origin.url, url_env=origin.url_env, password_env=origin.password_env)
    return database_address(f"events.{name}.postgres", environ, url=postgres.url, url_env=postgres.url_env)


def event_warnings(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return what is not safe for production about the databases of events, a sentence each.

    Of one that is an origin the origins' own warnings speak.
    """
    databases = {
        name: event.postgres.url or environ.get(event.postgres.url_env or "")
        for name, event in settings.events.items()
        if event.postgres is not None
    }
    return [
        f"the connection to the database of the event {name!r} is not encrypted; add ?sslmode=verify-full to its URL"
        for name, url in databases.items()
        if url and not encrypts(url)
    ]


def event_policy(name: str, event: EventSettings, settings: Settings) -> EventPolicy:
    """Return what an event invalidates."""
    concerned = list(dict.fromkeys(rule.cache for rule in event.rules))
    whole = [cache for cache in concerned if settings.caches[cache].generations]
    is_ignored = event.on_gap == "ignore"
    return EventPolicy(
        name=name,
        rules=tuple([_rule(rule, settings, takes_many=event.postgres is not None) for rule in event.rules]),
        gap_caches=() if is_ignored else tuple(whole),
        ignored_caches=() if is_ignored else tuple([cache for cache in concerned if cache not in whole]),
        whole_caches=tuple(whole),
    )


def _rule(rule: EventRuleSettings, settings: Settings, *, takes_many: bool) -> Rule:
    texts: Sequence[str]
    if rule.all:
        reach, texts, max_bytes = Reach.ALL, (), 0
    elif rule.prefix is not None:
        reach, texts, max_bytes = Reach.PREFIX, (rule.prefix,), settings.limits.max_key_bytes
    elif rule.tags:
        reach, texts, max_bytes = Reach.TAGS, rule.tags, MOST_TAG_BYTES
    else:
        reach, texts, max_bytes = Reach.KEYS, rule.keys, settings.limits.max_key_bytes
    return Rule(
        # A fraction is compared as it is written, and so are those of events.
        when=tuple(
            [(parse_path(path), Decimal(repr(v)) if isinstance(v, float) else v) for path, v in rule.when.items()]
        ),
        cache=rule.cache,
        reach=reach,
        templates=tuple([Template(text) for text in texts]),
        max_bytes=max_bytes,
        takes_many=takes_many,
    )


def triggers(settings: Settings, wanted: str | None) -> str:
    """Return the SQL of the triggers of an event, or of all that have some; raises `StartupError` for none."""
    if wanted is not None and wanted not in settings.events:
        raise StartupError(f"there is no event {wanted!r} in the configuration")
    watched = {
        name: event.postgres
        for name, event in settings.events.items()
        if event.postgres is not None and event.postgres.tables and wanted in {None, name}
    }
    if not watched:
        which = "no event has" if wanted is None else f"the event {wanted!r} does not have"
        raise StartupError(f"{which} `postgres.tables`, from which triggers could be made")
    return "\n".join(
        [
            trigger_sql(
                name,
                postgres.channels[0],
                [
                    WatchedTable(schema=table.schema_name, table=table.table or label, key_columns=table.key_columns)
                    for label, table in postgres.tables.items()
                ],
            )
            for name, postgres in watched.items()
        ]
    )
