"""Fixtures for all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import uvloop
from support.servers import KINDS, StoreServer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on the loop that the sidecar runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> str:
    """Run the test on the embedded Valkey and on Debian's Redis."""
    return str(request.param)


@pytest.fixture
def server(store_kind: str, tmp_path: Path) -> Iterator[StoreServer]:
    """Return a server of this test's own, to be killed and stopped at will."""
    running = StoreServer(store_kind, tmp_path)
    running.start()
    yield running
    running.stop()
