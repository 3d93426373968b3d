"""What the client sends, and what it makes of answers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import duration_pb2
from played_sidecar import Refusal, serve_play
from sidecar_client import (
    BatchError,
    Check,
    DeadlineExceededError,
    Decision,
    Enforcement,
    Item,
    LimitStatus,
    Lookup,
    Outcome,
    SidecarClient,
    UnavailableError,
    if_absent,
    if_present,
    if_version,
    new_idempotency_key,
)
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2, record_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from played_sidecar import Play
    from sidecar_client import Condition

MISS = cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_MISS)
APPLIED = cache_pb2.SetResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED, version=1)


async def hang() -> cache_pb2.GetResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return MISS


async def test_a_call_has_a_deadline_of_a_second(play: Play) -> None:
    """Nobody waits for ever who did not think of a timeout."""
    play.answer(MISS)
    async with SidecarClient(play.address) as sidecar:
        await sidecar.cache("default").get("k")
    assert 0 < play.received[0].remaining_s < 1.1


async def test_a_client_may_have_its_own_deadline(play: Play) -> None:
    """It holds for every call that names none."""
    play.answer(MISS)
    async with SidecarClient(play.address, timeout=timedelta(seconds=30)) as sidecar:
        await sidecar.cache("default").get("k")
    assert 20 < play.received[0].remaining_s < 31


async def test_a_call_may_have_its_own_deadline(play: Play, sidecar: SidecarClient) -> None:
    """It replaces the client's."""
    play.answer(MISS)
    await sidecar.cache("default").get("k", timeout=60)
    assert 50 < play.received[0].remaining_s < 62


async def test_a_passed_deadline_is_a_timeout_error(play: Play, sidecar: SidecarClient) -> None:
    """`except TimeoutError` catches it, and it says which deadline it was."""
    play.answer(hang)
    with pytest.raises(TimeoutError) as caught:
        await sidecar.cache("default").get("k", timeout=0.1)
    assert isinstance(caught.value, DeadlineExceededError)
    assert caught.value.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("seconds", [0, -1.0, timedelta(0)])
async def test_a_timeout_must_be_positive(play: Play, sidecar: SidecarClient, seconds: float | timedelta) -> None:
    """Nothing is sent with a deadline that has passed already."""
    with pytest.raises(ValueError, match="positive"):
        await sidecar.cache("default").get("k", timeout=seconds)
    assert play.received == []


async def test_nobody_there_is_unavailable() -> None:
    """A refused connection ends within the deadline, with an error that says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        async with SidecarClient(f"127.0.0.1:{taken.getsockname()[1]}", timeout=30) as sidecar:
            with pytest.raises(UnavailableError) as caught:
                await sidecar.cache("default").get("k")
    assert caught.value.reason == "UNAVAILABLE"


@asynccontextmanager
async def serving(play: Play, address: str) -> AsyncIterator[None]:
    """Serve a play at an address of the test's own."""
    server = grpc.aio.server()
    serve_play(play, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


async def test_a_new_client_does_not_wait_for_anothers_sake(tmp_path: Path, play: Play) -> None:
    """One that is opened when the sidecar is there again asks it, while an older one has yet to try again."""
    address = f"unix:{tmp_path / 's.sock'}"
    play.answer(rate_limit_pb2.CheckResponse(allowed=True))
    async with SidecarClient(address, timeout=30) as older:
        for _ in range(4):  # each of its attempts to connect makes it wait longer for the next
            with pytest.raises(UnavailableError):
                await older.limit("auth").check("k")
        async with serving(play, address), SidecarClient(address, timeout=30) as newer:
            assert (await newer.limit("auth").check("k")).allowed


async def test_a_unix_socket_is_an_address(tmp_path: Path, play: Play) -> None:
    """`unix:/path` reaches a sidecar that listens there."""
    address = f"unix:{tmp_path / 's.sock'}"
    play.answer(MISS)
    async with serving(play, address), SidecarClient(address, timeout=30) as sidecar:
        found = await sidecar.cache("default").get("k")
    assert not found.found


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:", "localhost:0", "h:65536", "http://h:1", "unix:s", ":1"]
)
def test_a_wrong_address_is_refused_at_once(address: str) -> None:
    """The constructor says what an address looks like."""
    with pytest.raises(ValueError, match="neither 'host:port' nor 'unix:/path'"):
        SidecarClient(address)


