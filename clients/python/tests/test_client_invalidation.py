"""`invalidate`, and tags: what the client asks, and what it makes of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from played_sidecar import Play, Refusal
from sidecar_client import BatchError, Invalidated, SidecarClient, SidecarError
from sidecar_client.cache import Item
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, error_reason_pb2

if TYPE_CHECKING:
    from sidecar_client import Cache

LEASE = pb.GetOrLoadResponse(outcome=pb.LOAD_OUTCOME_LEASE, token="t")  # noqa: S106 (no password)


@pytest.fixture
def cache(sidecar: SidecarClient) -> Cache:
    """Return a cache."""
    return sidecar.cache("balances")


@pytest.mark.parametrize(
    ("asked", "request_"),
    [
        ({"keys": ["a", "b"]}, pb.InvalidateRequest(cache="balances", keys=pb.InvalidateKeys(keys=["a", "b"]))),
        ({"tags": iter(["a"])}, pb.InvalidateRequest(cache="balances", tags=pb.InvalidateTags(tags=["a"]))),
        ({"prefix": "a:"}, pb.InvalidateRequest(cache="balances", prefix="a:")),
        ({"everything": True}, pb.InvalidateRequest(cache="balances", all=True)),
    ],
    ids=["keys", "tags", "prefix", "everything"],
)
async def test_what_is_asked(play: Play, cache: Cache, asked: dict[str, Any], request_: pb.InvalidateRequest) -> None:
    """One thing, and the answer in the client's words."""
    play.answer(pb.InvalidateResponse(removed=3, generation=7))
    answer = await cache.invalidate(**asked)
    assert (Invalidated(removed=3, generation=7), request_) == (answer, play.received[0].request)


@pytest.mark.parametrize("asked", [{}, {"prefix": ""}, {"prefix": "a:", "everything": True}])
async def test_one_thing_at_a_time(cache: Cache, asked: dict[str, Any]) -> None:
    """And never nothing: an empty list is no whole cache."""
    with pytest.raises(ValueError, match="name one"):
        await cache.invalidate(**asked)


async def test_keys_that_were_not_removed(play: Play, cache: Cache) -> None:
    """Are told one by one."""
    failure = common_pb2.Failure(code=9, reason=error_reason_pb2.ERROR_REASON_WRONG_TYPE)
    play.answer(pb.InvalidateResponse(removed=1, failures=[pb.InvalidateFailure(key="b", failure=failure)]))
    with pytest.raises(BatchError) as caught:
        await cache.invalidate(keys=["a", "b"])
    assert (["a"], ["b"]) == (list(caught.value.results), list(caught.value.failures))


async def test_writes_carry_tags(play: Play, cache: Cache) -> None:
    """A value's own, in a batch."""
    play.answer(pb.SetResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED), pb.SetManyResponse())
    await cache.set("k", b"v", tags=["a", "b"])
    await cache.set_many({"k": Item(b"v", tags=["c"])})
    assert [["a", "b"], ["c"]] == [play.received[0].request.tags, play.received[1].request.entries[0].tags]


async def test_tags_follow_from_what_was_loaded(play: Play, cache: Cache) -> None:
    """Also from the news that there is nothing."""

    async def origin() -> bytes:
        return b"owner-7"

    async def empty_origin() -> None:
        return None

    play.answer(LEASE, pb.FillResponse(), LEASE, pb.FillResponse(), LEASE, pb.FillResponse())
    await cache.get_or_load("k", origin, tags=lambda value: [f"of {value!r}"])
    await cache.get_or_load("k", origin, tags=["a"])
    await cache.get_or_load("k", empty_origin, tags=lambda value: [f"of {value!r}"])
    assert [["of b'owner-7'"], ["a"], ["of None"]] == [play.received[number].request.tags for number in (1, 3, 5)]


async def test_tags_that_a_cache_does_not_take_are_an_error(play: Play, cache: Cache) -> None:
    """Nothing would ever be stored, unnoticed."""

    async def origin() -> bytes:
        return b"v"

    play.answer(LEASE, Refusal(code=grpc.StatusCode.FAILED_PRECONDITION, reason="UNSUPPORTED_BY_CACHE"))
    with pytest.raises(SidecarError) as caught:
        await cache.get_or_load("k", origin, tags=["a"])
    assert "UNSUPPORTED_BY_CACHE" == caught.value.reason
