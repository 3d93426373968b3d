"""Which failed calls the client repeats, and when."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from played_sidecar import Refusal
from sidecar_client import (
    Outcome,
    OutcomeUnknownError,
    OverloadedError,
    RetryPolicy,
    SidecarClient,
    SidecarError,
    UnavailableError,
    new_idempotency_key,
)
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2, record_pb2
from sidecar_client.retry import next_wait

if TYPE_CHECKING:
    from played_sidecar import Play

UNAVAILABLE = Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after_ms=1)
OUTCOME_UNKNOWN = Refusal(code=grpc.StatusCode.UNKNOWN, reason="OUTCOME_UNKNOWN")
MISS = cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_MISS)
APPLIED = cache_pb2.SetResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED, version=1)


async def test_a_read_is_repeated_when_the_store_is_unavailable(play: Play, sidecar: SidecarClient) -> None:
    """UNAVAILABLE passes by itself, and a read does no harm."""
    play.answer(UNAVAILABLE, MISS)
    found = await sidecar.cache("default").get("k")
    assert (found.outcome, len(play.received)) == (Outcome.MISS, 2)


async def test_a_write_without_a_key_is_not_repeated(play: Play, sidecar: SidecarClient) -> None:
    """A write may have been applied; only a key makes a second one harmless."""
    play.answer(UNAVAILABLE, APPLIED)
    with pytest.raises(UnavailableError):
        await sidecar.cache("default").set("k", b"v")
    assert len(play.received) == 1


async def test_a_write_with_a_key_is_repeated_with_the_same_key(play: Play, sidecar: SidecarClient) -> None:
    """The second attempt is the first one again, key and all."""
    play.answer(UNAVAILABLE, APPLIED)
    key = new_idempotency_key()
    await sidecar.cache("default").set("k", b"v", idempotency_key=key)
    assert [key, key] == [call.request.idempotency_key for call in play.received]


async def test_an_unknown_outcome_is_not_repeated_without_a_key(play: Play, sidecar: SidecarClient) -> None:
    """The write may have been applied: the caller has to know."""
    play.answer(OUTCOME_UNKNOWN, APPLIED)
    with pytest.raises(OutcomeUnknownError):
        await sidecar.cache("default").increment("k")
    assert len(play.received) == 1


async def test_an_unknown_outcome_is_repeated_with_a_key(play: Play, sidecar: SidecarClient) -> None:
    """With a key the sidecar tells a repetition from a second write."""
    play.answer(OUTCOME_UNKNOWN, APPLIED)
    written = await sidecar.cache("default").set("k", b"v", idempotency_key=new_idempotency_key())
    assert (written.applied, len(play.received)) == (True, 2)


async def test_a_record_is_put_again_only_with_a_key(play: Play, sidecar: SidecarClient) -> None:
    """Records follow the rule of values."""
    play.answer(UNAVAILABLE, UNAVAILABLE, record_pb2.PutRecordResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED))
    records = sidecar.records("default")
    with pytest.raises(UnavailableError):
        await records.put("k", {"a": 1})
    await records.put("k", {"a": 1}, idempotency_key=new_idempotency_key())
    assert len(play.received) == 3


async def test_a_check_is_never_repeated(play: Play, sidecar: SidecarClient) -> None:
    """A second Check may take its cost twice."""
    play.answer(UNAVAILABLE, rate_limit_pb2.CheckResponse(allowed=True))
    with pytest.raises(UnavailableError):
        await sidecar.limit("api").check("k")
    assert len(play.received) == 1


async def test_a_peek_is_repeated(play: Play, sidecar: SidecarClient) -> None:
    """Peek takes nothing."""
    play.answer(UNAVAILABLE, rate_limit_pb2.PeekResponse(allowed=True))
    decision = await sidecar.limit("api").peek("k")
    assert (decision.allowed, len(play.received)) == (True, 2)


async def test_three_attempts_are_all(play: Play, sidecar: SidecarClient) -> None:
    """What outlives three attempts is raised."""
    play.answer(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, MISS)
    with pytest.raises(UnavailableError):
        await sidecar.cache("default").get("k")
    assert len(play.received) == 3


async def test_a_wrong_request_is_not_repeated(play: Play, sidecar: SidecarClient) -> None:
    """It would be as wrong the next time."""
    play.answer(Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, reason="KEY_EMPTY"), MISS)
    with pytest.raises(SidecarError):
        await sidecar.cache("default").get("")
    assert len(play.received) == 1


async def test_a_full_store_is_not_overload(play: Play, sidecar: SidecarClient) -> None:
    """RESOURCE_EXHAUSTED alone is no reason to come again; a full store stays full."""
    play.answer(Refusal(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="STORE_OUT_OF_MEMORY", retry_after_ms=1), MISS)
    with pytest.raises(SidecarError):
        await sidecar.cache("default").get("k")
    assert len(play.received) == 1


async def test_retry_info_is_waited_for(play: Play, sidecar: SidecarClient) -> None:
    """The sidecar says how long; the client comes no sooner."""
    play.answer(Refusal(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", retry_after_ms=80), MISS)
    await sidecar.cache("default").get("k")
    first, second = play.received
    assert second.at - first.at >= 0.08


async def test_a_wait_beyond_the_deadline_is_not_begun(play: Play, sidecar: SidecarClient) -> None:
    """The error comes now, not when the deadline has passed."""
    play.answer(Refusal(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", retry_after_ms=60_000))
    began = time.monotonic()
    with pytest.raises(OverloadedError) as caught:
        await sidecar.cache("default").get("k", timeout=30)
    assert timedelta(minutes=1) == caught.value.retry_after
    assert time.monotonic() - began < 10


async def test_repetitions_share_one_deadline(play: Play, sidecar: SidecarClient) -> None:
    """Each attempt gets what the ones before have left."""
    play.answer(Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after_ms=500), MISS)
    await sidecar.cache("default").get("k", timeout=5)
    first, second = play.received
    assert second.remaining_s < first.remaining_s - 0.3


async def test_one_attempt_means_no_repetition(play: Play) -> None:
    """`RetryPolicy(max_attempts=1)` turns retries off."""
    play.answer(UNAVAILABLE, MISS)
    async with SidecarClient(play.address, timeout=30, retries=RetryPolicy(max_attempts=1)) as sidecar:
        with pytest.raises(UnavailableError):
            await sidecar.cache("default").get("k")
    assert len(play.received) == 1


async def test_a_cancelled_call_is_not_repeated(play: Play, sidecar: SidecarClient) -> None:
    """Cancellation ends the call, on both sides."""
    arrived = asyncio.Event()
    ended = asyncio.Event()

    async def hang() -> cache_pb2.GetResponse:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return MISS

    play.answer(hang, MISS)
    task = asyncio.create_task(sidecar.cache("default").get("k", timeout=30))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended.wait()
    assert len(play.received) == 1


def make_error(retry_after: timedelta | None = None) -> SidecarError:
    """Return a failure that passes by itself."""
    return UnavailableError("down", code=grpc.StatusCode.UNAVAILABLE, retry_after=retry_after)


@pytest.mark.parametrize(("attempts", "expected"), [(1, 0.05), (2, 0.1), (3, 0.2), (4, 0.4), (9, 1.0)])
def test_the_back_off_doubles_up_to_its_cap(attempts: int, expected: float) -> None:
    """With the largest draw the wait is the ceiling itself."""
    wait = next_wait(
        make_error(),
        policy=RetryPolicy(max_attempts=10),
        attempts=attempts,
        repeatable=True,
        remaining_s=60,
        draw=1.0,
    )
    assert expected == wait


def test_the_back_off_begins_at_nothing() -> None:
    """Full jitter: the smallest draw waits not at all."""
    wait = next_wait(make_error(), policy=RetryPolicy(), attempts=1, repeatable=True, remaining_s=60, draw=0.0)
    assert wait == 0.0


def test_the_drawn_time_comes_on_top_of_retry_info() -> None:
    """Callers who were told the same wait do not return together."""
    error = make_error(timedelta(milliseconds=200))
    wait = next_wait(error, policy=RetryPolicy(), attempts=1, repeatable=True, remaining_s=60, draw=0.5)
    assert wait == pytest.approx(0.225)


def test_no_attempt_at_all_is_no_policy() -> None:
    """The call itself is the first attempt."""
    with pytest.raises(ValueError, match="at least 1"):
        RetryPolicy(max_attempts=0)