async def test_a_client_that_is_not_open_says_so(play: Play) -> None:
    """Before and after `async with` there is no channel."""
    client = SidecarClient(play.address)
    with pytest.raises(RuntimeError, match="not open"):
        client.cache("default")
    async with client:
        client.cache("default")
        with pytest.raises(RuntimeError, match="open already"):
            await client.__aenter__()
    with pytest.raises(RuntimeError, match="not open"):
        client.cache("default")


async def test_a_hit_is_read_with_all_its_facts(play: Play, sidecar: SidecarClient) -> None:
    """Durations become timedeltas."""
    play.answer(
        cache_pb2.GetResponse(
            outcome=common_pb2.OUTCOME_HIT,
            value=b"12.50",
            version=3,
            ttl=duration_pb2.Duration(seconds=29, nanos=500_000_000),
            age=duration_pb2.Duration(nanos=500_000_000),
        )
    )
    found = await sidecar.cache("balances").get("account:7")
    expected = Lookup(
        outcome=Outcome.HIT,
        value=b"12.50",
        version=3,
        ttl=timedelta(seconds=29.5),
        age=timedelta(seconds=0.5),
    )
    assert expected == found
    assert found.text == "12.50"


async def test_a_raw_key_may_have_neither_ttl_nor_age(play: Play, sidecar: SidecarClient) -> None:
    """What is unset on the wire is None."""
    play.answer(cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_HIT))
    assert Lookup(outcome=Outcome.HIT, value=b"") == await sidecar.cache("raw").get("k")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (common_pb2.OUTCOME_HIT, (True, False, True)),
        (common_pb2.OUTCOME_STALE, (False, True, True)),
        (common_pb2.OUTCOME_MISS, (False, False, False)),
    ],
)
async def test_a_lookup_says_hit_stale_and_found(
    play: Play, sidecar: SidecarClient, outcome: common_pb2.Outcome, expected: tuple[bool, bool, bool]
) -> None:
    """A stale value is found, but no hit."""
    play.answer(cache_pb2.GetResponse(outcome=outcome))
    found = await sidecar.cache("default").get("k")
    assert expected == (found.hit, found.stale, found.found)


async def test_a_refusal_is_not_silently_true(play: Play, sidecar: SidecarClient) -> None:
    """`if await limit.check(key):` would let everybody in, so it raises."""
    play.answer(rate_limit_pb2.CheckResponse(allowed=False))
    decision = await sidecar.limit("auth").check("k")
    with pytest.raises(TypeError, match=r"ask \.allowed"):
        bool(decision)


async def test_a_decision_has_timedeltas(play: Play, sidecar: SidecarClient) -> None:
    """Waits are ready for `asyncio.sleep(decision.retry_after.total_seconds())`."""
    play.answer(
        rate_limit_pb2.CheckResponse(
            limit=10, retry_after=duration_pb2.Duration(seconds=6), reset_after=duration_pb2.Duration(seconds=60)
        )
    )
    expected = Decision(
        allowed=False, limit=10, remaining=0, retry_after=timedelta(seconds=6), reset_after=timedelta(minutes=1)
    )
    assert expected == await sidecar.limit("auth").check("k")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (0, Enforcement.UNSPECIFIED),
        (rate_limit_pb2.ENFORCEMENT_STORE, Enforcement.STORE),
        (rate_limit_pb2.ENFORCEMENT_FAILED_OPEN, Enforcement.FAILED_OPEN),
        (rate_limit_pb2.ENFORCEMENT_FAILED_CLOSED, Enforcement.FAILED_CLOSED),
        (rate_limit_pb2.ENFORCEMENT_LOCAL_SHARE, Enforcement.LOCAL_SHARE),
        (99, Enforcement.UNSPECIFIED),
    ],
)
async def test_a_decision_says_what_it_rests_on(
    play: Play, sidecar: SidecarClient, told: rate_limit_pb2.Enforcement, expected: Enforcement
) -> None:
    """One that this client does not know yet is none; with it comes how far above the limit it may go."""
    play.answer(rate_limit_pb2.CheckResponse(enforcement=told, max_overshoot=2**64 - 1))
    decision = await sidecar.limit("auth").check("k")
    assert (expected, 2**64 - 1) == (decision.enforcement, decision.max_overshoot)


