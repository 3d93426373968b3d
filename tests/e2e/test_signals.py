"""Stopping: what is under way ends well, nothing new is taken, and the end comes in time."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sidecar_client.gen.sidecar.v1 import cache_pb2
from support.api import refusal_of
from support.metrics_page import MetricsPage
from support.programs import SidecarProgram, is_alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import StoreServer

_SIGNALS = [signal.SIGTERM, signal.SIGINT]
# Stopping the embedded store and unwinding, on a machine that is busy with other tests.
_UNWINDING_SECONDS = 10.0


@pytest.fixture
def program(tmp_path: Path) -> Iterator[SidecarProgram]:
    """Return a sidecar with an embedded store, not started yet."""
    made = SidecarProgram(tmp_path / "sidecar")
    yield made
    made.stop()


@pytest.mark.parametrize("number", _SIGNALS)
def test_ends_with_zero(program: SidecarProgram, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the sidecar with code 0 and a word; the embedded store ends with it."""
    program.start()
    store = program.store_process_id
    program.signal(number)
    assert 0 == program.wait()
    assert program.output.endswith("sidecar: stopping\n")
    assert "Traceback" not in program.errors
    assert not is_alive(store)


@pytest.mark.parametrize("number", _SIGNALS)
def test_calls_under_way_are_finished(tmp_path: Path, store: StoreServer, number: signal.Signals) -> None:
    """A call that waits for the store when the signal comes gets its answer; a new call is not taken."""
    store.start()
    patient = {"SIDECAR_STORE__REPLY_TIMEOUT": "30s"}
    with SidecarProgram(tmp_path / "sidecar", arguments=["--redis", store.url], environ=patient) as program:
        api = program.api()
        api.cache.Set(cache_pb2.SetRequest(cache="default", key="k", value=b"v"), timeout=30)
        store.pause()
        under_way = api.cache.Get.future(cache_pb2.GetRequest(cache="default", key="k"), timeout=30)
        wait_until(lambda: _in_flight(program) == 1, "the sidecar has taken the call")
        program.signal(number)
        wait_until(lambda: "stopping" in program.output, "the sidecar is stopping")
        late = refusal_of(lambda: program.api().cache.Get(cache_pb2.GetRequest(cache="default", key="k"), timeout=1))
        store.resume()
        assert b"v" == under_way.result().value
        assert grpc.StatusCode.UNAVAILABLE == late.code
        assert 0 == program.wait()


def _in_flight(program: SidecarProgram) -> float:
    return MetricsPage(program.metrics_address)("sidecar_calls_in_flight")


def test_health_watchers_are_told(program: SidecarProgram) -> None:
    """Whoever watches the health gets NOT_SERVING before the connection goes."""
    api = program.start().api()
    stream = api.health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert health_pb2.HealthCheckResponse.SERVING == next(stream).status
    program.signal(signal.SIGTERM)
    assert health_pb2.HealthCheckResponse.NOT_SERVING == next(stream).status
    assert 0 == program.wait()


def test_grace_is_kept_with_a_stream_that_never_ends(tmp_path: Path) -> None:
    """A caller who keeps a stream open holds up the end for the grace period, and no longer; the code is still 0."""
    with SidecarProgram(tmp_path / "sidecar", environ={"SIDECAR_SHUTDOWN_GRACE": "500ms"}) as program:
        over = threading.Event()

        def requests() -> Iterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            over.wait(30)

        stub = reflection_pb2_grpc.ServerReflectionStub(program.api().channel)
        stream = stub.ServerReflectionInfo(requests(), timeout=30)
        assert next(stream).list_services_response.service
        begun = time.monotonic()
        try:
            assert 0 == program.terminate()
            taken = time.monotonic() - begun
        finally:
            over.set()
    assert 0.5 <= taken <= 0.5 + _UNWINDING_SECONDS


def test_ends_in_time_with_a_hung_store(tmp_path: Path, store: StoreServer) -> None:
    """A store that hangs does not keep the sidecar from ending: its callers get the grace period and no more."""
    store.start()
    grace = {"SIDECAR_SHUTDOWN_GRACE": "1s"}
    with SidecarProgram(tmp_path / "sidecar", arguments=["--redis", store.url], environ=grace) as program:
        api = program.api()
        api.cache.Set(cache_pb2.SetRequest(cache="default", key="k", value=b"v"), timeout=30)
        store.pause()
        under_way = api.cache.Get.future(cache_pb2.GetRequest(cache="default", key="k"), timeout=30)
        begun = time.monotonic()
        assert 0 == program.terminate()
        assert time.monotonic() - begun <= 1 + _UNWINDING_SECONDS
        assert grpc.StatusCode.OK != under_way.code()


def test_second_signal_does_no_harm(program: SidecarProgram) -> None:
    """Impatience changes nothing: the sidecar still ends in order."""
    program.start()
    program.signal(signal.SIGTERM)
    program.signal(signal.SIGINT)
    program.signal(signal.SIGTERM)
    assert 0 == program.wait()
    assert "Traceback" not in program.errors


@pytest.mark.parametrize("number", _SIGNALS)
def test_signal_during_start_up(program: SidecarProgram, number: signal.Signals) -> None:
    """A signal that comes while the embedded store is started ends the sidecar once there is something to stop."""
    program.spawn()
    wait_until((program.state / "embedded" / "lock").exists, "the sidecar has begun to start its store")
    program.signal(number)
    assert 0 == program.wait()
    assert "Traceback" not in program.errors


@pytest.mark.parametrize("number", _SIGNALS)
def test_signal_before_start_up(program: SidecarProgram, number: signal.Signals) -> None:
    """A signal that comes before there is anything to stop ends the sidecar at once, without a traceback of its own."""
    program.spawn()

    def has_ended() -> bool:
        # Python's own start-up may swallow an interrupt: what it runs from .pth files forgives every exception.
        program.signal(number)
        try:
            return program.wait(0.05) != 0
        except subprocess.TimeoutExpired:
            return False

    wait_until(has_ended, "the sidecar has ended")
    assert not (program.state / "embedded").exists()
