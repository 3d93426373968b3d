"""How new an answer must be: what the client asks, and the tokens of writes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import duration_pb2
from sidecar_client import Invalidated
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2

if TYPE_CHECKING:
    from played_sidecar import Play
    from sidecar_client import Cache, SidecarClient

APPLIED = common_pb2.WRITE_OUTCOME_APPLIED


@pytest.fixture
def cache(sidecar: SidecarClient) -> Cache:
    """Return a cache."""
    return sidecar.cache("balances")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, {}),
        ({"after": "t"}, {"token": "t"}),
        ({"after": ""}, {}),
        ({"max_staleness": 0}, {"max_staleness": duration_pb2.Duration()}),
        ({"max_staleness": timedelta(milliseconds=20)}, {"max_staleness": duration_pb2.Duration(nanos=20_000_000)}),
    ],
)
async def test_what_is_asked(play: Play, cache: Cache, asked: dict[str, Any], said: dict[str, Any]) -> None:
    """Of one read, and of many."""
    play.answer(pb.GetResponse(outcome=common_pb2.OUTCOME_HIT, source=common_pb2.SOURCE_L1), pb.GetManyResponse())
    assert (await cache.get("a", **asked)).from_copy
    await cache.get_many(["a"], **asked)

    one, many = [received.request for received in play.received]
    assert pb.GetRequest(cache="balances", key="a", **said) == one
    assert pb.GetManyRequest(cache="balances", keys=["a"], **said) == many


async def test_writes_return_tokens(play: Play, cache: Cache) -> None:
    """Each in its answer."""
    play.answer(
        pb.SetResponse(outcome=APPLIED, token="1"),  # noqa: S106 (no password)
        pb.DeleteResponse(outcome=APPLIED, token="2"),  # noqa: S106 (as above)
        pb.InvalidateResponse(removed=1, token="3"),  # noqa: S106 (as above)
    )
    assert "1" == (await cache.set("a", "1")).token
    assert "2" == (await cache.delete("a")).token
    assert Invalidated(removed=1, generation=0, token="3") == await cache.invalidate(keys=["a"])  # noqa: S106 (as above)
