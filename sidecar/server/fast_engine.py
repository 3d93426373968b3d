"""The fast engine: gRPC on uvloop, for loopback and Unix sockets. It costs a few tens of µs of CPU per call.

`server/h2` is the protocol without I/O, `server/fast` the sockets and calls around it. It speaks no TLS: across a
network `grpcio_engine.py` serves.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.server.fast.clients import Clients
from sidecar.server.fast.routes import Routes
from sidecar.server.sockets import UNIX, address_of, listen_on, remove_socket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.call import MethodTable
    from sidecar.server.engine import EnginePolicy, Listener


class FastEngine:
    """Serves a method table on `host:port` and `unix:/path` addresses."""

    def __init__(self, table: MethodTable, listeners: Sequence[Listener], policy: EnginePolicy) -> None:
        self._routes = Routes(table, policy)
        self._policy = policy
        self._listeners = listeners
        self._servers: list[asyncio.Server] = []
        self._paths: list[tuple[str, int]] = []
        self._clients: Clients | None = None
        self.addresses: tuple[str, ...] = ()

    async def start(self) -> None:
        """Bind all listeners and serve; see `Engine.start`."""
        loop = asyncio.get_running_loop()
        clients = self._clients = Clients(self._routes, self._policy, loop)
        sockets: list[socket.socket] = []
        try:
            sockets.extend(map(self._open, self._listeners))
        except BaseException:
            for opened in sockets:
                opened.close()
            self._remove_paths()
            raise
        for opened in sockets:
            if opened.family == socket.AF_UNIX:
                self._servers.append(await loop.create_unix_server(clients, sock=opened))  # type: ignore[arg-type]
            else:
                self._servers.append(await loop.create_server(clients, sock=opened))  # type: ignore[arg-type]
        self.addresses = tuple(
            address_of(listener.address, opened) for listener, opened in zip(self._listeners, sockets, strict=True)
        )

    async def stop(self, grace: float) -> None:
        """Drain and stop; see `Engine.stop`."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._remove_paths()
        if self._clients is not None:
            await self._clients.drain(grace)

    def _open(self, listener: Listener) -> socket.socket:
        """Return a listener's socket, and remember its path if it is ours to remove."""
        if listener.descriptor is not None:
            inherited = socket.socket(fileno=listener.descriptor)
            inherited.setblocking(False)
            return inherited
        opened = listen_on(listener.address, shared=listener.shared)
        if listener.address.startswith(UNIX):
            path = listener.address.removeprefix(UNIX)
            self._paths.append((path, Path(path).stat().st_ino))
        return opened

    def _remove_paths(self) -> None:
        for path, inode in self._paths:
            remove_socket(path, inode)
        self._paths.clear()
