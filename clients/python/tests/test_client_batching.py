"""What `auto_batch=True` sends, and that its callers cannot tell."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import duration_pb2
from played_sidecar import Refusal
from sidecar_client import (
    DeadlineExceededError,
    InvalidRequestError,
    OutcomeUnknownError,
    OverloadedError,
    RetryPolicy,
    SidecarClient,
    SidecarError,
    UnavailableError,
    new_idempotency_key,
)
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2
from sidecar_client.gen.sidecar.v1 import pipeline_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from played_sidecar import Play

Code = grpc.StatusCode
HIT = common_pb2.OUTCOME_HIT
DOWN = Refusal(code=Code.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after_ms=1)
NO_SERVICE = Refusal(code=Code.UNIMPLEMENTED, reason="METHOD_UNKNOWN")


@pytest.fixture
async def sidecar(play: Play) -> AsyncIterator[SidecarClient]:
    """Open a client that gathers calls, and repeats none that fail."""
    async with SidecarClient(play.address, auto_batch=True, timeout=30, retries=RetryPolicy(max_attempts=1)) as client:
        yield client


def hit(value: bytes) -> pb.OperationResult:
    """Return the result of a Get."""
    return pb.OperationResult(get=cache_pb2.GetResponse(outcome=HIT, value=value))


def failed(code: grpc.StatusCode, reason: str, **rest: Any) -> pb.OperationResult:
    """Return the failure of an operation."""
    failure = common_pb2.Failure(code=code.value[0], reason=f"ERROR_REASON_{reason}", message="no luck", **rest)
    return pb.OperationResult(failure=failure)


def answer(*results: pb.OperationResult) -> pb.ExecuteResponse:
    """Return the answer to a batch."""
    return pb.ExecuteResponse(results=results)


def misses(count: int) -> pb.ExecuteResponse:
    """Return the answer to a batch of Gets of nothing."""
    return answer(*[hit(b"")] * count)


async def hang() -> pb.ExecuteResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return answer()


def kinds(request: Any) -> list[str]:
    """Return what a batch asks for."""
    return [operation.WhichOneof("request") for operation in request.operations]


class TestGathering:
    """Which calls travel together."""

    async def test_the_calls_of_one_turn_leave_together(self, play: Play, sidecar: SidecarClient) -> None:
        """In the order in which they were made, and each has its own answer."""
        play.answer(answer(hit(b"1"), hit(b"2"), hit(b"3")))
        cache = sidecar.cache("default")
        found = await asyncio.gather(*(cache.get(key) for key in "abc"))
        operations = play.received[0].request.operations
        assert [("default", key) for key in "abc"] == [(one.get.cache, one.get.key) for one in operations]
        assert ([lookup.value for lookup in found], len(play.received)) == ([b"1", b"2", b"3"], 1)

    async def test_calls_of_all_kinds_do(self, play: Play, sidecar: SidecarClient) -> None:
        """Whatever is about one key of a cache of values or of a rate limit."""
        applied = common_pb2.WRITE_OUTCOME_APPLIED
        play.answer(
            answer(
                pb.OperationResult(set=cache_pb2.SetResponse(outcome=applied, version=7)),
                pb.OperationResult(delete=cache_pb2.DeleteResponse(outcome=applied)),
                pb.OperationResult(touch=cache_pb2.TouchResponse(outcome=applied, version=8)),
                pb.OperationResult(increment=cache_pb2.IncrementResponse(value=9)),
                pb.OperationResult(check=rate_limit_pb2.CheckResponse(allowed=True, remaining=3)),
                pb.OperationResult(peek=rate_limit_pb2.PeekResponse(allowed=False)),
                pb.OperationResult(reset=rate_limit_pb2.ResetResponse(existed=True)),
            )
        )
        cache, limit = sidecar.cache("default"), sidecar.limit("api")
        calls: list[Awaitable[Any]] = [
            cache.set("k", "v"), cache.delete("k"), cache.touch("k"), cache.increment("k"), limit.check("k"),
            limit.peek("k"), limit.reset("k"),
        ]  # fmt: skip
        written, deleted, touched, counted, checked, peeked, existed = await asyncio.gather(*calls)
        assert (written.version, deleted.applied, touched.version, counted.value) == (7, True, 8, 9)
        assert (checked.allowed, checked.remaining, peeked.allowed, existed) == (True, 3, False, True)
        expected = ["set", "delete", "touch", "increment", "check", "peek", "reset"]
        assert expected == kinds(play.received[0].request)

    async def test_a_lone_call_goes_as_itself(self, play: Play, sidecar: SidecarClient) -> None:
        """There is nothing to gain from a batch of one."""
        play.answer(cache_pb2.GetResponse(outcome=HIT, value=b"v"))
        found = await sidecar.cache("default").get("k")
        assert (b"v", cache_pb2.GetRequest) == (found.value, type(play.received[0].request))

    async def test_calls_of_many_keys_and_of_records_go_as_themselves(self, play: Play, sidecar: SidecarClient) -> None:
        """They are batches already, or no operations of a pipeline."""
        play.answer(cache_pb2.GetManyResponse(), cache_pb2.GetManyResponse())
        cache = sidecar.cache("default")
        await asyncio.gather(cache.get_many(["a"]), cache.get_many(["b"]))
        assert [cache_pb2.GetManyRequest] * 2 == [type(call.request) for call in play.received]

    async def test_many_calls_leave_in_several_parts(self, play: Play, sidecar: SidecarClient) -> None:
        """Of about the same size, so that none is left alone."""
        play.answer(misses(65), misses(65))
        cache = sidecar.cache("default")
        await asyncio.gather(*(cache.get(f"k{number}") for number in range(130)))
        assert [len(call.request.operations) for call in play.received] == [65, 65]

    async def test_large_requests_leave_in_several_parts(self, play: Play, sidecar: SidecarClient) -> None:
        """No message is larger than the smallest that a sidecar may be told to take; a larger call goes alone."""
        applied = cache_pb2.SetResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED)
        both = answer(pb.OperationResult(set=applied), pb.OperationResult(set=applied))

        async def either() -> Any:
            request = play.received[-1].request
            return both if isinstance(request, pb.ExecuteRequest) else applied

        play.answer(either, either, either)
        cache = sidecar.cache("default")
        await asyncio.gather(*(cache.set("k", bytes(size)) for size in (20_000, 20_000, 100_000, 20_000, 20_000)))
        assert max(call.request.ByteSize() for call in play.received) < 100_100
        assert [len(call.request.operations) for call in play.received if call.request.ByteSize() < 64 * 1024] == [2, 2]

    async def test_a_sidecar_that_takes_fewer_is_sent_fewer(self, play: Play, sidecar: SidecarClient) -> None:
        """BATCH_SIZE says how many; the calls are sent again, and from then on never so many."""
        play.answer(
            Refusal(code=Code.INVALID_ARGUMENT, reason="BATCH_SIZE", metadata={"max_keys": "3"}),
            misses(3), misses(3), misses(2), misses(2),
        )  # fmt: skip
        cache = sidecar.cache("default")
        await asyncio.gather(*(cache.get(f"k{number}") for number in range(6)))
        await asyncio.gather(*(cache.get(f"k{number}") for number in range(4)))
        assert [len(call.request.operations) for call in play.received] == [6, 3, 3, 2, 2]


class TestErrors:
    """What callers get to see is what their call alone would have ended with."""

    async def test_a_failure_is_the_calls_own_error(self, play: Play, sidecar: SidecarClient) -> None:
        """Class, reason, code, field, metadata and wait; the others have their answers."""
        play.answer(
            answer(
                hit(b"1"),
                failed(Code.INVALID_ARGUMENT, "TTL_TOO_LONG", field="ttl", metadata={"max_ttl_ms": "9"}),
                failed(Code.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after=duration_pb2.Duration(seconds=2)),
                failed(Code.UNKNOWN, "OUTCOME_UNKNOWN"),
            )
        )
        cache = sidecar.cache("default")
        found, wrong, down, unknown = await asyncio.gather(
            *(cache.get(key) for key in "abcd"), return_exceptions=True
        )  # fmt: skip
        assert not isinstance(found, BaseException)
        assert isinstance(wrong, InvalidRequestError)
        assert isinstance(down, UnavailableError)
        assert isinstance(unknown, OutcomeUnknownError)
        assert (
            found.value,
            wrong.field,
            wrong.metadata,
            wrong.message,
        ) == (b"1", "ttl", {"max_ttl_ms": "9"}, "no luck")
        assert down.retry_after is not None
        assert (down.retry_after.total_seconds(), wrong.code) == (2, Code.INVALID_ARGUMENT)

    async def test_a_batchs_failure_is_each_calls_own(self, play: Play, sidecar: SidecarClient) -> None:
        """No two callers share an exception, whose traceback would grow with each."""
        play.answer(Refusal(code=Code.RESOURCE_EXHAUSTED, reason="OVERLOADED", retry_after_ms=5))
        cache = sidecar.cache("default")
        errors = await asyncio.gather(cache.get("a"), cache.get("b"), return_exceptions=True)
        assert [OverloadedError, OverloadedError] == [type(error) for error in errors]
        assert errors[0] is not errors[1]

    async def test_an_answer_too_large_for_company_is_asked_for_alone(self, play: Play, sidecar: SidecarClient) -> None:
        """A call alone would have had room."""
        large = cache_pb2.GetResponse(outcome=HIT, value=b"large")
        play.answer(answer(hit(b"1"), failed(Code.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE")), large)
        cache = sidecar.cache("default")
        found = await asyncio.gather(cache.get("a"), cache.get("b"))
        assert [lookup.value for lookup in found] == [b"1", b"large"]

    async def test_a_sidecar_without_the_service_is_called_one_by_one(
        self, play: Play, sidecar: SidecarClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is older than the client: nothing fails, a warning says so once, and it is not asked again."""
        miss = cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_MISS)
        play.answer(NO_SERVICE, miss, miss, miss, miss)
        cache = sidecar.cache("default")
        with caplog.at_level(logging.WARNING, logger="sidecar_client"):
            for _ in range(2):
                await asyncio.gather(cache.get("a"), cache.get("b"))
        assert [pb.ExecuteRequest] + [cache_pb2.GetRequest] * 4 == [type(call.request) for call in play.received]
        assert ["PipelineService" in record.message for record in caplog.records] == [True]