async def test_a_decision_lists_the_limits_of_its_policy(play: Play, sidecar: SidecarClient) -> None:
    """With what each of them says."""
    second = duration_pb2.Duration(seconds=1)
    told = rate_limit_pb2.LimitStatus(name="daily", limit=9, remaining=1, retry_after=second, reset_after=second)
    play.answer(rate_limit_pb2.CheckResponse(limits=[told]))
    expected = LimitStatus(
        name="daily",
        allowed=False,
        limit=9,
        remaining=1,
        retry_after=timedelta(seconds=1),
        reset_after=timedelta(seconds=1),
    )
    assert (expected,) == (await sidecar.limit("api").check("k")).limits


@pytest.mark.parametrize(
    ("all_or_nothing", "mode"),
    [(True, rate_limit_pb2.CHECK_MODE_ALL_OR_NOTHING), (False, rate_limit_pb2.CHECK_MODE_EACH)],
)
async def test_several_checks_travel_together(
    play: Play,
    sidecar: SidecarClient,
    all_or_nothing: bool,  # noqa: FBT001 (a parameter)
    mode: rate_limit_pb2.CheckMode,
) -> None:
    """Each with its policy, key and cost, and come back in their order."""
    results = [rate_limit_pb2.CheckManyResult(decision=rate_limit_pb2.CheckResponse(remaining=left)) for left in (7, 3)]
    play.answer(rate_limit_pb2.CheckManyResponse(allowed=True, results=results))
    answer = await sidecar.check_many([Check("a", "k"), Check("b", "k", cost=2)], all_or_nothing=all_or_nothing)
    sent = play.received[0].request
    assert [(check.policy, check.key, check.cost) for check in sent.checks] == [("a", "k", 1), ("b", "k", 2)]
    assert (mode, True, [7, 3]) == (sent.mode, answer.allowed, [decision.remaining for decision in answer.each])


async def test_checks_that_failed_are_raised_with_the_others_decisions(play: Play, sidecar: SidecarClient) -> None:
    """By their places."""
    failure = common_pb2.Failure(code=3, reason="ERROR_REASON_KEY_EMPTY", message="the key is empty", field="key")
    decision = rate_limit_pb2.CheckResponse(allowed=True, remaining=3)
    results = [rate_limit_pb2.CheckManyResult(failure=failure), rate_limit_pb2.CheckManyResult(decision=decision)]
    play.answer(rate_limit_pb2.CheckManyResponse(results=results))
    with pytest.raises(BatchError) as caught:
        await sidecar.check_many([Check("a", ""), Check("b", "k")], all_or_nothing=False)
    assert (caught.value.failures["0"].reason, caught.value.results["1"].remaining) == ("KEY_EMPTY", 3)


async def test_several_checks_are_never_repeated(play: Play, sidecar: SidecarClient) -> None:
    """A second time might take the costs twice."""
    play.answer(Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE"))
    with pytest.raises(UnavailableError):
        await sidecar.check_many([Check("a", "k")])
    assert len(play.received) == 1


async def test_a_cost_of_nothing_is_sent(play: Play, sidecar: SidecarClient) -> None:
    """0 is a cost of its own, not the default."""
    play.answer(rate_limit_pb2.CheckResponse(allowed=True))
    await sidecar.limit("auth").check("k", cost=0)
    assert play.received[0].request.HasField("cost")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (if_absent(), common_pb2.Condition(if_absent=True)),
        (if_present(), common_pb2.Condition(if_present=True)),
        (if_version(0), common_pb2.Condition(if_version=0)),
    ],
)
async def test_conditions_travel(
    play: Play, sidecar: SidecarClient, condition: Condition, expected: common_pb2.Condition
) -> None:
    """A condition is set on the wire even where its value is zero."""
    play.answer(APPLIED)
    await sidecar.cache("default").set("k", b"v", condition=condition)
    assert expected == play.received[0].request.condition


