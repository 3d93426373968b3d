"""What supervisor and workers say to each other, over a socket pair that both are born with.

A message is a line: a parcel (`config/parcel.py`) in base64. The first line gives a worker its work, settings and all:
a worker that is started again next week serves what its siblings serve, whatever the files say by then. The settings
may hold the store's password, so they travel here and not in an argument or a variable, which other processes can read.

Each side takes the end of the stream for the other's death.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.config.parcel import pack, unpack

if TYPE_CHECKING:
    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.server.engine import Listener
    from sidecar.store.embedded import RunningValkey
    from sidecar.telemetry.snapshot import FamilySnapshot, Gathered

# Longer than any metrics page: a line that is still not over is none of ours.
MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """To a worker, first of all: what to serve, and where."""

    worker: int
    settings: Settings
    listeners: tuple[Listener, ...]
    embedded: RunningValkey | None
    envoy_files: tuple[EnvoyFile, ...] | None = None
    """What the files of Envoy's limits held when they were last taken in; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskMetrics:
    """To a worker: tell your metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """To a worker: what is in force from now on. The settings differ from those before in what can change."""

    settings: Settings
    envoy_files: tuple[EnvoyFile, ...] | None = None
    """What the files of Envoy's limits hold now; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """From a worker: it takes calls."""

    store_name: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """From a worker: it could not start, and ends; the text is for the operator."""

    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """From a worker: whether it can serve the calls that it takes."""

    serving: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsAnswer:
    """From a worker: its metrics, when it is asked and once more when it ends."""

    families: tuple[FamilySnapshot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTotals:
    """From a worker that somebody has asked about the whole sidecar: tell the metrics of all workers."""

    number: int
    """The question's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsAnswer:
    """To a worker that has asked: the metrics of all."""

    number: int
    """The question's."""
    gathered: Gathered


ToWorker = Assignment | AskMetrics | Reload | TotalsAnswer
FromWorker = Ready | Failed | Serving | MetricsAnswer | AskTotals


def encode(message: ToWorker | FromWorker) -> bytes:
    """Return a message as a line."""
    return binascii.b2a_base64(pack(message))


def decode_to_worker(line: bytes) -> ToWorker:
    """Read what a supervisor says; raises ValueError."""
    message = _decode(line)
    if not isinstance(message, ToWorker):
        raise ValueError("no message to a worker")  # noqa: TRY004 (it came from outside)
    return message


def decode_from_worker(line: bytes) -> FromWorker:
    """Read what a worker says; raises ValueError."""
    message = _decode(line)
    if not isinstance(message, FromWorker):
        raise ValueError("no message from a worker")  # noqa: TRY004 (as above)
    return message


def _decode(line: bytes) -> Any:
    return unpack(binascii.a2b_base64(line))