class TestRepeating:
    """Which calls are sent again: the same as without batches."""

    @pytest.fixture
    async def patient(self, play: Play) -> AsyncIterator[SidecarClient]:
        """Open a client that repeats calls."""
        async with SidecarClient(play.address, auto_batch=True, timeout=30) as client:
            yield client

    async def test_after_a_failed_batch_each_call_has_its_own_rule(self, play: Play, patient: SidecarClient) -> None:
        """The reads and the write with a key are sent again, the plain write and the check are not."""
        repeated: list[str] = []

        async def again() -> Any:
            request = play.received[-1].request
            applied = cache_pb2.SetResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED)
            own: dict[str, Any] = {
                "get": cache_pb2.GetResponse(outcome=HIT, value=b"v"), "set": applied,
            }  # fmt: skip
            if not isinstance(request, pb.ExecuteRequest):
                kind = "get" if isinstance(request, cache_pb2.GetRequest) else "set"
                repeated.append(kind)
                return own[kind]
            repeated.extend(kinds(request))
            return answer(*(pb.OperationResult(**{kind: own[kind]}) for kind in kinds(request)))

        play.answer(DOWN, again, again, again)
        cache = patient.cache("default")
        results = await asyncio.gather(
            cache.get("a"), cache.set("b", "v"), cache.set("c", "v", idempotency_key=new_idempotency_key()),
            patient.limit("api").check("d"), cache.get("e"), return_exceptions=True,
        )  # fmt: skip
        failures = [isinstance(result, UnavailableError) for result in results]
        assert (failures, sorted(repeated)) == ([False, True, False, True, False], ["get", "get", "set"])

    async def test_one_failed_operation_is_sent_again_without_the_others(
        self, play: Play, patient: SidecarClient
    ) -> None:
        """The others have their answers already."""
        one_down = failed(Code.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after=duration_pb2.Duration(nanos=1000))
        play.answer(answer(hit(b"1"), one_down), cache_pb2.GetResponse(outcome=HIT, value=b"2"))
        cache = patient.cache("default")
        found = await asyncio.gather(cache.get("a"), cache.get("b"))
        assert ([lookup.value for lookup in found], play.received[1].request.key) == ([b"1", b"2"], "b")


