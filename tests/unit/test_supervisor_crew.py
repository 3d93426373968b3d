"""The crew, with workers that are not there: what reaches those that are being started."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from sidecar.config import load
from sidecar.config.envoy.model import EnvoyFile
from sidecar.supervisor import crew
from sidecar.supervisor.messages import Assignment
from sidecar.supervisor.policy import RestartPolicy
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from sidecar.config.model import Settings
    from sidecar.supervisor.process import WorkerProcess

FILES = (EnvoyFile("a.yaml", "domain: a"),)


class Worker:
    """A worker that lives until it is told to end."""

    def __init__(self, assignment: Assignment) -> None:
        self.serves: list[tuple[Settings, tuple[EnvoyFile, ...] | None]] = [
            (assignment.settings, assignment.envoy_files)
        ]
        self.ready = None
        self.failure = None
        self.families = ()
        self.served_seconds = None
        self._ended = asyncio.Event()

    def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Note what it is to take on."""
        self.serves.append((settings, envoy_files))

    async def run(self) -> int:
        """Wait for its end."""
        await self._ended.wait()
        return 0

    def drain(self) -> None:
        """End it."""
        self._ended.set()

    kill = drain


async def test_a_worker_that_is_being_started_takes_on_what_its_siblings_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload while its process comes up, with what was in force before, reaches it too."""
    begun, go = asyncio.Event(), asyncio.Event()
    workers: list[Worker] = []

    async def spawn(assignment: Assignment, *_: Callable[..., None]) -> WorkerProcess:
        begun.set()
        await go.wait()
        workers.append(Worker(assignment))
        return cast("WorkerProcess", workers[-1])

    monkeypatch.setattr(crew, "spawn", spawn)
    before, after = load(None, {}), load(None, {}, {"tenant": "other"})
    assignment = Assignment(worker=1, settings=before, listeners=(), embedded=None)
    made = crew.Crew([assignment], Metrics(), on_failure=_raise, policy=RestartPolicy())
    made.start()
    await begun.wait()
    made.reload(after, FILES)
    go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await made.end(5)
    assert [(before, None), (after, FILES)] == workers[0].serves


def _raise(error: Any) -> None:
    raise error
