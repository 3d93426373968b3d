"""Where a store is: `redis://`, `rediss://` and `unix://` URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    import ssl

_DEFAULT_PORT = 6379
_SCHEMES = "redis://, rediss:// or unix://"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """One server: a host and port, or the path of a Unix socket, and how to log in."""

    host: str = ""
    port: int = _DEFAULT_PORT
    path: str = ""
    username: str = ""
    password: str = ""
    database: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    """The name to check in the server's certificate when it is not `host`."""

    def __str__(self) -> str:
        """Return the address without its secrets, for people."""
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}"

    def __repr__(self) -> str:
        """Return the same as `str`: a password must not reach a log by way of a repr."""
        return f"StoreAddress({self})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUrl:
    """The parts of a store's URL; `tls` says only that it is asked for."""

    host: str = ""
    port: int = _DEFAULT_PORT
    path: str = ""
    username: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False


def parse_url(url: str) -> StoreUrl:
    """Read a store's URL; raises ValueError with a sentence that does not repeat the URL, which may hold a password.

    `redis://[user[:password]@]host[:port][/database]`, `rediss://` for TLS, `unix://[user[:password]@]/path[?db=N]`.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the port or host of the store's URL is not valid") from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(f"the store's URL must begin with {_SCHEMES}")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise ValueError("a unix:// URL needs an absolute path: unix:///run/redis.sock")
        database = _database(parse_qs(parts.query).get("db", ["0"])[0])
        return StoreUrl(path=unquote(parts.path), username=username, password=password, database=database)
    if not parts.hostname:
        raise ValueError("the store's URL names no host: redis://host:6379")
    return StoreUrl(
        host=parts.hostname,
        port=_DEFAULT_PORT if port is None else port,
        username=username,
        password=password,
        database=_database(parts.path.removeprefix("/") or "0"),
        tls=parts.scheme == "rediss",
    )


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("the database in the store's URL must be a number, as in redis://host/0")
    return int(text)