class TestDeadlines:
    """Each call has its own, also in company."""

    async def test_a_batch_has_the_latest(self, play: Play, sidecar: SidecarClient) -> None:
        """None of its calls is cut short."""
        play.answer(misses(2))
        cache = sidecar.cache("default")
        await asyncio.gather(cache.get("a", timeout=40), cache.get("b", timeout=60))
        assert 45 < play.received[0].remaining_s < 62

    async def test_an_earlier_one_ends_its_call_alone(self, play: Play, sidecar: SidecarClient) -> None:
        """At its time, as a timeout; the other call goes on and has its answer."""
        gate = asyncio.Event()

        async def wait() -> pb.ExecuteResponse:
            await gate.wait()
            return answer(hit(b"1"), hit(b"2"))

        play.answer(wait)
        cache = sidecar.cache("default")
        later = asyncio.create_task(cache.get("b", timeout=1.98))
        begun = time.monotonic()
        with pytest.raises(DeadlineExceededError) as caught:
            await cache.get("a", timeout=1.05)
        late = time.monotonic() - begun - 1.05
        gate.set()
        assert ((await later).value, -0.01 < late < 0.8) == (b"2", True)
        assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")

    async def test_deadlines_far_apart_do_not_share_a_batch(self, play: Play, sidecar: SidecarClient) -> None:
        """The sidecar would work for a call long after its caller has gone."""
        play.answer(misses(2), misses(2))
        cache = sidecar.cache("default")
        await asyncio.gather(*(cache.get(f"k{timeout}", timeout=timeout) for timeout in (20, 100, 30.5, 110)))
        assert sorted([float(one.get.key[1:]) for one in call.request.operations] for call in play.received) == [
            [20, 30.5],
            [100, 110],
        ]

    async def test_all_end_when_nothing_comes(self, play: Play, sidecar: SidecarClient) -> None:
        """Each by its deadline."""
        play.answer(hang)
        cache = sidecar.cache("default")
        errors = await asyncio.gather(*(cache.get(key, timeout=0.2) for key in "ab"), return_exceptions=True)
        assert [DeadlineExceededError] * 2 == [type(error) for error in errors]


