"""All workers together: kept at their number, asked for their metrics, told to end.

Each place in the crew has a task that starts a worker, waits for its end, has `policy.py` judge that, and begins again.
Nothing here looks at calls: the kernel spreads connections over the workers that listen, and what a worker has accepted
is its own.

**At the start** the first worker that says why it cannot start ends the whole start with that line: its siblings would
say the same. **Later** such a worker is one more that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sidecar.errors import StartupError
from sidecar.supervisor.policy import GiveUp, RestartPolicy, describe_exit, judge_death
from sidecar.supervisor.process import WorkerProcess, spawn
from sidecar.telemetry.snapshot import Gathered, Totals, take

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.supervisor.messages import Assignment, Ready
    from sidecar.telemetry.metrics import Metrics
    from sidecar.telemetry.snapshot import FamilySnapshot

_log = logging.getLogger("sidecar.supervisor")

# What a worker counted since it was last asked is lost with it when it is killed: five seconds' worth at most.
_ASK_SECONDS = 5.0
# An App starts within a second or two, or says why not; ten times that is a worker that hangs.
_START_SECONDS = 30.0


@dataclass(slots=True)
class _Place:
    """A worker's place in the crew: its work stays the same, whoever does it."""

    assignment: Assignment
    worker: WorkerProcess | None = None

    @property
    def number(self) -> int:
        return self.assignment.worker