@pytest.mark.parametrize("ttl", [1.5, timedelta(milliseconds=1500)])
async def test_a_ttl_is_seconds_or_a_timedelta(play: Play, sidecar: SidecarClient, ttl: float | timedelta) -> None:
    """Both say the same."""
    play.answer(APPLIED)
    await sidecar.cache("default").set("k", "text", ttl=ttl)
    expected = cache_pb2.SetRequest(
        cache="default", key="k", value=b"text", ttl=duration_pb2.Duration(seconds=1, nanos=500_000_000)
    )
    assert expected == play.received[0].request


async def test_a_zero_ttl_is_left_to_the_sidecar(play: Play, sidecar: SidecarClient) -> None:
    """It is sent, and refused there; left out, the cache's own would hold."""
    play.answer(APPLIED)
    await sidecar.cache("default").set("k", b"v", ttl=0)
    assert play.received[0].request.HasField("ttl")


async def test_a_batchs_items_may_differ(play: Play, sidecar: SidecarClient) -> None:
    """An Item has a TTL and a condition of its own."""
    play.answer(cache_pb2.SetManyResponse())
    await sidecar.cache("default").set_many({"a": "1", "b": Item(b"2", ttl=2, condition=if_absent())}, ttl=1)
    expected = cache_pb2.SetManyRequest(
        cache="default",
        entries=[
            cache_pb2.SetManyEntry(key="a", value=b"1"),
            cache_pb2.SetManyEntry(
                key="b",
                value=b"2",
                ttl=duration_pb2.Duration(seconds=2),
                condition=common_pb2.Condition(if_absent=True),
            ),
        ],
        ttl=duration_pb2.Duration(seconds=1),
    )
    assert expected == play.received[0].request


async def test_a_read_mask_names_the_fields(play: Play, sidecar: SidecarClient) -> None:
    """Without one the whole record is read."""
    miss = record_pb2.GetRecordResponse(outcome=common_pb2.OUTCOME_MISS)
    play.answer(miss, miss)
    records = sidecar.records("patients")
    await records.get("k", fields=["name", "ward"])
    await records.get("k")
    assert list(play.received[0].request.read_mask.paths) == ["name", "ward"]
    assert not play.received[1].request.HasField("read_mask")


async def test_a_patch_sets_and_removes(play: Play, sidecar: SidecarClient) -> None:
    """Both travel in one request."""
    play.answer(record_pb2.PatchRecordResponse(outcome=common_pb2.WRITE_OUTCOME_NOT_FOUND))
    written = await sidecar.records("patients").patch("k", {"ward": 4}, remove=["notes"])
    expected = record_pb2.PatchRecordRequest(
        cache="patients", key="k", fields={"ward": record_pb2.FieldValue(integer=4)}, remove_fields=["notes"]
    )
    assert expected == play.received[0].request
    assert not written.applied


async def test_a_record_comes_back_as_python_values(play: Play, sidecar: SidecarClient) -> None:
    """Each kind of field has its type."""
    admitted = datetime(2026, 5, 1, 12, tzinfo=UTC)
    sent = record_pb2.FieldValue()
    sent.time.FromDatetime(admitted)
    play.answer(
        record_pb2.GetRecordResponse(
            outcome=common_pb2.OUTCOME_HIT,
            fields={"name": record_pb2.FieldValue(text="Ada"), "admitted": sent},
        )
    )
    found = await sidecar.records("patients").get("k")
    assert {"admitted": admitted, "name": "Ada"} == found.fields


def test_idempotency_keys_differ_and_fit() -> None:
    """They are unique, and within the sidecar's 128 bytes."""
    keys = [new_idempotency_key() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert max(map(len, keys)) <= 128
