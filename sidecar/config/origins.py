"""The settings of origins: where the values of caches come from, and what each cache asks of its own.

An origin is a server, with what bounds its calls; caches share it. What a cache loads from it, and stores there, stands
with the cache, so that its policy is read in one place.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from sidecar.config.databases import PostgresUrl  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.quantities import Duration, Lasting
from sidecar.config.section import Address, Count, Name, NonEmpty, Section, Switch, VariableName
from sidecar.config.words import AfterValidator, Field

# As PostgreSQL writes a name that needs no quotes, in a schema or not; it becomes part of the sidecar's own statements.
_TABLE = r"^([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}$"
_BASE_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-~]*)?")


def is_table(name: str) -> bool:
    """Say whether a text is a table's name that needs no quotes, in a schema or not."""
    return re.fullmatch(_TABLE, name) is not None


def check_base_url(url: str) -> str:
    """Return the URL that paths are put behind; raises ValueError with a sentence."""
    if _BASE_URL.fullmatch(url) is None or "?" in url or "#" in url:
        raise ValueError("is http:// or https://, a host, and a port and a path if need be: http://billing:8080/v1")
    return url


class BreakerSettings(Section):
    """When an origin that fails is left alone. Each worker judges for itself."""

    failures: Count = Field(5, ge=1, le=1000, description="Failures in a row after which no more is asked. 1 to 1000.")
    window: Annotated[Duration, Lasting("100ms", "1h")] = Field(
        Duration(10_000), description="Time within which they must be. 100ms to 1h."
    )
    pause: Annotated[Duration, Lasting("10ms", "10m")] = Field(
        Duration(2_000),
        description="Time for which the origin is then left alone, up to a half longer at random; one call then "
        "tries whether it is back. 10ms to 10m.",
    )


class OriginSettings(Section):
    """What bounds the calls of an origin, whatever its kind."""

    timeout: Annotated[Duration, Lasting("10ms", "5m")] = Field(
        Duration(2_000), description="Longest time of one call of the origin, which a deadline may shorten. 10ms to 5m."
    )
    breaker: BreakerSettings = Field(
        default_factory=BreakerSettings, description="When the origin, if it fails, is left alone."
    )


class ServiceOriginSettings(OriginSettings):
    """An application that implements `sidecar.v1.OriginService`."""

    kind: Literal["service"] = Field(description="What the origin is.")
    max_concurrency: Count = Field(
        64, ge=1, le=10_000, description="Most calls of the origin under way at a time, in each worker. 1 to 10000."
    )
    address: Address = Field(description="Where the application serves: `host:port` or `unix:/absolute/path`.")
    ca_file: NonEmpty | None = Field(
        None, description="PEM file with the authorities to trust; turns TLS on. Null: in the clear."
    )
    server_name: NonEmpty | None = Field(
        None, description="The name to check in the application's certificate. Null: the address's host."
    )


class PostgresOriginSettings(OriginSettings):
    """A PostgreSQL database, asked by statements of the caches."""

    kind: Literal["postgres"] = Field(description="What the origin is.")
    max_concurrency: Count = Field(
        8, ge=1, le=200, description="Most connections, and so transactions at a time, of each worker. 1 to 200."
    )
    url: PostgresUrl | None = Field(
        None,
        repr=False,
        description="`postgresql://user@host[:port]/database`; `?sslmode=verify-full&sslrootcert=FILE` for TLS, "
        "`?host=/run/postgresql` for a Unix socket. Null: `url_env` says it.",
    )
    url_env: VariableName | None = Field(None, description="Name of the environment variable with the URL.")
    password_env: VariableName | None = Field(None, description="Name of the environment variable with the password.")
    applied_table: Annotated[str, Field(pattern=_TABLE)] | None = Field(
        "sidecar_applied",
        description="Table in which the tokens of changes are kept, so that a change that is sent again has no second "
        "effect; `sidecar sql setup` prints what makes it. Null: none, and a change that is sent again is made again.",
    )


class HttpOriginSettings(OriginSettings):
    """A server that has a resource for each key: GET loads, PUT stores, DELETE removes."""

    kind: Literal["http"] = Field(description="What the origin is.")
    max_concurrency: Count = Field(
        64, ge=1, le=10_000, description="Most calls of the origin under way at a time, in each worker. 1 to 10000."
    )
    url: Annotated[str, AfterValidator(check_base_url)] = Field(
        description="What the paths of caches are put behind: `http://billing:8080/v1`."
    )
    unix_socket: Annotated[str, Field(pattern=r"^/[^\x00]{1,106}$")] | None = Field(
        None, description="Unix socket to connect to, whatever host `url` names. Null: that host."
    )
    ca_file: NonEmpty | None = Field(
        None, description="PEM file with the authorities to trust, for https. Null: those of the system."
    )
    bearer_env: VariableName | None = Field(
        None, description="Name of the environment variable with a token, sent as `Authorization: Bearer`."
    )
    media_type: Annotated[str, Field(pattern=r"^[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}$")] | None = Field(
        None,
        description="What is asked for, such as `application/json`; an answer of another Content-Type is refused. "
        "Null: anything.",
    )
    max_age: Switch = Field(
        False, description="Whether an answer's `Cache-Control: max-age` is the TTL of what it brings."
    )


AnyOriginSettings = Annotated[
    ServiceOriginSettings | PostgresOriginSettings | HttpOriginSettings, Field(discriminator="kind")
]

# Text that an operator writes by hand; what generates more than this has no business in a policy.
Template = Annotated[str, Field(min_length=1, max_length=16_384)]


class CacheOriginSettings(Section):
    """What a cache asks of its origin. For kind `service` the name is all; the application knows the rest."""

    name: Name = Field(description="One of `origins`.")
    load: Template | None = Field(
        None,
        description="postgres: one statement that returns the columns `key` and `value`, and `ttl_ms` and `tags` if "
        "need be, for the parameter `:keys`; http: the path of a key's resource, with `{key}` in it.",
    )
    store: Template | None = Field(
        None,
        description="postgres: the statement that keeps a value, with the parameters `:key`, `:value` and `:token`; "
        "http: the path for PUT. Null: the origin is only read.",
    )
    remove: Template | None = Field(
        None,
        description="postgres: the statement that removes a value, with the parameters `:key` and `:token`; http: "
        "the path for DELETE. Null: a removal is refused.",
    )
