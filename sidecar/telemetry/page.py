"""The sidecar's two pages for machines, over HTTP from a thread of its own: `/metrics`, and `/healthz` for probes.

`/healthz` answers 200 while calls can be served, and 503 while they cannot, for whoever cannot speak the gRPC health
protocol. It follows the same state.
"""

from __future__ import annotations

import socket
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.simple_server import WSGIServer
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry

_HEALTH_PATH = "/healthz"


class Page:
    """Serves the pages at `host:port`."""

    def __init__(self, address: str, registry: CollectorRegistry, *, is_serving: Callable[[], bool]) -> None:
        self._address = address
        self._metrics: Any = make_wsgi_app(registry)  # it has no types
        self._is_serving = is_serving
        self._running: tuple[WSGIServer, Thread] | None = None

    @property
    def address(self) -> str:
        """Where it is served; once started, with the port that was found for a port 0."""
        if self._running is None:
            return self._address
        return f"{self._address.rpartition(':')[0]}:{self._running[0].server_port}"

    def start(self) -> None:
        """Listen and serve; raises `StartupError` if the address cannot be bound."""
        host, _, port = self._address.rpartition(":")
        try:
            family, where = _first_place(host.strip("[]"), int(port))
            server = make_server(where, int(port), self._answer, _server_of(family), handler_class=_Silent)
        except OSError as error:
            raise StartupError(
                f"cannot serve metrics on {self._address}: {error.strerror}; set telemetry.metrics.address "
                "(SIDECAR_TELEMETRY__METRICS__ADDRESS) to another, or to null to turn them off"
            ) from None
        thread = Thread(target=server.serve_forever, name="page", daemon=True)
        thread.start()
        self._running = (server, thread)

    def close(self) -> None:
        """Stop, and free the port."""
        if self._running is not None:
            server, thread = self._running
            server.shutdown()
            server.server_close()
            thread.join()
            self._running = None

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != _HEALTH_PATH:
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        status, text = ("200 OK", b"SERVING\n") if self._is_serving() else ("503 Service Unavailable", b"NOT_SERVING\n")
        start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
        return [text]


def _first_place(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, str(where[0])


def _server_of(family: socket.AddressFamily) -> type[ThreadingWSGIServer]:
    """Return a server for a family of addresses; `http.server` takes it from the class."""
    return type("_PageServer", (ThreadingWSGIServer,), {"address_family": family})


class _Silent(WSGIRequestHandler):
    """Logs no request: a probe asks every few seconds."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log nothing."""
