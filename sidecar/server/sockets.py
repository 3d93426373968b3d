"""Listening sockets: bound, checked and cleared of what a dead server left behind."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Final

from sidecar.errors import StartupError

UNIX: Final = "unix:"
# The owner and the group, as a pod's containers share one; nobody else.
_SOCKET_MODE: Final = 0o660
# Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
_BACKLOG: Final = 4096
_PROBE_SECONDS: Final = 1.0


def listen_on(address: str, *, shared: bool = False) -> socket.socket:
    """Return a socket that listens on `host:port` or `unix:/path`; raises `StartupError` with what to do."""
    if address.startswith(UNIX):
        refuse_taken_socket(address)
        return _listen_on_path(address)
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise cannot_listen(address, error) from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(where)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise cannot_listen(address, error) from None
    made.setblocking(False)
    return made


def address_of(address: str, listening: socket.socket) -> str:
    """Return where a socket listens, in the form of its `address`: a port 0 has become the one that was found."""
    if address.startswith(UNIX):
        return address
    return f"{address.rpartition(':')[0]}:{listening.getsockname()[1]}"


def refuse_taken_socket(address: str) -> None:
    """Raise if a server answers on a Unix socket: to bind there would take its callers away in silence."""
    if not address.startswith(UNIX):
        return
    if not _is_answered(address):
        return
    raise StartupError(f"cannot listen on {address}: another server answers there; stop it or choose another path")


def _is_answered(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(address.removeprefix(UNIX))
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            return False  # left behind, or not there
        except TimeoutError:
            return True  # a server that is too busy to take a connection is one all the same
        except OSError as error:
            raise StartupError(
                f"cannot listen on {address}: {error.strerror} when asking whether another server is there"
            ) from None
        return True


def protect_socket(address: str) -> None:
    """Let the owner and the group use a Unix socket, and nobody else."""
    if address.startswith(UNIX):
        Path(address.removeprefix(UNIX)).chmod(_SOCKET_MODE)


def _listen_on_path(address: str) -> socket.socket:
    path = address.removeprefix(UNIX)
    made = socket.socket(socket.AF_UNIX)
    try:
        if Path(path).is_socket():
            os.unlink(path)  # noqa: PTH108 (nobody answers there: it was left behind)
        made.bind(path)
        protect_socket(address)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise StartupError(f"cannot listen on {address}: {error.strerror}") from None
    made.setblocking(False)
    return made


def remove_socket(path: str, inode: int) -> None:
    """Remove a Unix socket of ours; another server's that stands there by now is left alone."""
    try:
        if Path(path).stat().st_ino == inode:
            os.unlink(path)  # noqa: PTH108 (as above)
    except OSError:
        return


def cannot_listen(address: str, error: OSError) -> StartupError:
    """Return the error for a port that cannot be had."""
    problems = {
        errno.EADDRINUSE: "the port is in use; stop the other program",
        errno.EADDRNOTAVAIL: "the address is not this machine's; correct it",
        errno.EACCES: "the port is for the superuser; take one above 1023",
    }
    problem = problems.get(error.errno or 0, f"{error.strerror}; correct it")
    return StartupError(f"cannot listen on {address}: {problem} or choose another with --listen")
