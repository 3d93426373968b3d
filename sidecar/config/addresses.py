"""Addresses as text: where to listen, and where the store is. Only their form is checked here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

_MAX_PORT = 65535
# `sun_path` of a Unix socket address holds 108 bytes with the zero at the end (unix(7)).
_MAX_SOCKET_PATH_BYTES = 107
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_DEFAULT_PORT = 6379
_SCHEMES = "redis://, rediss:// or unix://"
_ADDRESS_FORMS = "an address is host:port, [IPv6]:port or unix:/path"


def check_address(address: str) -> str:
    """Return the address to listen on; raises ValueError with a sentence when it is none."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError("a Unix socket needs an absolute path: unix:/run/sidecar.sock")
        if len(path.encode()) > _MAX_SOCKET_PATH_BYTES:
            raise ValueError(f"the path of a Unix socket has at most {_MAX_SOCKET_PATH_BYTES} bytes")
        return address
    matched = _HOST_PORT.fullmatch(address)
    if matched is None:
        raise ValueError(f"{_ADDRESS_FORMS}, such as 127.0.0.1:50051")
    if int(matched[1]) > _MAX_PORT:
        raise ValueError(f"port {matched[1]} is above {_MAX_PORT}")
    return address


def is_local(address: str) -> bool:
    """Return whether only this machine's programs can call at an address: loopback or a Unix socket."""
    host = address.rpartition(":")[0]
    return address.startswith("unix:") or host.startswith("127.") or host in {"localhost", "[::1]"}


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
        raise ValueError("the host or port of the store's URL is not valid") from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(f"the store's URL must begin with {_SCHEMES}")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise ValueError("a unix:// URL needs an absolute path: unix:///run/redis.sock")
        database = _database(parse_qs(parts.query).get("db", ["0"])[0])
        return StoreUrl(path=unquote(parts.path), username=username, password=password, database=database)
    if not parts.hostname or port == 0:
        raise ValueError("the store's URL must name a host, and a port other than 0: redis://host:6379")
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


def check_store_url(url: str) -> str:
    """Return a store's URL if it can be read; raises ValueError as `parse_url` does."""
    parse_url(url)
    return url


def has_password(url: str) -> bool:
    """Say whether a store's URL holds a password."""
    return bool(parse_url(url).password)


def has_username(url: str) -> bool:
    """Say whether a store's URL holds a user name."""
    return bool(parse_url(url).username)


def wants_tls(url: str) -> bool:
    """Say whether a store's URL asks for TLS."""
    return urlsplit(url).scheme == "rediss"
