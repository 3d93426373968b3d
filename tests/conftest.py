"""Fixtures for all tests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import uvloop
from support.postgres import Database, PostgresServer, remove_template
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


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[None]:
    """Keep what servers of PostgreSQL are copied from until the last test has ended."""
    yield
    remove_template()


@pytest.fixture(scope="session")
def shared_postgres(postgres_template: None) -> Iterator[PostgresServer]:  # noqa: ARG001 (it outlives the server)
    """Return a PostgreSQL that all tests share; none may hurt it."""
    running = PostgresServer()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def database(shared_postgres: PostgresServer) -> Database:
    """Return an empty database of this test's own."""
    name = f"test_{next(_numbers)}"
    shared_postgres.create_database(name)
    return Database(shared_postgres, name)


@pytest.fixture
def postgres(postgres_template: None) -> Iterator[PostgresServer]:  # noqa: ARG001 (it outlives the server)
    """Return a PostgreSQL of this test's own, to be killed and stopped at will."""
    running = PostgresServer()
    running.start()
    yield running
    running.stop()
