"""What supervisor and workers say to each other arrives as it was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config import load
from sidecar.config.envoy.model import EnvoyFile
from sidecar.server.engine import Listener
from sidecar.store.embedded import RunningValkey
from sidecar.supervisor.messages import (
    AskMetrics,
    AskTotals,
    Assignment,
    Failed,
    FromWorker,
    MetricsAnswer,
    Ready,
    Reload,
    Serving,
    TotalsAnswer,
    ToWorker,
    decode_from_worker,
    decode_to_worker,
    encode,
)
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.snapshot import Gathered, take

_ROOT = Path(__file__).parents[2]
_CONFIGS = [None, _ROOT / "examples" / "hospital" / "sidecar.yaml", _ROOT / "tests" / "contract" / "sidecar.yaml"]


def _metrics() -> Metrics:
    metrics = Metrics()
    metrics.counter("reads", "Reads.", "cache").cell("a").value += 3
    metrics.histogram("seconds", "Seconds.").cell().observe(0.25)
    metrics.gauge("size", "Size.", lambda: {(): 7})
    return metrics


@pytest.mark.parametrize("config", _CONFIGS, ids=["defaults", "hospital", "contract"])
def test_an_assignment(config: Path | None) -> None:
    """Every setting reaches the worker as it was loaded, the store's password included."""
    overrides: dict[str, object] = {"store.url": "redis://user:password@host:1/2", "workers": 2, "shutdown_grace": "1m"}
    overrides |= {"caches.default.max_memory": "80%", "caches.default.compress_above": "4KiB"}
    assignment = Assignment(
        worker=1,
        settings=load(config, {}, overrides),
        listeners=(Listener(address="127.0.0.1:1", shared=True), Listener(address="unix:/s", descriptor=7)),
        embedded=RunningValkey("/s", 4711),
    )
    assert assignment == decode_to_worker(encode(assignment))


def test_a_reload() -> None:
    """The settings and Envoy's files that are in force from now on, whatever their text holds."""
    files = (EnvoyFile("/rules/a.yaml", "domain: 'ä\u2028\n'\n"), EnvoyFile("/rules/b.yaml", ""))
    for envoy_files in (None, files):
        message = Reload(settings=load(None, {}, {"workers": 2}), envoy_files=envoy_files)
        assert message == decode_to_worker(encode(message))


def test_a_question() -> None:
    """A worker is asked for its metrics."""
    message: ToWorker = AskMetrics()
    assert message == decode_to_worker(encode(message))


def test_an_answer() -> None:
    """To a question of a worker's: what all workers have counted."""
    gathered = Gathered(families=take(_metrics()), since_us=1_700_000_000_000_000, processes=1, workers=2)
    message: ToWorker = TotalsAnswer(number=7, gathered=gathered)
    assert message == decode_to_worker(encode(message))


@pytest.mark.parametrize(
    "message",
    [
        Ready(store_name="unix:/s", warnings=("not safe",)),
        Failed(problem="one line\nand another"),
        Serving(serving=False),
        MetricsAnswer(families=take(_metrics())),
        AskTotals(number=7),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_a_worker_says(message: FromWorker) -> None:
    """A line each, whatever is in it."""
    line = encode(message)
    assert (message, 1) == (decode_from_worker(line), line.count(b"\n"))


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b"a\n", b"\xff\n", encode(AskMetrics())[:-6] + b"\n"])
def test_anything_else_is_refused(line: bytes) -> None:
    """With an error that both sides expect."""
    with pytest.raises(ValueError, match=r"."):
        decode_from_worker(line)
    with pytest.raises(ValueError, match=r"."):
        decode_to_worker(line)


def test_what_is_said_in_the_other_direction_is_refused() -> None:
    """A worker gives no orders."""
    with pytest.raises(ValueError, match="no message from a worker"):
        decode_from_worker(encode(AskMetrics()))
    with pytest.raises(ValueError, match="no message to a worker"):
        decode_to_worker(encode(Serving(serving=True)))
