"""The servers of a run: each is started, watched and stopped by its own process id, and nothing else ever is."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 15.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
# The fields of /proc/PID/stat after the name, counted from 0 (proc(5) counts from 3): utime and stime, and after them
# those of the children that it has waited for.
_UTIME, _STIME, _CSTIME = 11, 12, 14


class Failure(Exception):  # noqa: N818 (a sentence for the user, not an error of the program)
    """Why a run cannot go on, in a sentence."""


class Server:
    """A child process, started on entering a `with` block and stopped on leaving it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        is_ready: Callable[[], bool],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._command = command
        self._log = log
        self._is_ready = is_ready
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environ)
        try:
            self._wait(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process; by force if it does not end by itself."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, user and system, by all threads of the process and its workers."""
        return sum(_cpu_ticks(process_id) for process_id in self.process_ids()) / _TICKS_PER_SECOND

    def rss_mib(self) -> float:
        """Return the resident memory of the process and its workers, what they share counted for each."""
        return sum(_rss_mib(process_id) for process_id in self.process_ids())

    def process_ids(self) -> list[int]:
        """Return the process and its workers: the descendants that run the same program, so no store of its own."""
        if self._process is None or self._process.poll() is not None:
            raise Failure(f"the {self._name} has ended; the last it said:\n{self._last_words()}")
        program = _program(self._process.pid)
        found = [self._process.pid]
        for process_id in found:  # and those that are found meanwhile
            found.extend(child for child in _children(process_id) if _program(child) == program)
        return found

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"the {self._name} did not start; the last it said:\n{self._last_words()}")
            time.sleep(_POLL_SECONDS)

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def family_cpu_seconds(process_id: int) -> float:
    """Return the CPU time used so far by a process and all its descendants, those that it has seen end included."""
    family = [process_id]
    for member in family:  # and those that are found meanwhile
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has ended since
            family.extend(_children(member))
    ticks = sum(_fields(process_id)[_UTIME : _CSTIME + 1])
    for member in family[1:]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            ticks += _cpu_ticks(member)
    return ticks / _TICKS_PER_SECOND


def _cpu_ticks(process_id: int) -> int:
    fields = _fields(process_id)
    return fields[_UTIME] + fields[_STIME]


def _fields(process_id: int) -> list[int]:
    # The first, the state, is the only one that is no number.
    return [0, *map(int, _proc(process_id, "stat").rsplit(")", 1)[1].split()[1:])]


def _rss_mib(process_id: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", _proc(process_id, "status"))
    return int(found.group(1)) / 1024 if found else 0.0


def _children(process_id: int) -> list[int]:
    # A child belongs to the thread that started it, and that need not be the first.
    children: list[int] = []
    for thread in Path(f"/proc/{process_id}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended since
            children += map(int, (thread / "children").read_text(encoding="utf-8").split())
    return children


def _program(process_id: int) -> Path:
    return Path(f"/proc/{process_id}/exe").resolve()


def _proc(process_id: int, name: str) -> str:
    return Path(f"/proc/{process_id}/{name}").read_text(encoding="utf-8")


def accepts_tcp(port: int) -> Callable[[], bool]:
    """Return a function that says whether anything listens on a port of 127.0.0.1."""

    def is_ready() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return True
        return False

    return is_ready


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine_busy_seconds() -> float:
    """Return the CPU time that the whole machine has used, stolen time included."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
    idle, iowait = fields[3], fields[4]
    return (sum(fields) - idle - iowait) / _TICKS_PER_SECOND
