"""Ports that several processes share (`SO_REUSEPORT`), held for them by one that does not listen.

A shared port is shared with whoever else asks for it, another sidecar of the same user included, and calls would go to
either at random. So the port is first bound without sharing it, which fails while anybody has it; only then the option
is set, on the same socket, and the workers may bind beside it. That socket never listens. It is kept as long as the
sidecar lives, so that the port stays taken while no worker is up, and so that a port 0 is found once for all of them.
It gives up `SO_REUSEADDR` after the bind, or a stranger who uses that option could bind, and listen, beside one that
does not listen itself.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.server.sockets import cannot_listen

if TYPE_CHECKING:
    from collections.abc import Iterator

# A name such as localhost may have an IPv6 address where the machine has no IPv6.
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


@dataclass(frozen=True, slots=True)
class ReservedPort:
    """A port that is this sidecar's, for its workers to listen on."""

    address: str
    """With the port that was found for a port 0."""
    sockets: tuple[socket.socket, ...]
    """Bound, and listening to nothing; one for each address that the host's name has."""

    def close(self) -> None:
        """Let others have the port."""
        for held in self.sockets:
            held.close()


def reserve_port(address: str) -> ReservedPort:
    """Take a TCP port that nobody else has; raises `StartupError` if somebody does."""
    host, _, port_text = address.rpartition(":")
    held: list[socket.socket] = []
    missing: OSError | None = None
    port = int(port_text)
    try:
        for family, where in _places(host.strip("[]")):
            try:
                bound = _bind(family, where, port)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
            else:
                held.append(bound)
                port = int(bound.getsockname()[1])
    except OSError as error:
        for taken in held:
            taken.close()
        raise cannot_listen(address, error) from None
    if missing is not None and not held:
        raise cannot_listen(address, missing)
    for mine in held:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return ReservedPort(f"{host}:{port}", tuple(held))


def _places(host: str) -> Iterator[tuple[socket.AddressFamily, str]]:
    """Return the addresses of a name, each once."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    yield from dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found)


def _bind(family: socket.AddressFamily, where: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of an earlier sidecar that linger in TIME_WAIT do not stand in the way.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((where, port))
    except OSError:
        made.close()
        raise
    return made
