"""Tokens of writes that give no value: a read with one, beside another sidecar with copies, knows of the write."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, pipeline_pb2
from support.contract import Contract, milliseconds
from support.origin_service import OriginApplication
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.servers import StoreServer

# The bound is long, so that a copy that is out of date would be used for as long as nothing is heard of the store.
CONFIG = """
tenant: {tenant}
origins: {{ledger: {{kind: service, address: "{address}"}}}}
caches:
  plain: {{ttl: 5m, l1: {{admission: all, max_staleness: 30s}}}}
  raw: {{format: raw, key_prefix: "{tenant}:"}}
  written: {{strategy: write_through, origin: {{name: ledger}}, ttl: 5m, l1: {{admission: all, max_staleness: 30s}}}}
"""
ROUNDS = 30
MISS = common_pb2.OUTCOME_MISS
Two = tuple[Contract, Contract]


@pytest.fixture
async def two(shared_store: StoreServer, engine: str, tmp_path: Path) -> AsyncIterator[Two]:
    """Return the services of two sidecars with near caches, beside an origin."""
    async with OriginApplication() as application:
        config = tmp_path / "sidecar.yaml"
        config.write_text(CONFIG.format(tenant=f"t{secrets.token_hex(4)}", address=application.address))
        sidecars = [RunningSidecar(shared_store.url, engine=engine, config=config) for _ in range(2)]
        for sidecar in sidecars:
            await asyncio.to_thread(sidecar.start)
        with Contract(sidecars[0], shared_store) as one, Contract(sidecars[1], shared_store) as other:
            yield one, other
        for sidecar in sidecars:
            await asyncio.to_thread(sidecar.stop)


def look(api: Contract, cache: str, token: str = "") -> pb.GetResponse:
    """Read the entry."""
    return api.cache.Get(pb.GetRequest(cache=cache, key="k", token=token))


async def test_of_an_addition(two: Two) -> None:
    """The sum is read, or a later one."""
    one, other = two

    def race() -> None:
        for number in range(1, ROUNDS):
            added = one.cache.Increment(pb.IncrementRequest(cache="plain", key="k"))
            assert (True, b"%d" % number) == (bool(added.token), look(other, "plain", added.token).value)
            look(other, "plain")

    await asyncio.to_thread(race)


async def test_of_a_new_ttl(two: Two) -> None:
    """What is read has it, though its version is the same."""
    one, other = two

    def race() -> None:
        one.cache.Set(pb.SetRequest(cache="plain", key="k", value=b"v", ttl=milliseconds(300_000)))
        for seconds in range(ROUNDS, 1, -1):
            look(other, "plain")
            touched = one.cache.Touch(pb.TouchRequest(cache="plain", key="k", ttl=milliseconds(seconds * 1000)))
            found = look(other, "plain", touched.token)
            assert seconds - 1 <= found.ttl.ToMilliseconds() / 1000 <= seconds
            assert touched.version == found.version

    await asyncio.to_thread(race)


async def test_of_what_is_removed_from_the_origin_and_from_the_cache(two: Two) -> None:
    """It is gone, by one deletion or several, also by one that may be repeated."""
    one, other = two

    def race() -> None:
        for number in range(ROUNDS):
            one.cache.Set(pb.SetRequest(cache="written", key="k", value=b"v"))
            look(other, "written")
            if number % 3 == 0:
                token = one.cache.Delete(pb.DeleteRequest(cache="written", key="k")).token
            elif number % 3 == 1:
                key = f"again-{number}"
                token = one.cache.Delete(pb.DeleteRequest(cache="written", key="k", idempotency_key=key)).token
            else:
                many = one.cache.DeleteMany(pb.DeleteManyRequest(cache="written", keys=["k"]))
                token = many.results[0].deleted.token
            assert (True, MISS) == (bool(token), look(other, "written", token).outcome)

    await asyncio.to_thread(race)


async def test_where_there_is_one_and_where_not(two: Two) -> None:
    """A call that is repeated has the same, one that found nothing has one, a raw cache has none; batches are alike."""
    one, _ = two

    def tokens() -> list[str]:
        added = [
            one.cache.Increment(pb.IncrementRequest(cache="plain", key="k", idempotency_key="i")).token
            for _ in range(2)
        ]
        touched = [
            one.cache.Touch(pb.TouchRequest(cache="plain", key="k", idempotency_key="t")).token for _ in range(2)
        ]
        operations = [
            pipeline_pb2.Operation(touch=pb.TouchRequest(cache="plain", key="none")),
            pipeline_pb2.Operation(increment=pb.IncrementRequest(cache="plain", key="k")),
        ]
        executed = one.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations)).results
        raw = one.cache.Increment(pb.IncrementRequest(cache="raw", key="k")).token
        raw += one.cache.Touch(pb.TouchRequest(cache="raw", key="k")).token
        return [*added, *touched, executed[0].touch.token, executed[1].increment.token, raw]

    added, again, touched, touched_again, nothing, of_batch, raw = await asyncio.to_thread(tokens)
    assert (added, touched, "") == (again, touched_again, raw)
    assert added < touched < nothing < of_batch