class TestLeaving:
    """Callers who are cancelled."""

    async def test_one_who_leaves_does_not_disturb_the_others(self, play: Play, sidecar: SidecarClient) -> None:
        """Before the batch is sent, or while it is under way."""
        arrived, gate = asyncio.Event(), asyncio.Event()

        async def wait() -> pb.ExecuteResponse:
            arrived.set()
            await gate.wait()
            return answer(hit(b"b"), hit(b"c"), hit(b"d"))

        play.answer(wait)
        cache = sidecar.cache("default")
        early, *calls = (asyncio.create_task(cache.get(key)) for key in "abcd")
        await asyncio.sleep(0)
        early.cancel()
        await arrived.wait()
        calls[1].cancel()
        gate.set()
        results = await asyncio.gather(early, *calls, return_exceptions=True)
        left = [isinstance(result, asyncio.CancelledError) for result in results]
        values = [result.value for result in results if not isinstance(result, BaseException)]
        assert (left, values) == ([True, False, True, False], [b"b", b"d"])

    async def test_when_the_last_one_leaves_the_batch_is_cancelled(self, play: Play, sidecar: SidecarClient) -> None:
        """The sidecar need not work for nobody."""
        arrived, ended = asyncio.Event(), asyncio.Event()

        async def wait() -> pb.ExecuteResponse:
            arrived.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return answer()

        play.answer(wait)
        cache = sidecar.cache("default")
        calls = [asyncio.create_task(cache.get(key)) for key in "ab"]
        await arrived.wait()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.wait_for(ended.wait(), 30)


class TestClosing:
    """The end of a client."""

    async def test_calls_under_way_are_answered(self, play: Play) -> None:
        """Those that wait for the end of the turn, too; later ones are refused."""

        async def late() -> pb.ExecuteResponse:
            await asyncio.sleep(0.05)
            return answer(hit(b"1"), hit(b"2"))

        play.answer(late)
        async with SidecarClient(play.address, auto_batch=True, timeout=30) as client:
            cache = client.cache("default")
            calls = [asyncio.create_task(cache.get(key)) for key in "ab"]
            await asyncio.sleep(0)
        assert [lookup.value for lookup in await asyncio.gather(*calls)] == [b"1", b"2"]
        with pytest.raises(RuntimeError, match="closed"):
            await cache.get("c")

    async def test_it_can_be_opened_again(self, play: Play) -> None:
        """With a channel, and a queue, of its own."""
        client = SidecarClient(play.address, auto_batch=True, timeout=30)
        for _ in range(2):
            play.answer(misses(2))
            async with client:
                cache = client.cache("default")
                await asyncio.gather(cache.get("a"), cache.get("b"))
        assert len(play.received) == 2

    async def test_a_channel_that_is_closed_underneath_ends_the_calls(self, play: Play, sidecar: SidecarClient) -> None:
        """Nobody waits for ever."""
        arrived = asyncio.Event()

        async def wait() -> pb.ExecuteResponse:
            arrived.set()
            return await hang()

        play.answer(wait)
        cache = sidecar.cache("default")
        calls = [asyncio.create_task(cache.get(key)) for key in "ab"]
        await arrived.wait()
        await sidecar.channel.close()
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
        assert all(isinstance(result, SidecarError | asyncio.CancelledError) for result in results)
