"""The servers that the scripts are compared on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.servers import KINDS, StoreServer
from support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


_SEQUENCES = 10_000


@pytest.fixture(scope="session", params=KINDS)
def wire_kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of each server."""
    return str(request.param)


@pytest.fixture(scope="session")
def wire(wire_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Return a connection to a server of either kind that all these tests share, each on keys of its own."""
    server = StoreServer(wire_kind, tmp_path_factory.mktemp("store"))
    server.start()
    connection = Wire(server.port)
    yield connection
    connection.close()
    server.stop()


@pytest.fixture(scope="module", params=KINDS)
def kept_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Return a server of either kind for all sequences of a module, which flush it."""
    server = StoreServer(request.param, tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sequences(wire_kind: str) -> int:
    """Return how many random sequences to compare: ten thousand.

    The script and the sequences are the same on Debian's Redis, so that a tenth is to show that its Lua is, too; all of
    them with SIDECAR_LONG.
    """
    return _SEQUENCES if wire_kind == "valkey" or "SIDECAR_LONG" in os.environ else _SEQUENCES // 10
