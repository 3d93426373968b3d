"""A sidecar over each kind of store, on each engine, that all tests share; each test has keys of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.contract import Contract
from support.servers import KINDS, StoreServer
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES = ("grpcio", "fast")
# Each engine and each store has its turn without these pairs.
LEFT_OUT = ({"shared_store": "redis", "engine": "grpcio"}, {"shared_store": "valkey", "engine": "fast"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out two of the four pairs of engine and store, unless there is time."""
    if "SIDECAR_LONG" in os.environ:
        return
    left_out = {
        item
        for item in items
        if isinstance(item, pytest.Function) and any(pair.items() <= _parameters(item).items() for pair in LEFT_OUT)
    }
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))


def _parameters(item: pytest.Function) -> dict[str, object]:
    return dict(item.callspec.params) if hasattr(item, "callspec") else {}


@pytest.fixture(scope="session", params=KINDS)
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Return a server of either kind that outlives the test."""
    server = StoreServer(request.param, tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Return the name of each engine."""
    return str(request.param)


@pytest.fixture(scope="session")
def shared_sidecar(shared_store: StoreServer, engine: str) -> Iterator[RunningSidecar]:
    """Return a sidecar on the engine, over the store."""
    sidecar = RunningSidecar(shared_store.url, engine=engine)
    sidecar.start()
    yield sidecar
    sidecar.stop()


@pytest.fixture(scope="session")
def api(shared_sidecar: RunningSidecar, shared_store: StoreServer) -> Iterator[Contract]:
    """Return the services of the shared sidecar."""
    with Contract(shared_sidecar, shared_store) as made:
        yield made


@pytest.fixture
def key(api: Contract) -> str:
    """Return a key of this test's own."""
    return api.key()
