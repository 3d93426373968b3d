"""Where a store is, and how to log in there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

_DEFAULT_PORT = 6379


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
