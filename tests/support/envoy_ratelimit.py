"""A real envoyproxy/ratelimit, run beside the sidecar by tests that compare the two."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Self

import grpc
import pytest

from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

BINARY_VARIABLE = "ENVOY_RATELIMIT_BINARY"
_PATIENCE_SECONDS = 30.0


class EnvoyRatelimit:
    """One process over a store, with configuration files, texts by name, that it finds in the folder `files`."""

    def __init__(self, folder: Path, store_port: int, texts: Mapping[str, str], settings: Mapping[str, str]) -> None:
        binary = os.environ.get(BINARY_VARIABLE)
        if binary is None:
            pytest.skip(f"{BINARY_VARIABLE} names no program of envoyproxy/ratelimit")
        self.files = folder / "ratelimit" / "files"
        self.files.mkdir(parents=True)
        for name, text in texts.items():
            (self.files / name).write_text(text)
        self.address = f"127.0.0.1:{free_port()}"
        self._command = [binary]
        self._environ = {
            "GRPC_HOST": "127.0.0.1", "GRPC_PORT": self.address.rpartition(":")[2],
            "HOST": "127.0.0.1", "PORT": str(free_port()), "DEBUG_HOST": "127.0.0.1", "DEBUG_PORT": str(free_port()),
            "REDIS_SOCKET_TYPE": "tcp", "REDIS_TYPE": "SINGLE", "REDIS_URL": f"127.0.0.1:{store_port}",
            "USE_STATSD": "false", "DISABLE_STATS": "true", "LOG_LEVEL": "error", "BACKEND_TYPE": "redis",
            "RUNTIME_ROOT": str(folder), "RUNTIME_SUBDIRECTORY": "ratelimit", "RUNTIME_APPDIRECTORY": "files",
            "RUNTIME_WATCH_ROOT": "false", "RUNTIME_IGNOREDOTFILES": "true",
            **settings,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.channel = grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)])

    def __enter__(self) -> Self:
        """Start it, and wait until it takes calls."""
        self._process = subprocess.Popen(
            self._command, env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                grpc.channel_ready_future(self.channel).result(timeout=0.5)
            except grpc.FutureTimeoutError:
                continue
            return self
        raise RuntimeError("envoyproxy/ratelimit did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
