"""Addresses as text: where to listen, and where the store is. Only their form is checked here."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_MAX_PORT = 65535
# `sun_path` of a Unix socket address holds 108 bytes with the zero at the end (unix(7)).
_MAX_SOCKET_PATH_BYTES = 107
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
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


def check_store_url(url: str) -> str:
    """Return the store's URL; raises ValueError with a sentence that does not repeat it: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the host or port of the store's URL is not valid") from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("the store's URL must begin with redis://, rediss:// or unix://")
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise ValueError("a unix:// URL needs an absolute path: unix:///run/redis.sock")
        return url
    if not parts.hostname or port == 0:
        raise ValueError("the store's URL must name a host, and a port other than 0: redis://host:6379")
    database = parts.path.removeprefix("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("the database in the store's URL must be a number, as in redis://host/0")
    return url


def has_password(url: str) -> bool:
    """Say whether a store's URL holds a password."""
    return bool(urlsplit(url).password)


def has_username(url: str) -> bool:
    """Say whether a store's URL holds a user name."""
    return bool(urlsplit(url).username)


def wants_tls(url: str) -> bool:
    """Say whether a store's URL asks for TLS."""
    return urlsplit(url).scheme == "rediss"
