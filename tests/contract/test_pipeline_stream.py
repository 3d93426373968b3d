"""PipelineService.Stream: batches in, answers out as they finish."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2, error_reason_pb2
from sidecar_client.gen.sidecar.v1 import pipeline_pb2 as pb
from support.contract import Contract, milliseconds, refusal
from support.operations import get, set_, stream
from support.servers import PATIENCE_SECONDS, StoreServer
from support.sidecars import RunningSidecar
from support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST = 20
# The batches of a stream that may be under way, by the protocol's own words.
MOST_BATCHES = 16
BATCH_SIZE = error_reason_pb2.ERROR_REASON_BATCH_SIZE
PATH = "/sidecar.v1.PipelineService/Stream"


def batch(number: int, *operations: pb.Operation, timeout_ms: float | None = None) -> pb.StreamRequest:
    """Return a batch."""
    timeout = None if timeout_ms is None else milliseconds(timeout_ms)
    return pb.StreamRequest(id=number, operations=operations, timeout=timeout)


class Talk:
    """A stream whose requests a test sends one at a time."""

    def __init__(self, api: Contract, **options: Any) -> None:
        self._requests: queue.SimpleQueue[pb.StreamRequest | None] = queue.SimpleQueue()
        self.answers: Any = api.pipeline.Stream(iter(self._requests.get, None), **options)

    def send(self, request: pb.StreamRequest) -> None:
        """Send a batch."""
        self._requests.put(request)

    def half_close(self) -> None:
        """Send no more."""
        self._requests.put(None)

    def next(self) -> pb.StreamResponse:
        """Return the next answer."""
        answer: pb.StreamResponse = next(self.answers)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.answers.cancel()
        self.half_close()


class TestAnswers:
    """What comes back."""

    def test_each_batch_is_answered_by_its_id(self, api: Contract) -> None:
        """Any number is an id, zero and the largest as well."""
        keys = {number: api.key() for number in (0, 7, 2**64 - 1)}
        stream(api, *(batch(number, set_(key, b"%d" % number)) for number, key in keys.items()))
        answers = stream(api, *(batch(number, get(key), get(key)) for number, key in keys.items()))
        found = {number: [result.get.value for result in answer.results] for number, answer in answers.items()}
        assert {number: [b"%d" % number] * 2 for number in keys} == found

    def test_an_answer_comes_while_the_stream_is_open(self, api: Contract, key: str) -> None:
        """Nobody has to half-close to hear it."""
        with Talk(api) as talk:
            talk.send(batch(1, set_(key, b"v"), get(key)))
            first = talk.next()
            talk.send(batch(2, get(key)))
            assert (b"v", b"v") == (first.results[1].get.value, talk.next().results[0].get.value)

    def test_an_id_may_come_twice(self, api: Contract, key: str) -> None:
        """It is the caller's, and means nothing to the sidecar."""
        answers = [answer.id for answer in api.pipeline.Stream(iter([batch(5, get(key)), batch(5, get(key))]))]
        assert [5, 5] == answers

    def test_a_stream_of_nothing_ends_well(self, api: Contract) -> None:
        """No batches, no answers, OK."""
        assert {} == stream(api)

    def test_what_is_under_way_is_answered_after_a_half_close(self, api: Contract, key: str) -> None:
        """All of many, though the caller has long said its last word."""
        answers = stream(api, *(batch(number, *(get(key) for _ in range(MOST))) for number in range(200)))
        assert (set(range(200)), {MOST}) == (set(answers), {len(answer.results) for answer in answers.values()})


class TestRefusals:
    """A batch that is wrong as a whole fails by itself; the stream goes on."""

    @pytest.mark.parametrize("size", [0, MOST + 1])
    def test_the_size(self, api: Contract, key: str, size: int) -> None:
        """BATCH_SIZE by id, and the batches around it are carried out."""
        answers = stream(api, batch(1, set_(key, b"v")), batch(2, *[get(key)] * size), batch(3, get(key)))
        failure = answers[2].failure
        assert (BATCH_SIZE, "operations", 0) == (failure.reason, failure.field, len(answers[2].results))
        assert [1, 1] == [len(answers[number].results) for number in (1, 3)]

    @pytest.mark.parametrize("timeout_ms", [0, -5])
    def test_a_timeout_that_has_passed(self, api: Contract, key: str, timeout_ms: float) -> None:
        """DEADLINE_EXCEEDED, and nothing was done."""
        answers = stream(api, batch(1, set_(key, b"v"), timeout_ms=timeout_ms), batch(2, get(f"{key}-no")))
        expected = error_reason_pb2.ERROR_REASON_DEADLINE_EXCEEDED
        assert (expected, {}) == (answers[1].failure.reason, api.snapshot(key))
        assert not answers[2].HasField("failure")

    def test_one_bad_operation_is_not_the_batchs_failure(self, api: Contract, key: str) -> None:
        """It has a result of its own."""
        answer = stream(api, batch(1, get(""), get(key)))[1]
        assert (False, ["failure", "get"]) == (
            answer.HasField("failure"),
            [result.WhichOneof("result") for result in answer.results],
        )

    def test_bytes_that_are_no_message_end_the_stream(self, api: Contract) -> None:
        """They have no id to answer to."""
        call: Any = api.channel.stream_stream(PATH, request_serializer=None, response_deserializer=None)
        refused = refusal(lambda: list(call(iter([b"\xff"]), timeout=PATIENCE_SECONDS)))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED", "") == refused.brief


