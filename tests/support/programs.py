"""The sidecar's own program as a child process, the way an operator runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support.api import Api
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

PROGRAM = Path(sys.executable).parent / "sidecar"
PROJECT = Path(__file__).parents[2]
HOSPITAL = PROJECT / "examples" / "hospital" / "sidecar.yaml"

# The promise is 5 s, and its own test holds it; a machine full of other tests, with coverage on, may take longer.
PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.01


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without the sidecar's own variables, and with those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return kept | variables


def run_sidecar(
    *arguments: str, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the sidecar to its end."""
    return subprocess.run(
        [PROGRAM, *arguments],
        env=environment() if environ is None else environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Look again and again until something is so; return how long that took, raise `TimeoutError` if too long."""
    begun = time.monotonic()
    while not is_so():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"after {seconds} s it was still not so that {what}")
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - begun


def is_alive(process_id: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def children_of(process_id: int) -> dict[int, str]:
    """Return a process's children that run, and their command lines."""
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process_id and state != "Z":
            found[int(folder.name)] = command
    return found


class SidecarProgram:
    """`sidecar serve` on a free port of 127.0.0.1, with its state and its output in a folder of its own.

    `environ` goes over the test's own environment, `arguments` after `serve`. A configuration given as text may say
    where to listen itself, with `{address}` for the free port. It may be started again after it ended.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: Path | str | None = None,
        environ: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        listen: str | None = None,
        state: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = folder / "state" if state is None else state
        self.address = listen or f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        listens = isinstance(config, str) and "{address}" in config
        self._command = [str(PROGRAM), "serve", *([] if listens else ["--listen", self.address]), *arguments]
        if isinstance(config, str):
            path = folder / "sidecar.yaml"
            path.write_text(config.replace("{address}", self.address))
            config = path
        if config is not None:
            self._command += ["--config", str(config)]
        self._environ = environment(
            SIDECAR_STATE_DIR=str(self.state), SIDECAR_TELEMETRY__METRICS__ADDRESS=self.metrics_address
        ) | dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._apis: list[Api] = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- starting ---

    def start(self) -> Self:
        """Start, and wait until it says that it is ready."""
        self.spawn()
        return self.wait_ready()

    def spawn(self) -> Self:
        """Start, and wait for nothing."""
        with (self.folder / "stdout").open("wb") as output, (self.folder / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                self._command, env=self._environ, cwd=self.folder, stdout=output, stderr=errors
            )
        return self

    def wait_ready(self) -> Self:
        """Wait for the line that says `is ready`; raises `RuntimeError` if the program ends instead."""

        def is_over() -> bool:
            return self.is_ready or self._running.poll() is not None

        try:
            wait_until(is_over, "the sidecar is ready")
        except TimeoutError:
            self.stop()
            raise
        if self._running.poll() is not None:
            raise RuntimeError(f"the sidecar ended with {self._running.returncode}: {self.errors}")
        return self

    # --- looking ---

    @property
    def process_id(self) -> int:
        """The process's id."""
        return self._running.pid

    @property
    def worker_ids(self) -> list[int]:
        """The ids of its workers' processes, as the system tells them."""
        children = children_of(self.process_id).items()
        return sorted(child for child, command in children if "sidecar.plain_worker" in command)

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it is ready since it was last started."""
        return "is ready" in self.output

    @property
    def output(self) -> str:
        """What it wrote to standard output since it was last started."""
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def errors(self) -> str:
        """What it wrote to standard error since it was last started."""
        return (self.folder / "stderr").read_text(errors="replace")

    @property
    def summary(self) -> list[str]:
        """The lines it greets its operator with."""
        return self.output.partition("sidecar: stopping")[0].splitlines()

    @property
    def store_process_id(self) -> int:
        """The id of its embedded Valkey, as its summary tells it."""
        return int(self.output.partition("embedded Valkey (process ")[2].partition(")")[0])

    def api(self) -> Api:
        """Return stubs over a connection of their own."""
        made = Api(self.address)
        self._apis.append(made)
        return made

    # --- ending ---

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._running.send_signal(number)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until it has ended; return its exit code, negative for a signal."""
        return self._running.wait(seconds)

    def terminate(self) -> int:
        """End it with SIGTERM, as a supervisor would; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it with SIGKILL, as the kernel does when memory is short."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """Close what was opened and end it, in whatever state it is."""
        for api in self._apis:
            api.close()
        self._apis.clear()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the sidecar was not started")
        return self._process
