"""One worker as its supervisor sees it: a child process, the socket to it, and what it last said of itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from sidecar.supervisor.messages import (
    MAX_LINE_BYTES,
    AskMetrics,
    AskTotals,
    Failed,
    MetricsAnswer,
    Ready,
    Reload,
    Serving,
    TotalsAnswer,
    decode_from_worker,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.supervisor.messages import Assignment, FromWorker
    from sidecar.telemetry.snapshot import FamilySnapshot, Gathered

_log = logging.getLogger("sidecar.supervisor")

# A worker that serves answers within a millisecond. One that takes this long has a loop that is stuck, or is stopped.
_ANSWER_SECONDS = 1.0
# A process that has ended has said all that it will say; it only needs to be read.
_LAST_WORDS_SECONDS = 1.0


class WorkerProcess:
    """A worker's process, from its start to its end."""

    def __init__(
        self,
        number: int,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_change: Callable[[], None],
        *,
        on_ask: Callable[[WorkerProcess, int], None],
    ) -> None:
        self._number = number
        self._process = process
        self._reader = reader
        self._writer = writer
        self._on_change = on_change
        self._on_ask = on_ask
        self._asked: asyncio.Future[None] | None = None
        self._ready_at: float | None = None
        self._draining = False
        self.ready: Ready | None = None
        """What it said when it was ready; None until then."""
        self.serving = False
        """Whether it can serve the calls that it takes."""
        self.answering = True
        """Whether it answered when it was last asked something."""
        self.failure: str | None = None
        """Why it could not start, in its own words."""
        self.families: tuple[FamilySnapshot, ...] = ()
        """The metrics that it last told."""

    @property
    def process_id(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def served_seconds(self) -> float | None:
        """For how long it has been ready, None if it never was."""
        return None if self._ready_at is None else time.monotonic() - self._ready_at

    async def run(self) -> int:
        """Listen to it until it has ended; return its exit code, a signal's number below zero."""
        listening = asyncio.create_task(self._listen(), name=f"worker-{self._number}-listener")
        code = await self._process.wait()
        await asyncio.wait([listening], timeout=_LAST_WORDS_SECONDS)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        if self._asked is not None:
            self._asked.cancel()
        self._writer.close()
        return code

    async def ask_metrics(self) -> None:
        """Have it tell its metrics; a worker that is stuck is waited for no longer than a moment."""
        if self._writer.is_closing():  # it has ended, or is about to
            return
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self._writer.write(encode(AskMetrics()))
        answered, _ = await asyncio.wait([self._asked], timeout=_ANSWER_SECONDS)
        if not answered and self.answering:
            self.answering = False
            _log.error("worker %d does not answer", self._number)

    def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Have it take these on, soon, and after what it was told to take on before."""
        if self._process.returncode is None:
            self._writer.write(encode(Reload(settings=settings, envoy_files=envoy_files)))

    def answer(self, number: int, gathered: Gathered) -> None:
        """Tell it what it has asked for."""
        if self._process.returncode is None and not self._writer.is_closing():
            self._writer.write(encode(TotalsAnswer(number=number, gathered=gathered)))

    def drain(self) -> None:
        """Tell it to finish what is under way, and end; once, whatever it does about that."""
        if self._process.returncode is None and not self._draining:
            self._draining = True
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(decode_from_worker(line))
        except ConnectionError:  # it has ended, with something unread on its side
            return
        except ValueError:
            _log.error("worker %d says what no worker says; killing it", self._number)
            self.kill()

    def _take(self, message: FromWorker) -> None:
        match message:
            case Ready():
                self.ready = message
                self._ready_at = time.monotonic()
            case Serving():
                self.serving = message.serving
            case Failed():
                self.failure = message.problem
            case AskTotals():
                self._on_ask(self, message.number)
            case MetricsAnswer():
                self.families = message.families
                if not self.answering:
                    self.answering = True
                    _log.info("worker %d answers again", self._number)
                if self._asked is not None:
                    self._asked.set_result(None)
                    self._asked = None
        self._on_change()


async def spawn(
    assignment: Assignment, on_change: Callable[[], None], on_ask: Callable[[WorkerProcess, int], None]
) -> WorkerProcess:
    """Start a worker and give it its work; raises OSError if the system has no process or descriptor left.

    `on_change` is called whenever it says something of itself, `on_ask` when it asks for the metrics of all, with the
    question's number.
    """
    ours, theirs = socket.socketpair()
    inherited = [listener.descriptor for listener in assignment.listeners if listener.descriptor is not None]
    try:
        # A new program and no fork of this one: threads and locks of ours would be in an undefined state there. `-P`
        # keeps a folder named `sidecar` in the working directory from being taken for the program.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "sidecar.plain_worker", str(theirs.fileno()),
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), *inherited),
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops its workers in order
        )  # fmt: skip
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    # Nobody else inherits our end, so when this process dies, however that comes about, the worker's stream ends.
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE_BYTES)
    writer.write(encode(assignment))
    return WorkerProcess(assignment.worker, process, reader, writer, on_change, on_ask=on_ask)