@contextmanager
def own_sidecar(folder: Path, engine: str, overrides: dict[str, Any]) -> Iterator[Contract]:
    """Return a sidecar over a store of its own, which a test may hurt."""
    server = StoreServer("valkey", folder)
    server.start()
    sidecar = RunningSidecar(server.url, engine=engine, overrides=overrides)
    sidecar.start()
    with Contract(sidecar, server) as made:
        yield made
    server.resume()
    sidecar.stop()
    server.stop()


class TestBounds:
    """How much a stream may have under way, and for how long."""

    def test_a_caller_who_does_not_read_is_not_read_from(self, api: Contract, key: str) -> None:
        """The sidecar stops taking batches, carries out none of the rest, and goes on when answers are taken."""
        value = b"x" * 30_000
        api.cache.Set(cache_pb2.SetRequest(cache="plain", key=key, value=value))
        many = 400
        taken = 0

        def batches() -> Iterator[pb.StreamRequest]:
            nonlocal taken
            for number in range(many):
                taken += 1
                yield batch(number, get(key), get(key), get(key), set_(f"{key}-{number}", b"v" * 20_000))

        answers = api.pipeline.Stream(batches(), timeout=60)
        next(answers)
        still, before = 0, -1
        until = time.monotonic() + PATIENCE_SECONDS
        while still < 20 and time.monotonic() < until:
            still, before = (still + 1, taken) if taken == before else (0, taken)
            time.sleep(0.01)
        written = sum(1 for _ in api.oracle.scan_iter(f"*{key}-*", count=10_000))
        assert written < many // 2
        assert many - 1 == sum(1 for _ in answers)

    def test_a_batch_has_its_own_timeout(self, tmp_path: Path, engine: str) -> None:
        """When the store hangs, the batch ends with its timeout, the default of the others is later."""
        with own_sidecar(tmp_path, engine, {"store.reply_timeout": "1m"}) as own:
            own.server.pause()
            with Talk(own, timeout=PATIENCE_SECONDS) as talk:
                watch = Stopwatch()
                talk.send(batch(1, get("k"), get("l"), timeout_ms=100))
                answer = talk.next()
                earliest, latest = watch.wall_seconds, watch.seconds
            own.server.resume()
            reasons = {result.failure.reason for result in answer.results}
            assert {error_reason_pb2.ERROR_REASON_DEADLINE_EXCEEDED} == reasons
            assert (True, True) == (earliest > 0.09, latest < 0.35)

    def test_a_batch_without_one_has_the_default(self, tmp_path: Path, engine: str) -> None:
        """`limits.default_deadline`, though the stream itself has no deadline."""
        limits = {"store.reply_timeout": "1m", "limits.default_deadline": "150ms"}
        with own_sidecar(tmp_path, engine, limits) as own:
            own.server.pause()
            with Talk(own) as talk:
                talk.send(batch(1, get("k")))
                answer = talk.next()
                talk.send(batch(2, get("k")))
                again = talk.next()
            own.server.resume()
            expected = error_reason_pb2.ERROR_REASON_DEADLINE_EXCEEDED
            assert [expected, expected] == [one.results[0].failure.reason for one in (answer, again)]

    def test_a_batch_is_a_call_in_flight(self, tmp_path: Path, engine: str) -> None:
        """Beyond `limits.max_concurrent_calls` a batch is refused, by id, with a wait; an idle stream takes no room."""
        limits = {"store.reply_timeout": "1m", "limits.max_concurrent_calls": 2}
        with own_sidecar(tmp_path, engine, limits) as own, Talk(own) as talk, Talk(own) as idle:
            idle.send(batch(9, get("k")))
            idle.next()
            own.server.pause()
            for number in range(4):
                talk.send(batch(number, get("k")))
            refused = [talk.next() for _ in range(2)]
            own.server.resume()
            done = [talk.next() for _ in range(2)]
            talk.send(batch(4, get("k")))
            after = talk.next()
            assert {error_reason_pb2.ERROR_REASON_OVERLOADED} == {answer.failure.reason for answer in refused}
            assert all(answer.failure.HasField("retry_after") for answer in refused)
            assert [1, 1, 1] == [len(answer.results) for answer in (*done, after)]


class TestEnds:
    """How a stream ends early."""

    def test_a_caller_who_leaves_leaves_nothing_behind(self, api: Contract, key: str) -> None:
        """Neither a task nor a place among the calls in flight."""
        admission = api.sidecar._app._admission
        for _ in range(20):
            with Talk(api) as talk:
                for number in range(2 * MOST_BATCHES):
                    talk.send(batch(number, *[get(key)] * MOST))
                talk.next()
        until = time.monotonic() + PATIENCE_SECONDS
        while admission._in_flight and time.monotonic() < until:
            time.sleep(0.01)
        assert (0, MOST) == (admission._in_flight, len(stream(api, batch(1, *[get(key)] * MOST))[1].results))

    def test_the_callers_deadline_ends_it(self, api: Contract) -> None:
        """DEADLINE_EXCEEDED, as of any call."""
        with Talk(api, timeout=0.2) as talk:
            refused = refusal(talk.next)
        assert grpc.StatusCode.DEADLINE_EXCEEDED == refused.code

    def test_streams_do_not_disturb_each_other(self, api: Contract, key: str) -> None:
        """Of many at once, each gets its own answers."""
        wrong: list[int] = []

        def talk(number: int) -> None:
            name = f"{key}-{number}"
            written = stream(api, *(batch(index, set_(f"{name}-{index}", b"%d" % number)) for index in range(30)))
            found = stream(api, *(batch(index, get(f"{name}-{index}")) for index in range(30)))
            if len(written) < 30 or {b"%d" % number} != {answer.results[0].get.value for answer in found.values()}:
                wrong.append(number)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [] == wrong
