"""TLS to a PostgreSQL, by what its URL says: alike for origins and for events."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from support.certificates import make_certificate
from support.origins import call_within, gate_policy, made, said
from support.postgres import PostgresServer

from sidecar.events.counters import EventCounters, EventMetrics
from sidecar.events.handling import EventPolicy, Handling
from sidecar.events.payload import json_fields
from sidecar.events.postgres import PostgresPolicy, PostgresSource
from sidecar.origins.policies import DatabasePolicy
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from sidecar.events.rules import Effect

    Speaking = Callable[[str, PostgresServer], Awaitable[bool]]
    """Says whether something can speak to a database by a URL, and does so by an encrypted connection."""

ENCRYPTED = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename IS NOT NULL"


class Refused(logging.Handler):
    """Hears that a database cannot be listened to."""

    def __init__(self) -> None:
        super().__init__()
        self.said = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of the log."""
        if "cannot be listened to" in record.getMessage():
            self.said.set()


@pytest.fixture(scope="module")
def own_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate that is its own authority, `cert.pem`, and its key."""
    folder = tmp_path_factory.mktemp("authority")
    make_certificate(folder)
    return folder


@pytest.fixture(scope="module")
def server(postgres_template: None, own_authority: Path) -> Iterator[PostgresServer]:  # noqa: ARG001 (it outlives this)
    """Return a server that speaks TLS by that certificate."""
    made_server = PostgresServer(["ssl=on", "ssl_cert_file=../cert.pem", "ssl_key_file=../key.pem"])
    for name in ("cert.pem", "key.pem"):
        copy = made_server.folder / name
        copy.write_bytes((own_authority / name).read_bytes())
        copy.chmod(0o600)
        made_server._runner.give(copy)
    made_server.start()
    yield made_server
    made_server.stop()


async def as_origin(url: str, server: PostgresServer) -> bool:
    """Load a value."""
    statement = "SELECT k AS key, 'v' AS value FROM unnest(:keys::text[]) k"
    thing = made(DatabasePolicy(gate=gate_policy(), url=url), {"load": statement})
    try:
        answers = said(await thing.origin.load(["a"], call_within()))
        return answers == [b"v"] and await is_encrypted(server)
    finally:
        await thing.origins.close()


async def as_event(url: str, server: PostgresServer) -> bool:
    """Listen to a channel."""

    async def nothing(_effect: Effect) -> None:
        raise AssertionError("nobody notifies")

    policy = EventPolicy(name="posted", rules=(), gap_caches=(), ignored_caches=(), whole_caches=())
    handling = Handling(policy, nothing, EventCounters(EventMetrics(Metrics()), "posted"))
    source = PostgresSource(handling, PostgresPolicy(url=url, channels=["posted"]), read=json_fields)
    log, refused = logging.getLogger("sidecar.events"), Refused()
    log.addHandler(refused)
    source.start()
    ends = [asyncio.ensure_future(event.wait()) for event in (source.up, refused.said)]
    try:
        await asyncio.wait(ends, timeout=30.0, return_when=asyncio.FIRST_COMPLETED)
        return source.up.is_set() and await is_encrypted(server)
    finally:
        log.removeHandler(refused)
        for end in ends:
            end.cancel()
        await source.close()


async def is_encrypted(server: PostgresServer) -> bool:
    """Say whether the server sees a client whose connection is encrypted."""
    return ["0"] != (await asyncio.to_thread(server.query, ENCRYPTED))[0]


@pytest.mark.parametrize("speaking", [as_origin, as_event])
async def test_the_url_says_whom_to_trust(
    server: PostgresServer, own_authority: Path, tmp_path: Path, speaking: Speaking
) -> None:
    """By `sslmode` and `sslrootcert`: the server's own authority is trusted, another is not."""
    make_certificate(tmp_path)
    strict = f"{server.url()}?sslmode=verify-full&sslrootcert="
    assert await speaking(f"{strict}{own_authority}/cert.pem", server)
    assert not await speaking(f"{strict}{tmp_path}/cert.pem", server)


@pytest.mark.parametrize("speaking", [as_origin, as_event])
async def test_a_server_without_tls_is_not_spoken_to_where_it_is_wanted(
    shared_postgres: PostgresServer, tmp_path: Path, speaking: Speaking
) -> None:
    """Nothing is sent to it in the clear."""
    make_certificate(tmp_path)
    url = f"{shared_postgres.url()}?sslmode=verify-full&sslrootcert={tmp_path}/cert.pem"
    assert not await speaking(url, shared_postgres)
