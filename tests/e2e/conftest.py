"""Sidecars that several tests share, each a program of its own, and a store that tests can look into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.programs import HOSPITAL, SidecarProgram
from support.servers import StoreServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.api import Api


@pytest.fixture(scope="session")
def shared_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarProgram]:
    """Return the hospital's sidecar over an embedded Valkey; tests must not hurt it."""
    with SidecarProgram(tmp_path_factory.mktemp("shared-sidecar"), config=HOSPITAL) as program:
        yield program


@pytest.fixture(scope="session")
def sidecar_address(shared_sidecar: SidecarProgram) -> str:
    """Return where that sidecar listens."""
    return shared_sidecar.address


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreServer]:
    """Return a store of this test's own, not started yet."""
    server = StoreServer("valkey", tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def lasting_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Return a running store for all tests of a file."""
    server = StoreServer("valkey", tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def oracle(lasting_store: StoreServer) -> Any:  # redis-py's types are those of text and bytes at once
    """Return a client of another make, which sees what is really in that store."""
    return lasting_store.oracle()


@pytest.fixture(scope="module")
def lasting_sidecar(tmp_path_factory: pytest.TempPathFactory, lasting_store: StoreServer) -> Iterator[SidecarProgram]:
    """Return the hospital's sidecar over that store."""
    folder = tmp_path_factory.mktemp("sidecar")
    with SidecarProgram(folder, config=HOSPITAL, arguments=["--redis", lasting_store.url]) as program:
        yield program


@pytest.fixture
def api(lasting_sidecar: SidecarProgram) -> Iterator[Api]:
    """Return stubs for that sidecar."""
    with lasting_sidecar.api() as made:
        yield made
