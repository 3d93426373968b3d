"""Whole sidecars in front of real stores, run inside the test's own process.

The `App` gets a thread and a uvloop loop of its own, so that a test may be blocked in a call while the sidecar answers
it, and so that coverage sees the sidecar. The calls go through a real socket.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.app import App
from sidecar.config.loader import load
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

CONTRACT_CONFIG = Path(__file__).parent.parent / "contract" / "sidecar.yaml"
KEK_VARIABLE = "CONTRACT_KEK"
ENVIRON = {KEK_VARIABLE: base64.b64encode(b"K" * 32).decode()}

_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.005

Channel = grpc.Channel
T = TypeVar("T")


class RunningSidecar:
    """A sidecar that runs in a thread; `overrides` are settings by dotted path, on top of the configuration file."""

    def __init__(
        self,
        store_url: str,
        *,
        engine: str = "grpcio",
        socket_path: Path | None = None,
        metrics: bool = False,
        config: Path = CONTRACT_CONFIG,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}" if metrics else None
        self.socket_address = None if socket_path is None else f"unix:{socket_path}"
        addresses = [self.address, *([self.socket_address] if self.socket_address else [])]
        self.settings = load(
            config,
            {},
            {
                "store.url": store_url,
                "listen": [{"address": address, "engine": engine} for address in addresses],
                "telemetry.metrics.address": self.metrics_address,
                **(overrides or {}),
            },
        )
        self._app = App(self.settings, ENVIRON)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name=f"sidecar-{self.address}", daemon=True)
        self._channels: dict[str, Channel] = {}

    @property
    def warnings(self) -> list[str]:
        """Return what the sidecar says is not safe for production."""
        return self._app.warnings

    def start(self, *, serving: bool = True) -> None:
        """Start it, and unless told otherwise wait until it says SERVING; raises what the start raises."""
        self._thread.start()
        try:
            self._in_loop(self._app.start())
        except BaseException:
            self._end_loop()
            raise
        if serving:
            self.wait_for(health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        """Stop it as SIGTERM would, and close the channels."""
        try:
            self._in_loop(self._app.stop())
        finally:
            self._end_loop()
            for channel in self._channels.values():
                channel.close()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Keep its event loop busy, within `with`."""
        busy, over = threading.Event(), threading.Event()

        def work() -> None:
            busy.set()
            over.wait(_PATIENCE_SECONDS)

        self._loop.call_soon_threadsafe(work)
        busy.wait()
        try:
            yield
        finally:
            over.set()

    def channel(self, address: str | None = None) -> Channel:
        """Return a channel to it, by default to its TCP port; one for each address, closed with the sidecar."""
        target = address or self.address
        if target not in self._channels:
            # A channel of its own for each sidecar: by default grpc shares connections between equal targets.
            self._channels[target] = grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)])
        return self._channels[target]

    def wait_for(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Wait until the health service says `status` of the whole sidecar."""
        stub = health_pb2_grpc.HealthStub(self.channel())
        until = time.monotonic() + _PATIENCE_SECONDS
        while stub.Check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE_SECONDS).status != status:
            if time.monotonic() > until:
                raise TimeoutError(f"the sidecar did not become {status}")
            time.sleep(_POLL_SECONDS)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(3 * _PATIENCE_SECONDS)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_SECONDS)
        self._loop.close()
