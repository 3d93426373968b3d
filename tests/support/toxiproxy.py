"""A network of toxiproxy's between servers and their clients: late replies, silence, resets.

Toxiproxy is built on first use, at a pinned version, into `.tools`. What passes through a link stays in its order;
each connection is late by itself, so what was sent first on one may arrive after what was sent last on another.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support.programs import PROJECT
from support.servers import PATIENCE_SECONDS, free_port

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Iterator

VERSION = "v2.12.0"
_PACKAGE = "github.com/Shopify/toxiproxy/v2/cmd/server"
_BUILD_SECONDS = 600
# Replies are late by this, more or less.
LATENCY_MS, JITTER_MS = 10, 10
# What happens now and then to one link, and for how long; toxiproxy says what the attributes mean.
_MISFORTUNES = (
    ("latency", {"latency": 300, "jitter": 200}, 0.4),
    ("latency", {"latency": 300, "jitter": 200}, 0.4),
    ("timeout", {"timeout": 200}, 0.3),
    ("reset_peer", {"timeout": 0}, 0.05),
)
_PAUSE_SECONDS = 1.0


def program() -> str:
    """Return the path of toxiproxy, built if it is not there yet; skips the test if there is no Go."""
    folder = PROJECT / ".tools" / f"toxiproxy-{VERSION}"
    if not (folder / "server").exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("no go on the PATH, to build toxiproxy")
        environ = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        command = ["nice", "-n", "10", go, "install", f"{_PACKAGE}@{VERSION}"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
        assert done.returncode == 0, done.stderr
    return str(folder / "server")


class Toxiproxy:
    """A running toxiproxy."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}"
        self._links: list[str] = []

    def link(self, target: int) -> int:
        """Return a port that leads to another; its replies are late."""
        port = free_port()
        name = str(port)
        self._ask(
            "POST",
            "/proxies",
            {"name": name, "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{target}", "enabled": True},
        )
        self._add(name, "late", "latency", {"latency": LATENCY_MS, "jitter": JITTER_MS})
        self._links.append(name)
        return port

    async def trouble(self, draw: random.Random, happened: Counter[str]) -> None:
        """Let things happen to one link after another, until cancelled."""
        while True:
            await asyncio.sleep(draw.random() * _PAUSE_SECONDS)
            name = draw.choice(self._links)
            kind, attributes, seconds = draw.choice(_MISFORTUNES)
            await asyncio.to_thread(self._add, name, "trouble", kind, attributes)
            happened[kind] += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self._ask("DELETE", f"/proxies/{name}/toxics/trouble")

    def _add(self, name: str, toxic: str, kind: str, attributes: dict[str, int]) -> None:
        self._ask(
            "POST",
            f"/proxies/{name}/toxics",
            {"name": toxic, "type": kind, "stream": "downstream", "attributes": attributes},
        )

    def _ask(self, method: str, path: str, body: dict[str, object] | None = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api + path, data=data, method=method)  # noqa: S310 (http of our own)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):  # noqa: S310 (as above)
            return


@contextmanager
def toxiproxy() -> Iterator[Toxiproxy]:
    """Run toxiproxy within `with`."""
    port = free_port()
    command = [program(), "-host", "127.0.0.1", "-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("toxiproxy did not start")
            time.sleep(0.02)
        yield Toxiproxy(port)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
