"""A worker: one of several processes that take a sidecar's calls, started by its supervisor (`plain_worker.py`).

It is an `App` whose settings, listeners and embedded store come over the socket pair that it inherits, and whose
metrics go back there. It ends in order when it gets SIGTERM, and when the stream ends: then the supervisor is gone,
even if it was killed and could say nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvloop

from sidecar.app import App, Berth
from sidecar.errors import StartupError
from sidecar.supervisor.messages import (
    MAX_LINE_BYTES,
    AskMetrics,
    AskTotals,
    Assignment,
    Failed,
    MetricsAnswer,
    Ready,
    Reload,
    Serving,
    TotalsAnswer,
    decode_to_worker,
    encode,
)
from sidecar.telemetry.log import set_up_logging
from sidecar.telemetry.prometheus import garbage_collection

if TYPE_CHECKING:
    from sidecar.supervisor.messages import FromWorker
    from sidecar.telemetry.snapshot import Gathered

_log = logging.getLogger("sidecar.worker")

# As the command line's: 2 for what a person has to mend.
_EXIT_MEND = 2
# One is enough: what events invalidate, all sidecars see.
_LISTENING_WORKER = 1
# The supervisor waits a second for a worker that hangs.
_TOTALS_SECONDS = 3.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: list[str]) -> int:
    """Serve until told to end; return the exit code."""
    try:
        (descriptor,) = arguments
        link = socket.socket(fileno=int(descriptor))
    except (OSError, ValueError):
        sys.stderr.write("sidecar.worker is started by `sidecar serve --workers N` alone\n")
        return _EXIT_MEND
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(link))


async def _serve(link: socket.socket) -> int:
    stop = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # To reload is the supervisor's work; whoever signals all processes of a service must not end this one.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reader, writer = await asyncio.open_unix_connection(sock=link, limit=MAX_LINE_BYTES)
    line = await reader.readline()
    if not line:  # the supervisor died before it had said anything
        return 0
    assignment = decode_to_worker(line)
    if not isinstance(assignment, Assignment):
        raise TypeError("the first message is no assignment")
    settings = assignment.settings
    set_up_logging(settings.telemetry.log.level, settings.telemetry.log.format, assignment.worker)
    supervisor = _Supervisor(reader, writer)
    berth = Berth(
        listeners=assignment.listeners,
        embedded=assignment.embedded,
        envoy_files=assignment.envoy_files,
        listens=assignment.worker == _LISTENING_WORKER,
        gather=supervisor.gather,
    )
    app = App(settings, os.environ, berth)
    listening = asyncio.create_task(supervisor.listen(app, stop), name="supervisor")
    try:
        return await _run(app, supervisor, stop)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await supervisor.close()
        # Service managers signal all processes of a service, and the supervisor its workers: the second of two signals
        # must not find a worker that has all but ended without a handler.
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def _run(app: App, supervisor: _Supervisor, stop: asyncio.Event) -> int:
    try:
        await app.start()
    except StartupError as error:
        supervisor.tell(Failed(problem=str(error)))
        return _EXIT_MEND
    # What is to be taken on meanwhile waits until there is something that takes it on.
    taking_on = asyncio.create_task(supervisor.take_on(app, stop), name="reload")
    app.on_serving(lambda serving: supervisor.tell(Serving(serving=serving)))
    supervisor.tell(Serving(serving=app.serving))
    supervisor.tell(Ready(store_name=app.store_name, warnings=tuple(app.warnings)))
    await stop.wait()
    taking_on.cancel()
    await asyncio.gather(taking_on, return_exceptions=True)
    await app.stop()
    supervisor.tell(_metrics_of(app))
    return 0


class _Supervisor:
    """The supervisor as a worker sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._reloads: asyncio.Queue[Reload] = asyncio.Queue()
        self._questions: dict[int, asyncio.Future[Gathered]] = {}
        self._numbers = itertools.count(1)

    async def listen(self, app: App, stop: asyncio.Event) -> None:
        """Answer what it asks; set `stop` when it is gone, or can be heard no more."""
        try:
            while line := await self._reader.readline():
                message = decode_to_worker(line)
                if isinstance(message, AskMetrics):
                    self.tell(_metrics_of(app))
                elif isinstance(message, Reload):
                    self._reloads.put_nowait(message)
                elif isinstance(message, TotalsAnswer):
                    self._hear(message)
        except ConnectionError:
            _log.error("the supervisor is gone; stopping")
        except Exception as error:  # noqa: BLE001 (a defect; another worker takes this one's place)
            _log.error("the supervisor cannot be understood (%s); stopping", type(error).__qualname__)
        else:
            _log.error("the supervisor is gone; stopping")
        stop.set()

    async def take_on(self, app: App, stop: asyncio.Event) -> None:
        """Reload as it says, in that order, while it may go on asking for metrics; set `stop` if that fails."""
        try:
            while True:
                message = await self._reloads.get()
                await app.reload(message.settings, message.envoy_files)
        except Exception as error:  # noqa: BLE001 (a defect; another worker in its place serves what its siblings do)
            _log.error("the changed configuration cannot be taken on (%s); stopping", type(error).__qualname__)
            stop.set()

    async def gather(self) -> Gathered | None:
        """Return what all workers have counted, None if the supervisor does not say in time."""
        number = next(self._numbers)
        asked = self._questions[number] = asyncio.get_running_loop().create_future()
        self.tell(AskTotals(number=number))
        try:
            return await asyncio.wait_for(asked, _TOTALS_SECONDS)
        except TimeoutError:
            return None
        finally:
            del self._questions[number]

    def _hear(self, answer: TotalsAnswer) -> None:
        asked = self._questions.get(answer.number)
        if asked is not None and not asked.done():
            asked.set_result(answer.gathered)

    def tell(self, message: FromWorker) -> None:
        """Say something; if it is gone, nobody hears it."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def close(self) -> None:
        """Wait until all that was said is on its way, and hang up."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()


def _metrics_of(app: App) -> MetricsAnswer:
    return MetricsAnswer(families=(*app.snapshot(), *garbage_collection()))
