"""Which PostgreSQL is meant, and by which password: one reading of it for all that speak to one.

Everything about a connection stands in its URL, as libpq has it: host, user, database, `sslmode`, `sslrootcert`. A URL
that holds a password comes from the environment, or the password does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs, urlsplit

from sidecar.config.tls_files import read_file, trusting
from sidecar.config.variables import variable
from sidecar.config.words import AfterValidator
from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_POSTGRES_SCHEMES = frozenset({"postgresql", "postgres"})
_ENCRYPTING = frozenset({"require", "verify-ca", "verify-full"})
# Of a URL: the files that the driver reads for TLS.
_ROOTS = "sslrootcert"
_TLS_FILES = frozenset({"sslcert", "sslkey", "sslcrl"})


def check_postgres_url(url: str) -> str:
    """Return a database's URL if it names one; raises ValueError without repeating it: it may hold a password."""
    try:
        parts = urlsplit(url)
        named_host = parts.hostname or parse_qs(parts.query).get("host")
        port = parts.port
    except ValueError:
        raise ValueError("the host or port of the database's URL is not valid") from None
    if parts.scheme not in _POSTGRES_SCHEMES:
        raise ValueError("the database's URL must begin with postgresql://")
    if not named_host or port == 0:
        raise ValueError("the database's URL must name a host: postgresql://app@db.example/bank, or ?host=/run/folder")
    return url


PostgresUrl = Annotated[str, AfterValidator(check_postgres_url)]


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is, and what opens it."""

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    """None: as the URL says."""


def database_address(
    path: str, environ: Mapping[str, str], *, url: str | None, url_env: str | None, password_env: str | None = None
) -> DatabaseAddress:
    """Return what the settings at a path mean, of which `url` or `url_env` is given; raises `StartupError`."""
    where = f"{path}.url"
    if url is None:
        where = f"{path}.url_env: {url_env}"
        url = variable(f"{path}.url_env", url_env or "", environ)
        try:
            check_postgres_url(url)
        except ValueError as error:
            raise StartupError(f"{where}: {error}") from None
    for key, files in parse_qs(urlsplit(url).query).items():
        if key == _ROOTS:
            trusting(f"{where}: {key}", files[-1])
        elif key in _TLS_FILES:
            read_file(f"{where}: {key}", files[-1])
    password = None if password_env is None else variable(f"{path}.password_env", password_env, environ)
    return DatabaseAddress(url, password)


def encrypts(url: str) -> bool:
    """Say whether connections by a database's URL are encrypted, whatever the server says, or stay on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True  # it leads to no connection at all
    query = parse_qs(parts.query)
    hosts = [parts.hostname] if parts.hostname else query.get("host", [])
    if all(host.startswith(("/", "127.")) or host in {"localhost", "::1"} for host in hosts):
        return True
    return query.get("sslmode", ["prefer"])[-1] in _ENCRYPTING
