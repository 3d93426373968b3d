"""The settings of events: what happens elsewhere, and what goes out of date then."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sidecar.config.databases import PostgresUrl  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.quantities import Duration, Lasting
from sidecar.config.section import Name, NonEmpty, Section, Switch, VariableName
from sidecar.config.words import AfterValidator, Field, StringConstraints
from sidecar.template import Template, parse_path

# Redis takes any bytes for a name; PostgreSQL cuts a longer one off without a word.
ChannelName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
Identifier = Annotated[str, Field(pattern=r"^[^\x00]{1,63}$")]
_MOST_RULES = 100
_MOST_TEXTS = 16


def _check_path(path: str) -> str:
    parse_path(path)
    return path


def _check_template(text: str) -> str:
    Template(text)
    return text


def _check_scalar(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError("must be a text, a number, true, false or null")


FieldPath = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_check_path)]
TemplateText = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_check_template)]
Scalar = Annotated[
    Any, AfterValidator(_check_scalar), Field(json_schema_extra={"type": ["string", "number", "boolean", "null"]})
]


class PubSubSettings(Section):
    """Channels of the sidecar's own store. Each sidecar listens."""

    channels: tuple[ChannelName, ...] = Field((), max_length=64, description="Channels to subscribe to.")
    patterns: tuple[ChannelName, ...] = Field(
        (), max_length=64, description="Patterns of channels, as PSUBSCRIBE has them: `invalidate:*`."
    )


class StreamSettings(Section):
    """A stream of the sidecar's own store, of whose entries each is handled by one sidecar."""

    name: NonEmpty = Field(description="The stream's key; it may not begin with `sc:`.")
    group: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")] = Field(
        "sidecar", description="The consumers' group that all sidecars of a tenant share; made if there is none."
    )
    field: NonEmpty | None = Field(
        None, description="The field of an entry that holds the payload. Null: the entry's fields are the event's."
    )
    claim_after: Annotated[Duration, Lasting("1s", "1h")] = Field(
        Duration(5_000),
        description="Time after which an entry that a sidecar was given and has not handled is another's. 1s to 1h.",
    )


class WatchedTableSettings(Section):
    """A table whose changes `sidecar sql triggers` makes events of."""

    schema_name: Identifier = Field("public", description="The table's schema.")
    table: Identifier | None = Field(None, description="The table, as it is written. Null: it is named as its entry.")
    key_columns: tuple[Identifier, ...] = Field(
        min_length=1, max_length=16, description="The columns that an event tells, of old and new rows."
    )


class PostgresEventSettings(Section):
    """Channels of a PostgreSQL database, by LISTEN. Each sidecar listens. Exactly one setting says which database."""

    origin: Name | None = Field(
        None,
        description="One of `origins`, of kind postgres: its database, by the same URL and password. Null: `url` or "
        "`url_env` says which.",
    )
    url: PostgresUrl | None = Field(
        None,
        repr=False,
        description="`postgresql://user@host[:port]/database`, as an origin's. Null: `url_env` or `origin` says which.",
    )
    url_env: VariableName | None = Field(None, description="Name of the environment variable with the URL.")
    channels: tuple[Identifier, ...] = Field(
        min_length=1, max_length=64, description="Channels to listen to. The triggers notify the first."
    )
    tables: dict[Identifier, WatchedTableSettings] = Field(
        {},
        max_length=256,
        json_schema_extra={"additionalProperties": False},
        description="Tables that `sidecar sql triggers` makes triggers for, by name.",
    )


class EventRuleSettings(Section):
    """What an event invalidates: exactly one of `keys`, `tags`, `prefix` and `all`."""

    when: dict[FieldPath, Scalar] = Field(
        {},
        max_length=16,
        json_schema_extra={"additionalProperties": False},
        description="Fields of the event, and what each must be; of a list, one item is enough. None: any event.",
    )
    cache: Name = Field(description="The cache whose entries are invalidated; not a raw one.")
    keys: tuple[TemplateText, ...] = Field(
        (), max_length=_MOST_TEXTS, description="Keys, with fields of the event in braces: `account-{new.account_id}`."
    )
    tags: tuple[TemplateText, ...] = Field(
        (), max_length=_MOST_TEXTS, description="Tags, written in the same way. Needs `tags` of the cache."
    )
    prefix: TemplateText | None = Field(
        None, description="A prefix of keys, which ends with a colon: `{tenant_id}:`. Needs `generations` of the cache."
    )
    all: Switch = Field(False, description="The whole cache. Needs its `generations`.")


class EventSettings(Section):
    """A source of events, exactly one of `pubsub`, `stream` and `postgres`, and what they invalidate."""

    pubsub: PubSubSettings | None = Field(None, title="Pubsub", description="Channels of the sidecar's own store.")
    stream: StreamSettings | None = Field(None, title="Stream", description="A stream of the sidecar's own store.")
    postgres: PostgresEventSettings | None = Field(
        None, title="Postgres", description="Channels of a PostgreSQL database."
    )
    payload: Literal["json", "text"] = Field(
        "json", description="What an event carries: a JSON object, or a text, which is then its field `text`."
    )
    on_gap: Literal["invalidate_all", "ignore"] | None = Field(
        None,
        description="What to do when events may have been missed: each time that a channel is listened to anew, at the "
        "start too. `invalidate_all`: all caches of the rules as a whole. Null: those that have `generations`, and a "
        "warning about others.",
    )
    rules: tuple[EventRuleSettings, ...] = Field(
        min_length=1, max_length=_MOST_RULES, description="What events invalidate; all rules that apply are followed."
    )
