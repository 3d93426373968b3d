"""What the configuration says of origins, and of what each cache asks of its own. It loads no driver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from sidecar.config.named_parameters import Statement
    from sidecar.origins.gate import GatePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """An application that implements OriginService."""

    gate: GatePolicy
    address: str
    """`host:port` or `unix:/path`."""
    root_certificates: bytes | None = None
    """PEM, of the authorities to trust; turns TLS on."""
    server_name: str | None = None
    max_answer_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePolicy:
    """A PostgreSQL."""

    gate: GatePolicy
    url: str = field(repr=False)
    password: str | None = field(repr=False, default=None)
    applied_table: str | None = None
    """Where the tokens of changes are kept; None for nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPolicy:
    """A web server."""

    gate: GatePolicy
    url: str
    """What paths are put behind."""
    unix_socket: str | None = None
    tls: ssl.SSLContext | None = None
    """None: as the system has it, for https."""
    bearer: str | None = field(repr=False, default=None)
    media_type: str | None = None
    max_age: bool = False
    """Whether an answer's max-age is the TTL of its value."""


WARM_QUERY = "warm.query"
"""Where the statement that says which keys to load stands, in the settings of a cache."""

OriginPolicy = ServicePolicy | DatabasePolicy | WebPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQueryPolicy:
    """A statement that says which keys of a cache are worth loading, for a PostgreSQL."""

    statement: Statement
    seconds: float
    """How long it may take."""
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOriginPolicy:
    """What one cache asks of its origin; by what it is for: `load`, `store`, `remove`."""

    cache: str
    origin: str
    statements: Mapping[str, Statement] = field(default_factory=dict)
    """For a PostgreSQL."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """For a web server."""
    key_query: KeyQueryPolicy | None = None
    """For a PostgreSQL; None for none."""
