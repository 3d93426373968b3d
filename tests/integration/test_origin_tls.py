"""Origins over TLS, of each kind: whose certificate is accepted, and what is said of one that is not."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc
import pytest
from support.certificates import Authority, Issued
from support.origin_service import OriginApplication
from support.origins import call_within, gate_policy, made, said
from support.postgres import PostgresServer
from support.resources import Resources

from sidecar.cache.origin import Change
from sidecar.errors import SidecarError
from sidecar.origins.policies import DatabasePolicy, OriginPolicy, ServicePolicy, WebPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

KINDS = ("postgres", "service", "http")
SQL = {"load": "SELECT k AS key, '1' AS value FROM unnest(:keys::text[]) k", "store": "SELECT :key, :value"}
PATHS = {"load": "/{key}", "store": "/{key}"}


class Authorities(NamedTuple):
    """The one that issues the servers' certificates, and one that nobody has heard of."""

    known: Authority
    unknown: Authority


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    """Return two authorities."""
    folder = tmp_path_factory.mktemp("authorities")
    return Authorities(Authority(folder / "known"), Authority(folder / "unknown"))


@pytest.fixture(scope="module")
def databases(postgres_template: None, authorities: Authorities) -> Iterator[dict[str, PostgresServer]]:  # noqa: ARG001
    """Return servers of PostgreSQL by their certificates."""
    issued = {"good": authorities.known.issue(), "expired": authorities.known.issue(is_expired=True)}
    servers = {name: PostgresServer() for name in issued}
    for name, server in servers.items():
        server.encrypt(*issued[name])
        server.start()
    yield servers
    for server in servers.values():
        server.stop()


@asynccontextmanager
async def application(issued: Issued) -> AsyncGenerator[int]:
    """Serve an application with a certificate."""
    pair = (issued.key.read_bytes(), issued.certificate.read_bytes())
    async with OriginApplication(credentials=grpc.ssl_server_credentials([pair])) as serving:
        serving.put("a", b"1")
        yield serving.port


@asynccontextmanager
async def web(issued: Issued) -> AsyncGenerator[int]:
    """Serve resources with a certificate."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*issued)
    async with Resources(values={"/a": b"1"}, tls=tls) as serving:
        yield serving.port


@asynccontextmanager
async def origin(
    kind: str, case: str, authorities: Authorities, databases: dict[str, PostgresServer]
) -> AsyncGenerator[OriginPolicy]:
    """Have a server of a kind; the policy's URL names `localhost` where the certificate, for 127.0.0.1, has no such."""
    expired = case == "expired"
    file = (authorities.unknown if case == "unknown" else authorities.known).file
    host = "localhost" if case == "another name" else "127.0.0.1"
    gate = gate_policy()
    if kind == "postgres":
        url = databases["expired" if expired else "good"].url().replace("127.0.0.1", host)
        yield DatabasePolicy(gate=gate, url=f"{url}?sslmode=verify-full&sslrootcert={file}")
        return
    issued = authorities.known.issue(is_expired=expired)
    if kind == "service":
        async with application(issued) as port:
            roots = file.read_bytes()
            yield ServicePolicy(gate=gate, address=f"{host}:{port}", root_certificates=roots, max_answer_bytes=1000)
        return
    async with web(issued) as port:
        yield WebPolicy(gate=gate, url=f"https://{host}:{port}", tls=ssl.create_default_context(cafile=file))


async def asked(policy: OriginPolicy) -> tuple[list[object], list[object]]:
    """Return what comes of a load and of a change: what is said of a value, the text of an error."""
    thing = made(policy, SQL if isinstance(policy, DatabasePolicy) else PATHS)
    results = (
        await thing.origin.load(["a"], call_within()),
        await thing.origin.store([Change("a", b"2")], call_within()),
    )
    await thing.origins.close()
    loaded, stored = (
        [str(one) if isinstance(one, SidecarError) else said([one])[0] for one in each] for each in results
    )
    return loaded, stored


@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_of_an_authority_that_is_trusted(
    kind: str, authorities: Authorities, databases: dict[str, PostgresServer]
) -> None:
    """Is accepted, for loads and for changes."""
    async with origin(kind, "good", authorities, databases) as policy:
        assert ([b"1"], [None]) == await asked(policy)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("unknown", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("another name", ""),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_that_is_not_accepted(
    kind: str, case: str, why: str, authorities: Authorities, databases: dict[str, PostgresServer]
) -> None:
    """Is the end of loads and of changes, and the reason is told: nothing was changed."""
    async with origin(kind, case, authorities, databases) as policy:
        loaded, stored = await asked(policy)
    ((told,), (told_of_change,)) = loaded, stored
    assert told == told_of_change
    assert str(told).startswith(f"the origin 'home' cannot be reached: its certificate is not accepted: {why}")
    assert str(told).endswith("; nothing was changed")


async def test_a_server_without_tls(shared_postgres: PostgresServer, authorities: Authorities) -> None:
    """Is not spoken to in the clear where TLS is asked for."""
    url = f"{shared_postgres.url()}?sslmode=verify-full&sslrootcert={authorities.known.file}"
    loaded, _ = await asked(DatabasePolicy(gate=gate_policy(), url=url))
    async with OriginApplication() as plain, Resources() as resources:
        roots = authorities.known.file.read_bytes()
        service, _ = await asked(
            ServicePolicy(gate=gate_policy(), address=plain.address, root_certificates=roots, max_answer_bytes=1000)
        )
        site, _ = await asked(WebPolicy(gate=gate_policy(), url=resources.url.replace("http:", "https:")))
    told = [str(one).partition("be reached: ")[2] for one in (*loaded, *service, *site)]
    assert ["it takes no TLS", "TLS failed", "TLS failed"] == [one.partition(";")[0].partition(": ")[0] for one in told]
    assert ([], []) == (plain.asked, resources.asked)
