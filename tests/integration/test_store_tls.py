"""TLS and Unix sockets to the store."""

from __future__ import annotations

import ssl
import subprocess
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.certificates import make_certificate
from support.servers import PATIENCE_SECONDS, binary_of, free_port

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, StoreError
from sidecar.store import commands
from sidecar.store.address import StoreAddress
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """Return the TLS port of a Redis that wants a client certificate; the embedded Valkey is built without TLS."""
    make_certificate(tmp_path)
    port = free_port()
    command = [
        binary_of("redis"), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
        str(tmp_path), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    yield port
    process.terminate()
    process.wait(PATIENCE_SECONDS)


@asynccontextmanager
async def store_at(address: StoreAddress) -> AsyncIterator[StandaloneStore]:
    """Yield a store at an address."""
    pool = Pool(address, PoolPolicy(connections=1, unavailable_grace=PATIENCE_SECONDS), PoolCounters(Metrics()))
    pool.start()
    yield StandaloneStore(pool)
    await pool.close()


def a_call(seconds: float = 30.0) -> Call:
    """Return a call with that much time."""
    return Call("/test", deadline=after(seconds))


async def test_a_trusted_server_is_spoken_to(tls_port: int, tmp_path: Path) -> None:
    """With a certificate on both sides."""
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with store_at(StoreAddress(host="127.0.0.1", port=tls_port, tls=context)) as store:
        assert await store.call(commands.get(b"k"), a_call()) is None


async def test_a_server_that_is_not_trusted_is_refused(tls_port: int) -> None:
    """An unknown authority is no connection, and the caller is told so."""
    async with store_at(StoreAddress(host="127.0.0.1", port=tls_port, tls=ssl.create_default_context())) as store:
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"k"), a_call(1.0))
    assert (Reason.STORE_UNAVAILABLE, True) == (
        caught.value.reason,
        "certificate is not accepted" in caught.value.message,
    )


async def test_a_name_that_the_certificate_lacks_is_refused(tls_port: int, tmp_path: Path) -> None:
    """The server's name is checked, also when it is given apart from the host."""
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    address = StoreAddress(host="127.0.0.1", port=tls_port, tls=context, server_name="redis.example")
    async with store_at(address) as store:
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"k"), a_call(1.0))
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


@pytest.fixture
def socket_path(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the Unix socket of a server that listens nowhere else."""
    folder = tmp_path_factory.mktemp("s")
    path = folder / "s.sock"
    command = [binary_of(store_kind), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_SECONDS
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    yield path
    process.terminate()
    process.wait(PATIENCE_SECONDS)


async def test_a_unix_socket_is_spoken_to(socket_path: Path) -> None:
    """By its path."""
    async with store_at(StoreAddress(path=str(socket_path))) as store:
        assert await store.call(commands.get(b"k"), a_call()) is None
