"""`sidecar write-behind`, against the service of a cache whose origin refuses some things."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.programs import run_sidecar
from support.write_behind import CACHE, PLAIN, Ledger, running, some_call

from sidecar.cache.catalog import Caches
from sidecar.cache.policy import Limits
from sidecar.call import MethodTable
from sidecar.errors import Reason, SidecarError
from sidecar.interceptors.chain import build_endpoint
from sidecar.interceptors.errors import ErrorInterceptor
from sidecar.rpc.methods import methods_of
from sidecar.rpc.status import to_status
from sidecar.rpc.write_behind import SERVICE, WriteBehindServicer
from sidecar.server.engine import EnginePolicy, Listener
from sidecar.server.fast_engine import FastEngine
from sidecar.store.address import StoreAddress
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.servers import StoreServer
    from support.write_behind import Rig

    Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def store_kind() -> str:
    """Return one kind of store: what differs between kinds is tested elsewhere."""
    return "valkey"


@asynccontextmanager
async def served(server: StoreServer, ledger: Ledger) -> AsyncIterator[tuple[Rig, Run]]:
    """Return a cache, and what runs a command against its service."""
    pool = Pool(StoreAddress(host="127.0.0.1", port=server.port), PoolPolicy(connections=1), PoolCounters(Metrics()))
    pool.start()
    async with running(StandaloneStore(pool), ledger) as rig:
        methods = methods_of(SERVICE, WriteBehindServicer(rig.behind, Caches({}, {}, {}, {}, inspections={}), Limits()))
        interceptors = [ErrorInterceptor(to_status)]
        table = MethodTable(
            endpoints={method.path: build_endpoint(method, interceptors) for method in methods},
            unknown=to_status(SidecarError(Reason.METHOD_UNKNOWN, "there is no such method")),
        )
        engine = FastEngine(table, [Listener(address="127.0.0.1:0")], EnginePolicy())
        await engine.start()

        async def run(command: str, *arguments: str) -> tuple[int, str, str]:
            ended = await asyncio.to_thread(
                run_sidecar, "write-behind", command, CACHE, *arguments, "--address", engine.addresses[0]
            )
            return ended.returncode, ended.stdout, ended.stderr

        yield rig, run
        await engine.stop(0.0)
    await pool.close()


async def test_dead_letters_from_a_shell(server: StoreServer) -> None:
    """They are listed without what may be personal, replayed, and discarded."""
    ledger = Ledger(refuse=lambda _: Reason.ORIGIN_REFUSED)
    async with served(server, ledger) as (rig, run):
        await rig.values.set("ada", b"value", PLAIN, some_call())
        await rig.values.set("bob", b"value", PLAIN, some_call())
        assert (0, "the origin has all of it\n", "") == await run("flush", "--timeout", "5")
        code, listed, _ = await run("dead-letters")
        _, named, _ = await run("dead-letters", "--keys")
        assert (0, 2, False) == (code, listed.count("ORIGIN_REFUSED"), "ada" in listed or "value" in listed)
        letters = {line.split()[-1].strip("'"): line.split()[0] for line in named.splitlines()}
        ledger.refuse = lambda _: None
        assert (0, "replayed 1\n", "") == await run("replay", letters["ada"])
        await rig.settled()
        code, told, why = await run("replay", "0.1-1")
        assert (1, "replayed 0\n", "0.1-1: there is no such dead letter\n") == (code, told, why)
        assert (0, "discarded 1\n", "") == await run("discard", "--all")
        code, status, _ = await run("status")
    assert (0, ["pending       0", "lag           0.000 s", "dead letters  0"]) == (code, status.splitlines()[:3])
    assert {"ada": b"value"} == ledger.values


async def test_what_is_wrong_is_said_in_a_line(server: StoreServer) -> None:
    """With code 2, or 1 where time was too short."""
    ledger = Ledger(refuse=lambda _: Reason.ORIGIN_UNAVAILABLE)
    async with served(server, ledger) as (rig, run):
        await rig.values.set("k", b"v", PLAIN, some_call())
        assert (1, "pending 1\n", "") == await run("flush", "--timeout", "0.5")
        code, told, why = await run("replay")
    assert (2, "", 1, True) == (code, told, len(why.splitlines()), "INVALID_ARGUMENT" in why)
