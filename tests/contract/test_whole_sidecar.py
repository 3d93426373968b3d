"""A sidecar as a whole: where it listens, what it says of itself, and that a failed start leaves nothing behind."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sidecar_client.gen.sidecar.v1 import cache_pb2, cache_pb2_grpc
from support.sidecars import RunningSidecar

from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import StoreServer


@pytest.fixture
def own(server: StoreServer, engine: str, tmp_path: Path) -> Iterator[RunningSidecar]:
    """Return a sidecar with a port, a Unix socket and a metrics page."""
    sidecar = RunningSidecar(server.url, engine=engine, socket_path=tmp_path / "s", metrics=True)
    sidecar.start()
    yield sidecar
    sidecar.stop()


def test_both_listeners_serve_the_same(own: RunningSidecar) -> None:
    """What was set by the port is read by the socket."""
    cache_pb2_grpc.CacheServiceStub(own.channel()).Set(cache_pb2.SetRequest(cache="plain", key="k", value=b"v"))
    by_socket = cache_pb2_grpc.CacheServiceStub(own.channel(own.socket_address))
    assert b"v" == by_socket.Get(cache_pb2.GetRequest(cache="plain", key="k")).value


def test_the_metrics_page_counts_calls(own: RunningSidecar) -> None:
    """Hits and misses are told apart by cache."""
    stub = cache_pb2_grpc.CacheServiceStub(own.channel())
    for _ in range(3):
        stub.Get(cache_pb2.GetRequest(cache="plain", key="k"))
    with urllib.request.urlopen(f"http://{own.metrics_address}/metrics") as page:
        lines = page.read().decode().splitlines()
    assert 'sidecar_cache_reads_total{cache="plain",outcome="miss"} 3' in [line.removesuffix(".0") for line in lines]


def test_it_says_what_is_not_safe(own: RunningSidecar) -> None:
    """A store without password and encryption is worth a warning each."""
    assert (True, True) == (
        any("not encrypted" in warning for warning in own.warnings),
        any("without a password" in warning for warning in own.warnings),
    )


def test_a_taken_port_is_one_clear_error(own: RunningSidecar, server: StoreServer, engine: str) -> None:
    """A second sidecar on the same port does not start; the first goes on."""
    second = RunningSidecar(server.url, engine=engine, overrides={"listen": [own.address]})
    with pytest.raises(StartupError, match=own.address):
        second.start()
    first = health_pb2_grpc.HealthStub(own.channel()).Check(health_pb2.HealthCheckRequest())
    assert health_pb2.HealthCheckResponse.SERVING == first.status


def test_a_failed_start_leaves_no_connection_behind(own: RunningSidecar, server: StoreServer, engine: str) -> None:
    """What had been started is stopped again, last first."""
    overrides = {"listen": [own.address], "store.client_name": "failed"}
    with pytest.raises(StartupError):
        RunningSidecar(server.url, engine=engine, overrides=overrides).start()
    names = {client["name"] for client in server.oracle().client_list()}
    assert "failed" not in names


def test_a_key_encryption_key_that_is_missing_is_one_clear_error(server: StoreServer, engine: str) -> None:
    """Without it nothing could be sealed."""
    overrides = {"encryption.keys": [{"env": "NO_SUCH_KEY"}]}
    with pytest.raises(StartupError, match="NO_SUCH_KEY"):
        RunningSidecar(server.url, engine=engine, overrides=overrides).start()
