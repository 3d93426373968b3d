"""A victim and an honest caller of it, as a test of an attack sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support.raw_http2 import connected, message
from support.stopwatch import stolen_seconds, waited_seconds
from support.victim import COUNTS, ECHO

if TYPE_CHECKING:
    from types import TracebackType

TESTS = Path(__file__).parents[1]
PATIENCE_SECONDS = 30.0
# What the sidecar promises its callers while it is attacked.
P99_SECONDS = 0.1
MOST_SECONDS = 1.0
# What an attack may cost a server at its peak. Its buffers, its connections and its garbage fit with room to spare;
# anything that grows with the length of an attack does not.
MOST_GROWTH_BYTES = 48 * 1024 * 1024

_POLL_SECONDS = 0.05


class _Child:
    """A module that runs as a program, is told lines and prints lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "GRPC_VERBOSITY": "NONE"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(frozen=True, slots=True)
class Service:
    """How an honest caller was served."""

    seconds: list[float]
    failures: list[str]
    late: float
    """The longest time that the machine left the caller without its turn."""

    @property
    def p99(self) -> float:
        """Of the calls' durations, that which 99 of 100 keep; of fewer calls the longest."""
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


class Attacked:
    """A server of one engine in a process of its own, and an honest caller in another; use as a context manager."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._server = _Child("support.victim", engine)
        self.address = self._server.hear()
        self._honest = _Child("support.honest_caller", self.address)
        self._before_bytes = 0
        self._before_waited = 0.0
        self._goes_on()
        self.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._honest.end()
        self._server.end()

    def begin(self) -> None:
        """Measure from here on."""
        Path(f"/proc/{self._server.process_id}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
        self._before_bytes = self._memory("VmRSS")
        self._before_waited = self._waited()
        self._report()

    def growth_bytes(self) -> int:
        """Return by how much the server's memory has grown at its peak, since `begin`."""
        return self._memory("VmHWM") - self._before_bytes

    def served(self) -> Service:
        """Return how the honest caller was served since `begin`, some calls after the attack included."""
        return self._goes_on()

    def is_alive(self) -> bool:
        """Say whether the server still runs."""
        return self._server.is_alive()

    def assert_unharmed(self, *, in_time: bool = True, most_bytes: float = MOST_GROWTH_BYTES) -> None:
        """Raise unless memory stayed bounded and the honest caller was served, and unless told otherwise in time.

        What counts is the p99 of the two seconds that begin with the attack, or of all of a longer one, and that no
        call takes a second. Where all of the first fifty calls were in time there is no need to wait for the others.
        """
        service = self.served()
        if in_time and max(service.seconds) >= P99_SECONDS:
            service = self._goes_on(service, calls=200)
        assert self.is_alive()
        assert not service.failures, f"{service.failures}, of {len(service.seconds)} calls"
        # What the machine, busy with other work and with the attacker, did not let the server do is not its fault.
        noise = service.late + self._waited() - self._before_waited
        slow = service.p99 >= P99_SECONDS + noise or max(service.seconds) >= MOST_SECONDS + noise
        assert not (slow and in_time), (
            f"{service.p99} s, the machine late by {noise} s, of {len(service.seconds)} calls"
        )
        growth_bytes = self.growth_bytes()
        assert growth_bytes < most_bytes, f"{growth_bytes >> 20} MiB more"

    async def comes_back(self) -> None:
        """Wait until the server takes calls again after it was gone, and measure from then on."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(OSError, TimeoutError):
                    async with connected(self.address) as client:
                        await client.answered(client.call(ECHO), 1.0)
                        break
                await asyncio.sleep(_POLL_SECONDS)
        while self._goes_on().failures:
            await asyncio.sleep(_POLL_SECONDS)
        self.begin()

    async def counts(self) -> dict[str, int]:
        """Ask the server how many calls are where."""
        async with connected(self.address) as client:
            answers: list[bytes] = []
            client.on_frame = lambda heard: answers.append(heard.payload) if heard.kind == 0 else None
            await client.answered(client.call(COUNTS))
            counts: dict[str, int] = json.loads(b"".join(answers)[len(message(b"")) :])
            return counts

    def _goes_on(self, report: Service | None = None, calls: int = 50) -> Service:
        """Return the report, or what it has become, once it has so many calls: a hundred are a second's at least."""
        report = report or self._report()
        while len(report.seconds) < calls and self.is_alive():
            time.sleep(_POLL_SECONDS)
            more = self._report()
            report = Service(
                report.seconds + more.seconds, report.failures + more.failures, max(report.late, more.late)
            )
        return report

    def _report(self) -> Service:
        self._honest.tell("report")
        return Service(**json.loads(self._honest.hear()))

    def _waited(self) -> float:
        """Return the seconds that both programs had no processor although they were ready to run."""
        return stolen_seconds() + sum(waited_seconds(child.process_id) for child in (self._server, self._honest))

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self._server.process_id}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise ValueError(f"the kernel says no {name}")
