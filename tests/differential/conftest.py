"""The servers that the scripts are compared on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.servers import KINDS, StoreServer
from support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", params=KINDS)
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Return a connection to a server of either kind that all these tests share, each on keys of its own."""
    server = StoreServer(request.param, tmp_path_factory.mktemp("store"))
    server.start()
    connection = Wire(server.port)
    yield connection
    connection.close()
    server.stop()