class Crew:
    """The workers of one sidecar. `on_failure` is called once, when they cannot be kept; then they must be drained."""

    def __init__(
        self,
        assignments: Sequence[Assignment],
        metrics: Metrics,
        on_failure: Callable[[StartupError], None],
        policy: RestartPolicy | None = None,
    ) -> None:
        self._places = [_Place(assignment) for assignment in assignments]
        self._on_failure = on_failure
        self._policy = policy or RestartPolicy()
        self._totals = Totals()
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._since_us = time.time_ns() // 1000
        self._ending = asyncio.Event()
        self._bad_ends: dict[int, str] = {}
        self._metrics = metrics
        self._restarts = metrics.counter("sidecar_worker_restarts", "Workers started again after a death.", "worker")
        for place in self._places:
            self._restarts.cell(str(place.number))
        metrics.gauge("sidecar_workers", "Workers by what they are.", self._by_state, "state")
        self.complete = asyncio.Event()
        """Set once all workers have been ready at the same time."""

    # --- looking: also from another thread ---

    @property
    def serving(self) -> bool:
        """Whether every worker that takes calls can serve them, and there is one."""
        ready = self._ready()
        return not self._ending.is_set() and bool(ready) and all(map(_can_serve, ready.values()))

    @property
    def process_ids(self) -> dict[str, int]:
        """The workers' processes by number."""
        return {str(place.number): place.worker.process_id for place in self._places if place.worker is not None}

    @property
    def first_ready(self) -> Ready | None:
        """What the first of the workers that are ready said when it was."""
        return next((worker.ready for worker in self._ready().values()), None)

    def _ready(self) -> dict[int, WorkerProcess]:
        workers = [(place.number, place.worker) for place in self._places]
        return {number: worker for number, worker in workers if worker is not None and worker.ready is not None}

    def _by_state(self) -> dict[tuple[str, ...], float]:
        ready = self._ready()
        return {
            ("configured",): len(self._places),
            ("ready",): len(ready),
            ("serving",): sum(map(_can_serve, ready.values())),
        }

    async def families(self) -> list[FamilySnapshot]:
        """Return the metrics of all workers as one, those of the dead included, and the crew's own."""
        await self._ask_all()
        present = {number for number, worker in self._ready().items() if worker.answering}
        return [*take(self._metrics), *self._totals.families(present)]

    async def gathered(self) -> Gathered:
        """Return the metrics of all workers as one, with how many of them that is from."""
        families = tuple(await self.families())
        answering = sum(worker.answering for worker in self._ready().values())
        return Gathered(families=families, since_us=self._since_us, processes=answering, workers=len(self._places))

    # --- doing ---

    def start(self) -> None:
        """Start all workers; `complete` tells when they are ready."""
        self._tasks = [asyncio.create_task(self._keep(place), name=f"worker-{place.number}") for place in self._places]
        for task in self._tasks:
            task.add_done_callback(self._look_for_a_defect)
        self._asking = asyncio.create_task(self._ask_at_intervals(), name="worker-metrics")

    def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Have all workers take these on, those that are started later too."""
        for place in self._places:
            place.assignment = replace(place.assignment, settings=settings, envoy_files=envoy_files)
            if place.worker is not None:
                place.worker.reload(settings, envoy_files)

    def drain(self) -> None:
        """Tell all workers to finish what is under way, and start none any more."""
        self._ending.set()
        for place in self._places:
            if place.worker is not None:
                place.worker.drain()

    async def end(self, seconds: float) -> list[str]:
        """Wait for the end of all after `drain`, then kill those that are left; return what went wrong, if anything."""
        self.drain()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for answer in self._answers:
            answer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        late = [(place.number, place.worker) for place in self._places if place.worker is not None]
        for _, worker in late:
            worker.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for number, _ in late:
            self._bad_ends[number] = f"had not ended {seconds:g} s after it was told to, and was killed"
        return [f"worker {number} {how}" for number, how in sorted(self._bad_ends.items())]

    async def _keep(self, place: _Place) -> None:
        early_deaths = 0
        while not self._ending.is_set():
            served_seconds, how = await self._life(place)
            if self._ending.is_set():
                # One that was told to end before it listened to signals had no calls to finish.
                if served_seconds is not None and how != describe_exit(0):
                    self._bad_ends[place.number] = how
                return
            decision = judge_death(early_deaths, served_seconds, self._policy)
            if isinstance(decision, GiveUp):
                self._fail(
                    f"giving up: worker {place.number} died {decision.early_deaths} times in a row soon after its "
                    f"start; the last one {how}"
                )
                return
            early_deaths = decision.early_deaths
            _log.error("worker %d %s; starting it again in %.1f s", place.number, how, decision.after_seconds)
            self._restarts.cell(str(place.number)).value += 1
            await self._pause(decision.after_seconds)

    async def _life(self, place: _Place) -> tuple[float | None, str]:
        """See a worker through; return for how long it was ready, and how it ended."""
        assignment = place.assignment
        try:
            worker = await spawn(assignment, lambda: self._changed(place), self._asked)
        except OSError as error:
            return None, f"could not be started: {error.strerror}"
        place.worker = worker
        if self._ending.is_set():  # the order came while there was nobody to hear it
            worker.drain()
        if place.assignment is not assignment:  # so did others
            worker.reload(place.assignment.settings, place.assignment.envoy_files)
        hanging = asyncio.get_running_loop().call_later(_START_SECONDS, _kill_unless_ready, place.number, worker)
        code = await worker.run()
        hanging.cancel()
        place.worker = None
        self._totals.observe(place.number, worker.families)
        self._totals.retire(place.number)
        if worker.failure is None:
            return worker.served_seconds, describe_exit(code)
        if not self.complete.is_set() and not self._ending.is_set():
            self._fail(worker.failure)
        return None, f"could not start: {worker.failure}"

    def _changed(self, place: _Place) -> None:
        if place.worker is not None and place.worker.families:
            self._totals.observe(place.number, place.worker.families)
        if len(self._ready()) == len(self._places):
            self.complete.set()

    def _asked(self, worker: WorkerProcess, number: int) -> None:
        """Answer a worker that has been asked about the whole sidecar."""

        async def answer() -> None:
            worker.answer(number, await self.gathered())

        task = asyncio.create_task(answer(), name="worker-totals")
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def _fail(self, problem: str) -> None:
        if not self._ending.is_set():
            self._ending.set()
            self._on_failure(StartupError(problem))

    def _look_for_a_defect(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(f"giving up: {task.get_name()} cannot be looked after ({type(error).__qualname__})")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _ask_at_intervals(self) -> None:
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            await self._ask_all()

    async def _ask_all(self) -> None:
        await asyncio.gather(*(worker.ask_metrics() for worker in self._ready().values()))


def _can_serve(worker: WorkerProcess) -> bool:
    return worker.serving and worker.answering


def _kill_unless_ready(number: int, worker: WorkerProcess) -> None:
    if worker.ready is None:
        _log.error("worker %d was not ready after %g s; killing it", number, _START_SECONDS)
        worker.kill()
