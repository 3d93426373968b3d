"""What supervisor and workers say to each other, over a socket pair that both are born with: a line of JSON a message.

The first line gives a worker its work, settings and all: a worker that is started again next week serves what its
siblings serve, whatever the files say by then. The settings may hold the store's password, so they travel here and not
in an argument or a variable, which other processes can read.

Each side takes the end of the stream for the other's death.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sidecar.config.envoy.model import EnvoyFile
from sidecar.config.model import Settings
from sidecar.server.engine import Listener
from sidecar.store.embedded import RunningValkey
from sidecar.telemetry.snapshot import FamilySnapshot

# Longer than any metrics page: a line that is still not over is none of ours.
MAX_LINE_BYTES = 64 << 20


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Assignment(_Message):
    """To a worker, first of all: what to serve, and where."""

    kind: Literal["assignment"] = "assignment"
    worker: int
    settings: Settings
    listeners: tuple[Listener, ...]
    embedded: RunningValkey | None
    envoy_files: tuple[EnvoyFile, ...] | None = None
    """What the files of Envoy's limits held when they were last taken in; None where there are none."""


class AskMetrics(_Message):
    """To a worker: tell your metrics."""

    kind: Literal["ask_metrics"] = "ask_metrics"


class Reload(_Message):
    """To a worker: what is in force from now on. The settings differ from those before in what can change."""

    kind: Literal["reload"] = "reload"
    settings: Settings
    envoy_files: tuple[EnvoyFile, ...] | None = None
    """What the files of Envoy's limits hold now; None where there are none."""


class Ready(_Message):
    """From a worker: it takes calls."""

    kind: Literal["ready"] = "ready"
    store_name: str
    warnings: tuple[str, ...]


class Failed(_Message):
    """From a worker: it could not start, and ends; the text is for the operator."""

    kind: Literal["failed"] = "failed"
    problem: str


class Serving(_Message):
    """From a worker: whether it can serve the calls that it takes."""

    kind: Literal["serving"] = "serving"
    serving: bool


class MetricsAnswer(_Message):
    """From a worker: its metrics, when it is asked and once more when it ends."""

    kind: Literal["metrics"] = "metrics"
    families: tuple[FamilySnapshot, ...]


ToWorker = Assignment | AskMetrics | Reload
FromWorker = Ready | Failed | Serving | MetricsAnswer

_TO_WORKER: TypeAdapter[ToWorker] = TypeAdapter(Annotated[ToWorker, Field(discriminator="kind")])
_FROM_WORKER: TypeAdapter[FromWorker] = TypeAdapter(Annotated[FromWorker, Field(discriminator="kind")])


def encode(message: ToWorker | FromWorker) -> bytes:
    """Return a message as a line."""
    return message.model_dump_json().encode() + b"\n"


def decode_to_worker(line: bytes) -> ToWorker:
    """Read what a supervisor says; raises ValueError."""
    return _TO_WORKER.validate_json(line)


def decode_from_worker(line: bytes) -> FromWorker:
    """Read what a worker says; raises ValueError."""
    return _FROM_WORKER.validate_json(line)
