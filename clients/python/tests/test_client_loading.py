"""`get_or_load`: what the client makes of each answer, and what it tells the sidecar of a load."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import duration_pb2
from played_sidecar import Play, Refusal
from sidecar_client import DeadlineExceededError, InvalidRequestError, Outcome, SidecarClient
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2

if TYPE_CHECKING:
    from sidecar_client import Cache

LEASE = cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_LEASE, token="t")  # noqa: S106 (no password)
OLD = cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_STALE, value=b"old")
LEASE_BESIDE_OLD = cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_LEASE, token="t", entry=OLD)  # noqa: S106
FILLED = cache_pb2.FillResponse(version=7, ttl=duration_pb2.Duration(seconds=30))


@pytest.fixture
def cache(sidecar: SidecarClient) -> Cache:
    """Return a cache."""
    return sidecar.cache("balances")


async def origin() -> bytes:
    """Load a value."""
    return b"new"


async def broken_origin() -> bytes:
    """Fail."""
    raise OSError("the origin is gone")


async def empty_origin() -> None:
    """Have nothing."""


async def test_what_is_there_is_not_loaded(play: Play, cache: Cache) -> None:
    """Fresh or stale; in the latter case another loads it."""
    for outcome, entry in (
        (cache_pb2.LOAD_OUTCOME_HIT, cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_HIT, value=b"v")),
        (cache_pb2.LOAD_OUTCOME_STALE, OLD),
    ):
        play.answer(cache_pb2.GetOrLoadResponse(outcome=outcome, entry=entry))
        assert entry.value == (await cache.get_or_load("k", broken_origin)).value


async def test_who_has_the_lease_loads_and_fills(play: Play, cache: Cache) -> None:
    """With its token, and the TTL that was asked for."""
    play.answer(LEASE, FILLED)
    found = await cache.get_or_load("k", origin, ttl=30)
    assert (True, b"new", 7, 30.0) == (found.hit, found.value, found.version, found.ttl and found.ttl.total_seconds())
    expected = cache_pb2.FillRequest(cache="balances", key="k", token="t", value=b"new")  # noqa: S106 (no password)
    expected.ttl.FromSeconds(30)
    assert expected == play.received[1].request


async def test_what_the_origin_does_not_have_is_a_miss(play: Play, cache: Cache) -> None:
    """The sidecar is told so, and the next hears it from there."""
    play.answer(LEASE, cache_pb2.FillResponse(), cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_ABSENT))
    outcomes = [(await cache.get_or_load("k", empty_origin)).outcome for _ in range(2)]
    assert ([Outcome.MISS] * 2, True) == (outcomes, play.received[1].request.absent)


async def test_a_load_that_fails_is_ended(play: Play, cache: Cache) -> None:
    """What it raised is raised, and another may load at once."""
    play.answer(LEASE_BESIDE_OLD, cache_pb2.FillResponse())
    with pytest.raises(OSError, match="gone"):
        await cache.get_or_load("k", broken_origin)
    assert play.received[1].request.failed


async def test_a_load_that_is_cancelled_is_ended(play: Play, cache: Cache) -> None:
    """As one that fails."""
    play.answer(LEASE, cache_pb2.FillResponse())
    begun = asyncio.Event()

    async def endless_origin() -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    loading = asyncio.create_task(cache.get_or_load("k", endless_origin))
    await begun.wait()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert play.received[1].request.failed


@pytest.mark.parametrize(("lease", "value"), [(LEASE_BESIDE_OLD, b"old"), (LEASE, None)])
async def test_what_is_stale_stands_in_for_a_broken_origin_if_asked_to(
    play: Play, cache: Cache, lease: cache_pb2.GetOrLoadResponse, value: bytes | None
) -> None:
    """And if there is something."""
    play.answer(lease, cache_pb2.FillResponse())
    if value is None:
        with pytest.raises(OSError, match="gone"):
            await cache.get_or_load("k", broken_origin, stale_if_error=True)
    else:
        assert value == (await cache.get_or_load("k", broken_origin, stale_if_error=True)).value


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(code=grpc.StatusCode.FAILED_PRECONDITION, reason="LEASE_UNKNOWN"),
        Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE"),
    ],
)
async def test_a_value_that_cannot_be_stored_is_returned(play: Play, cache: Cache, refusal: Refusal) -> None:
    """It has been loaded; the cache's trouble is not the caller's."""
    play.answer(LEASE, refusal)
    assert b"new" == (await cache.get_or_load("k", origin)).value


async def test_a_value_that_is_wrong_is_an_error(play: Play, cache: Cache) -> None:
    """It would be loaded each time, unnoticed; and others need not wait for what will not come."""
    refusal = Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, reason="VALUE_TOO_LARGE")
    play.answer(LEASE, refusal, cache_pb2.FillResponse())
    with pytest.raises(InvalidRequestError):
        await cache.get_or_load("k", origin)
    assert play.received[2].request.failed


async def test_who_waits_asks_again(play: Play, cache: Cache) -> None:
    """A call may have a shorter deadline than the caller has patience."""
    wait = cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_WAIT)
    play.answer(wait, LEASE, FILLED)
    assert b"new" == (await cache.get_or_load("k", origin)).value


async def test_waiting_has_an_end(play: Play, cache: Cache) -> None:
    """With the time after which it is worth asking again."""
    wait = cache_pb2.GetOrLoadResponse(
        outcome=cache_pb2.LOAD_OUTCOME_WAIT, retry_after=duration_pb2.Duration(seconds=2)
    )
    play.answer(wait)
    with pytest.raises(DeadlineExceededError) as caught:
        await cache.get_or_load("k", origin, wait=0)
    assert ("LOAD_PENDING", 2.0) == (
        caught.value.reason,
        caught.value.retry_after and caught.value.retry_after.total_seconds(),
    )
