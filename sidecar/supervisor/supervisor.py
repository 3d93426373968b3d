"""A sidecar of several processes: what its workers share, the pages about them, and the workers themselves.

The supervisor takes no calls. It makes once what cannot or should not be made by each worker: the ports and Unix
sockets, the embedded store, the development key, the metrics page. Then it keeps a crew of workers. To the command line
it looks like an `App`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.crypto.kek import create_development_file
from sidecar.errors import StartupError
from sidecar.server.engine import Listener
from sidecar.server.shared_port import reserve_port
from sidecar.server.sockets import UNIX, listen_on, remove_socket
from sidecar.store.embedded import EmbeddedValkey
from sidecar.supervisor.crew import Crew
from sidecar.supervisor.messages import Assignment
from sidecar.telemetry.log import log_loop_error
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.page import Page
from sidecar.telemetry.prometheus import several_processes
from sidecar.telemetry.reloads import ReloadCounter
from sidecar.translate import development_key, embedded_policy

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.store.embedded import RunningValkey
    from sidecar.telemetry.reloads import ReloadOutcome
    from sidecar.telemetry.snapshot import FamilySnapshot

# Beyond the callers' grace: what a worker needs to send its last spans and to close its connections.
_UNWINDING_SECONDS = 5.0
# The page's own thread waits for the supervisor's loop, which waits a second for a worker that hangs.
_PAGE_SECONDS = 5.0


class Supervisor:
    """Several workers, started once, stopped once. Sets `stop` when they cannot be kept; `stop()` then says why."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], count: int, stop: asyncio.Event) -> None:
        self._settings = settings
        self._environ = environ
        self._count = count
        self._stop = stop
        self._stack = AsyncExitStack()
        self._sockets: list[tuple[str, int, socket.socket]] = []
        self._metrics = Metrics()
        self._reloads = ReloadCounter(self._metrics)
        self._crew: Crew | None = None
        self._failure: StartupError | None = None
        self.addresses: tuple[str, ...] = ()
        """Where calls are taken, with the port that was found for a port 0."""
        self.metrics_address: str | None = None
        """Where the metrics page is, once started."""
        self.envoy_files: tuple[EnvoyFile, ...] | None = None
        """What the files of Envoy's limits held that are in force, once started; None where there are none."""

    @property
    def warnings(self) -> list[str]:
        """What is not safe for production, a sentence each, by the word of a worker: all have the same settings."""
        ready = self._crew.first_ready if self._crew is not None else None
        return list(ready.warnings) if ready is not None else []

    @property
    def store_name(self) -> str:
        """The store, in words."""
        ready = self._crew.first_ready if self._crew is not None else None
        return ready.store_name if ready is not None else ""

    @property
    def worker_ids(self) -> list[int]:
        """The workers' process ids."""
        return list(self._crew.process_ids.values()) if self._crew is not None else []

    async def start(self) -> None:
        """Bring everything up; raises `StartupError`, with all that was started stopped again.

        Returns early when `stop` is set meanwhile; `stop()` must be called then too.
        """
        asyncio.get_running_loop().set_exception_handler(log_loop_error)
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise

    async def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Have all workers take these on; what they share stays as it is."""
        self._settings = settings
        self.envoy_files = envoy_files
        if self._crew is not None:
            self._crew.reload(settings, envoy_files)

    def count_reload(self, outcome: ReloadOutcome) -> None:
        """Count an attempt to reload the configuration."""
        self._reloads.count(outcome)

    async def stop(self) -> None:
        """Let the workers finish what is under way, and stop all.

        Raises `StartupError` if they could not be kept, or if one did not come to its end in order.
        """
        problems = await self._close()
        if self._failure is not None:
            raise self._failure
        if problems:
            raise StartupError(f"not all calls under way were finished: {'; '.join(problems)}")

    async def _start(self) -> None:
        files = self.envoy_files = self._read_envoy_files()
        listeners = self._open()
        embedded = await self._embedded_store()
        key = development_key(self._settings, self._environ)
        if key is not None:
            create_development_file(key)
        assignments = [
            Assignment(
                worker=number, settings=self._settings, listeners=listeners, embedded=embedded, envoy_files=files
            )
            for number in range(1, self._count + 1)
        ]
        self._crew = crew = Crew(assignments, self._metrics, self._on_failure)
        self._serve_page(crew)
        crew.start()
        waits = [asyncio.create_task(event.wait()) for event in (crew.complete, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self._failure is not None:
            raise self._failure

    def _read_envoy_files(self) -> tuple[EnvoyFile, ...] | None:
        """Read the files of Envoy's limits, once for all workers; raises `StartupError` for what is wrong with them."""
        if self._settings.envoy.config_dir is None:
            return None
        from sidecar.translate_envoy import envoy_files, envoy_rules  # noqa: PLC0415 (most sidecars have no such files)

        files = envoy_files(self._settings)
        envoy_rules(files or (), self._settings.envoy)
        return files

    def _open(self) -> tuple[Listener, ...]:
        """Take all addresses; raises `StartupError` for one that somebody else has."""
        listeners: list[Listener] = []
        for address in (listener.address for listener in self._settings.listen):
            if address.startswith(UNIX):
                made = listen_on(address)
                path = address.removeprefix(UNIX)
                self._sockets.append((path, Path(path).stat().st_ino, made))
                listeners.append(Listener(address=address, descriptor=made.fileno()))
            else:
                port = reserve_port(address)
                self._stack.callback(port.close)
                listeners.append(Listener(address=port.address, shared=True))
        self.addresses = tuple(listener.address for listener in listeners)
        return tuple(listeners)

    async def _embedded_store(self) -> RunningValkey | None:
        if self._settings.store.url is not None:
            return None
        embedded = EmbeddedValkey(embedded_policy(self._settings, self._environ))
        running = await embedded.start()
        self._stack.push_async_callback(embedded.stop)
        return running

    def _serve_page(self, crew: Crew) -> None:
        address = self._settings.telemetry.metrics.address
        if address is None:
            return
        loop = asyncio.get_running_loop()

        def families() -> list[FamilySnapshot]:
            return asyncio.run_coroutine_threadsafe(crew.families(), loop).result(_PAGE_SECONDS)

        registry = several_processes(families, lambda: {"supervisor": os.getpid(), **crew.process_ids})
        page = Page(address, registry, is_serving=lambda: crew.serving)
        page.start()
        self.metrics_address = page.address
        # Its thread may be waiting for this loop.
        self._stack.push_async_callback(asyncio.to_thread, page.close)

    def _on_failure(self, error: StartupError) -> None:
        self._failure = error
        self._stop.set()

    async def _close(self) -> list[str]:
        """Stop everything; return what went wrong with it."""
        if self._crew is not None:
            self._crew.drain()
        # The workers have their own copies. With ours open, callers would go on to queue, for nobody.
        for path, inode, held in self._sockets:
            remove_socket(path, inode)
            held.close()
        self._sockets.clear()
        patience = self._settings.shutdown_grace.seconds + _UNWINDING_SECONDS
        problems = await self._crew.end(patience) if self._crew is not None else []
        await self._stack.aclose()
        return problems
