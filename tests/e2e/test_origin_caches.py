"""Caches with an application as their origin, from the settings to what callers in Python see."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client import Outcome, PreconditionError, SidecarClient, SidecarError, UnavailableError, if_absent
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2
from support.api import Api
from support.contract import refusal
from support.origin_service import OriginApplication
from support.programs import SidecarProgram

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from pathlib import Path

    from support.servers import StoreServer

CONFIG = """
tenant: {tenant}
listen: ["{address}"]
origins:
  ledger: {{kind: service, address: "{ledger}", breaker: {{failures: 1000}}}}
caches:
  plain: {{}}
  balances:
    {{strategy: read_through, origin: {{name: ledger}}, ttl: 1s, fail_safe_for: 1h, negative_ttl: 1m}}
  accounts: {{strategy: write_through, origin: {{name: ledger}}, ttl: 5m}}
limits: {{max_concurrent_calls: 20}}
"""


@pytest.fixture
async def ledger() -> AsyncIterator[OriginApplication]:
    """Return the application."""
    async with OriginApplication() as serving:
        yield serving


@pytest.fixture
async def sidecar(
    lasting_store: StoreServer, tmp_path: Path, ledger: OriginApplication
) -> AsyncIterator[SidecarClient]:
    """Return a client of a sidecar beside it."""
    config = CONFIG.format(tenant=f"t{secrets.token_hex(4)}", address="{address}", ledger=ledger.address)
    program = SidecarProgram(tmp_path / "sidecar", config=config, arguments=["--redis", lasting_store.url])
    await asyncio.to_thread(program.start)
    async with SidecarClient(program.address, timeout=10.0) as client:
        yield client
    await asyncio.to_thread(program.stop)


async def never() -> bytes:
    """Be called by nobody."""
    raise AssertionError("a caller was told to load")


async def never_many(_: Sequence[str]) -> dict[str, bytes | str | None]:
    """Be called by nobody."""
    raise AssertionError("a caller was told to load")


async def test_callers_only_read(sidecar: SidecarClient, ledger: OriginApplication) -> None:
    """One entry, several, or by a program that would load them itself; they are told what comes from the origin."""
    ledger.put("a", b"1")
    ledger.put("b", b"2")
    cache = sidecar.cache("balances")
    with Api(sidecar.address) as api:
        request = cache_pb2.GetRequest(cache="balances", key="a")
        first, second = [await asyncio.to_thread(api.cache.Get, request) for _ in range(2)]
    assert (common_pb2.SOURCE_ORIGIN, common_pb2.SOURCE_STORE) == (first.source, second.source)
    many = await cache.get_many(["b", "none"])
    loaded = [await cache.get_or_load("b", never), await cache.get_or_load("none", never)]
    loaded_many = await cache.get_or_load_many(["a", "none"], never_many)
    hits = [first.value, many["b"].value, loaded[0].value, loaded_many["a"].value]
    misses = [many["none"].hit, loaded[1].hit, loaded_many["none"].hit]
    assert ([b"1", b"2", b"2", b"1"], [False] * 3) == (hits, misses)
    assert ["Load", "LoadMany"] == ledger.methods()[:2]


async def test_what_is_kept_is_served_while_the_origin_fails(sidecar: SidecarClient, ledger: OriginApplication) -> None:
    """As stale; without anything kept there is an error."""
    ledger.put("kept", b"1")
    cache = sidecar.cache("balances")
    await cache.get("kept")
    ledger.failures["Load"] = grpc.StatusCode.UNAVAILABLE
    await asyncio.sleep(1.05)
    kept = await cache.get("kept")
    with pytest.raises(UnavailableError) as caught:
        await cache.get("unknown")
    assert (Outcome.STALE, b"1", "ORIGIN_UNAVAILABLE") == (kept.outcome, kept.value, caught.value.reason)


async def test_writes_go_to_the_origin(sidecar: SidecarClient, ledger: OriginApplication) -> None:
    """One or several; what it refuses is not in the cache either."""
    cache = sidecar.cache("accounts")
    await cache.set("a", b"1")
    await cache.set_many({"b": b"2", "c": b"3"})
    await cache.delete("c")
    ledger.failures["Store"] = grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(PreconditionError) as caught:
        await cache.set("a", b"9")
    found = await cache.get_many(["a", "b"])
    assert ({"a": b"1", "b": b"2"}, "ORIGIN_REFUSED") == (
        {key: entry.value for key, entry in ledger.entries.items()},
        caught.value.reason,
    )
    assert [b"1", b"2"] == [found[key].value for key in ("a", "b")]


async def test_what_these_caches_do_not_do_is_refused(sidecar: SidecarClient) -> None:
    """Records, leases, and in a write-through cache conditions, counters and other TTLs."""
    accounts = sidecar.cache("accounts")
    refused = [
        sidecar.records("balances").get("k"),
        accounts.set("k", b"v", condition=if_absent()),
        accounts.increment("k"),
        accounts.touch("k"),
    ]
    reasons = [await reason_of(each) for each in refused]
    with Api(sidecar.address) as api:
        request = cache_pb2.FillRequest(cache="balances", key="k", token="0" * 32, value=b"v")
        reasons.append((await asyncio.to_thread(refusal, lambda: api.cache.Fill(request))).reason)
    assert ["UNSUPPORTED_BY_CACHE"] * 5 == reasons


async def reason_of(failing: Awaitable[object]) -> str:
    """Return how something fails that must."""
    with pytest.raises(SidecarError) as caught:
        await failing
    return caught.value.reason


async def test_who_waits_for_the_origin_keeps_nobody_out(sidecar: SidecarClient, ledger: OriginApplication) -> None:
    """Though more wait than calls may be in flight."""
    ledger.put("slow", b"1")
    ledger.delay = 1.0
    cache = sidecar.cache("balances")
    waiting = []
    for _ in range(5):
        waiting += [asyncio.create_task(cache.get("slow")) for _ in range(10)]
        await asyncio.sleep(0.1)
    beside = await sidecar.cache("plain").get("k")
    found = await asyncio.gather(*waiting)
    assert (False, {b"1"}, ["Load"]) == (beside.hit, {one.value for one in found}, ledger.methods())
