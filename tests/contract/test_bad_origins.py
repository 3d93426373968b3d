"""Origins that fail, as callers see it: the status and reason of each way to fail, and that nothing is half done."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import duration_pb2
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, error_reason_pb2, pipeline_pb2
from support.contract import Contract, refusal
from support.origin_service import OriginApplication
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.servers import StoreServer

CONFIG = """
tenant: {tenant}
origins:
  ledger: {{kind: service, address: "{address}", timeout: {timeout}, breaker: {{failures: 1000}}}}
caches:
  read: {{strategy: read_through, origin: {{name: ledger}}, ttl: 5m, negative_ttl: 1m, load_lease: 1s}}
  tagged: {{strategy: read_through, origin: {{name: ledger}}, ttl: 5m, tags: true, load_lease: 1s}}
  written: {{strategy: write_through, origin: {{name: ledger}}, ttl: 5m, load_lease: 1s}}
limits: {{max_value_bytes: 1KiB}}
"""
MAX_BYTES = 1024
CODES = grpc.StatusCode
NEGATIVE = duration_pb2.Duration(seconds=-1)


class Home:
    """A sidecar beside an application that is the origin of its caches; calls are made in threads."""

    def __init__(self, application: OriginApplication, api: Contract, tenant: str) -> None:
        self.application = application
        self.api = api
        self.tenant = tenant

    async def refusal(self, call: Callable[[], object]) -> Any:
        """Return how a call fails."""
        return await asyncio.to_thread(refusal, call)

    def entries(self) -> dict[bytes, bytes]:
        """Return what the caches hold, and what they know not to be there."""
        oracle = self.api.oracle
        return {name: oracle.get(name) for name in oracle.scan_iter(f"sc:{self.tenant}:e:*", count=1000)}


@pytest.fixture
def patience() -> str:
    """Return the origin's time-out; a test of what is slow overrides it."""
    return "10s"


@pytest.fixture
async def home(shared_store: StoreServer, engine: str, tmp_path: Path, patience: str) -> AsyncIterator[Home]:
    """Return both, running."""
    async with OriginApplication() as application:
        tenant = f"t{secrets.token_hex(4)}"
        config = tmp_path / "sidecar.yaml"
        config.write_text(CONFIG.format(tenant=tenant, address=application.address, timeout=patience))
        sidecar = RunningSidecar(shared_store.url, engine=engine, config=config)
        await asyncio.to_thread(sidecar.start)
        with Contract(sidecar, shared_store) as api:
            yield Home(application, api, tenant)
        await asyncio.to_thread(sidecar.stop)


def reads(api: Contract, cache: str, key: str) -> list[Callable[[], object]]:
    """Return the calls that read one entry."""
    return [
        lambda: api.cache.Get(pb.GetRequest(cache=cache, key=key)),
        lambda: api.cache.GetOrLoad(pb.GetOrLoadRequest(cache=cache, key=key)),
    ]


async def failures(api: Contract, cache: str, key: str) -> list[common_pb2.Failure]:
    """Return how an entry fails as an item of each kind of batch."""
    operation = pipeline_pb2.Operation(get=pb.GetRequest(cache=cache, key=key))
    many, loaded, executed = await asyncio.gather(
        asyncio.to_thread(api.cache.GetMany, pb.GetManyRequest(cache=cache, keys=[key])),
        asyncio.to_thread(api.cache.GetOrLoadMany, pb.GetOrLoadManyRequest(cache=cache, keys=[key])),
        asyncio.to_thread(api.pipeline.Execute, pipeline_pb2.ExecuteRequest(operations=[operation])),
    )
    return [many.results[0].failure, loaded.results[0].failure, executed.results[0].failure]


def failing(code: grpc.StatusCode) -> Callable[[OriginApplication], None]:
    """Return what has loads end with a status."""
    return lambda application: application.failures.update(dict.fromkeys(("Load", "LoadMany"), code))


def having(value: bytes, **more: Any) -> Callable[[OriginApplication], None]:
    """Return what has an application have a value."""
    return lambda application: application.put("k", value, **more)


def babbling(application: OriginApplication) -> None:
    """Have an application answer with what is no message."""
    application.answers |= dict.fromkeys(("Load", "LoadMany"), b"\xff\xff")


# How the application fails, and how a read then ends.
WAYS: dict[str, tuple[Callable[[OriginApplication], None], grpc.StatusCode, str]] = {
    "refuses": (failing(CODES.PERMISSION_DENIED), CODES.FAILED_PRECONDITION, "ORIGIN_REFUSED"),
    "is out of order": (failing(CODES.INTERNAL), CODES.UNAVAILABLE, "ORIGIN_UNAVAILABLE"),
    "has no such method": (failing(CODES.UNIMPLEMENTED), CODES.UNAVAILABLE, "ORIGIN_UNAVAILABLE"),
    "answers with another message": (babbling, CODES.INTERNAL, "ORIGIN_ANSWER"),
    "has too large a value": (having(b"v" * (MAX_BYTES + 1)), CODES.INTERNAL, "ORIGIN_ANSWER"),
    "has a message that is too large": (having(b"v" * (8 << 20)), CODES.INTERNAL, "ORIGIN_ANSWER"),
    "has a TTL before now": (having(b"v", ttl=NEGATIVE), CODES.INTERNAL, "ORIGIN_ANSWER"),
    "has tags where there are none": (having(b"v", tags=["t"]), CODES.INTERNAL, "ORIGIN_ANSWER"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_an_origin_that(home: Home, way: str) -> None:
    """Has one status and one reason in all calls and batches, names itself, and leaves nothing in the cache."""
    fail, code, reason = WAYS[way]
    fail(home.application)
    refusals = [await home.refusal(call) for call in reads(home.api, "read", "k")]
    items = await failures(home.api, "read", "k")
    number = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    assert [(code, reason, "ledger")] * 2 == [(one.code, one.reason, one.metadata["origin"]) for one in refusals]
    assert [(code.value[0], number, "ledger")] * 3 == [(one.code, one.reason, one.metadata["origin"]) for one in items]
    assert {} == home.entries()
    assert not any("4711" in text for text in (*(one.message for one in refusals), *(one.message for one in items)))


async def test_an_origin_that_is_down(home: Home) -> None:
    """Says why, and when to come back; a write changes nothing. Once it is up again, both succeed."""
    home.application.put("k", b"v")
    await home.application.stop()
    refusals = [await home.refusal(call) for call in reads(home.api, "read", "k")]
    refusals.append(await home.refusal(lambda: home.api.cache.Set(pb.SetRequest(cache="written", key="k", value=b"w"))))
    items = await failures(home.api, "read", "k")
    said = "the origin 'ledger' cannot be reached: connection refused; nothing was changed"
    assert {(CODES.UNAVAILABLE, "ORIGIN_UNAVAILABLE", said)} == {
        (one.code, one.reason, one.message) for one in refusals
    }
    assert all(one.retry_after_ms for one in refusals)
    assert all(one.HasField("retry_after") for one in items)
    assert ({}, b"v") == (home.entries(), home.application.entries["k"].value)


@pytest.mark.parametrize("patience", ["200ms"])
async def test_an_origin_that_is_slow(home: Home) -> None:
    """Has timed out for a read; of a write nobody knows, and so the entry is gone."""
    await asyncio.to_thread(home.api.cache.Set, pb.SetRequest(cache="written", key="k", value=b"v"))
    held = home.entries()
    home.application.delay = 1.0
    read = await home.refusal(reads(home.api, "read", "k")[0])
    (item, *_) = await failures(home.api, "read", "k")
    write = await home.refusal(lambda: home.api.cache.Set(pb.SetRequest(cache="written", key="k", value=b"w")))
    timed_out = error_reason_pb2.ERROR_REASON_ORIGIN_TIMED_OUT
    assert (CODES.DEADLINE_EXCEEDED, "ORIGIN_TIMED_OUT") == (read.code, read.reason)
    assert (CODES.DEADLINE_EXCEEDED.value[0], timed_out) == (item.code, item.reason)
    assert (CODES.UNKNOWN, "ORIGIN_OUTCOME_UNKNOWN") == (write.code, write.reason)
    assert ({}, 1) == (home.entries(), len(held))


async def test_one_of_many_fails_alone(home: Home) -> None:
    """The others have their values, and are kept."""
    for key in ("a", "b", "c"):
        home.application.put(key, key.encode() if key != "b" else b"v" * (MAX_BYTES + 1))
    answer = await asyncio.to_thread(home.api.cache.GetMany, pb.GetManyRequest(cache="read", keys=["a", "b", "c"]))
    assert ["entry", "failure", "entry"] == [one.WhichOneof("result") for one in answer.results]
    assert [b"a", b"", b"c"] == [one.entry.value for one in answer.results]
    assert error_reason_pb2.ERROR_REASON_ORIGIN_ANSWER == answer.results[1].failure.reason
    assert {b"read:a", b"read:c"} == {name.partition(b"{")[2].rstrip(b"}") for name in home.entries()}


@pytest.mark.parametrize(
    "tags", [[""], ["a", "é" * 65], [str(number) for number in range(17)]], ids=["empty", "long", "many"]
)
async def test_tags_of_an_origin_are_bounded(home: Home, tags: list[str]) -> None:
    """As those of a caller are; but it is the origin's fault and not the caller's."""
    home.application.put("k", b"v", tags=tags)
    refused = await home.refusal(reads(home.api, "tagged", "k")[0])
    assert (CODES.INTERNAL, "ORIGIN_ANSWER", "") == refused.brief
    assert {} == home.entries()


class TestWrites:
    """Through a cache whose origin does not take them."""

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            (CODES.FAILED_PRECONDITION, (CODES.FAILED_PRECONDITION, "ORIGIN_REFUSED")),
            (CODES.UNIMPLEMENTED, (CODES.UNAVAILABLE, "ORIGIN_UNAVAILABLE")),
        ],
    )
    async def test_a_refused_one_changes_nothing(
        self, home: Home, code: grpc.StatusCode, told: tuple[grpc.StatusCode, str]
    ) -> None:
        """Neither a Set nor a Delete, here or there; the origin's word for it is told, what else it says is not."""
        await asyncio.to_thread(home.api.cache.Set, pb.SetRequest(cache="written", key="k", value=b"v"))
        before = home.entries()
        home.application.failures |= {"Store": code, "Remove": code}
        refusals = [
            await home.refusal(lambda: home.api.cache.Set(pb.SetRequest(cache="written", key="k", value=b"w"))),
            await home.refusal(lambda: home.api.cache.Delete(pb.DeleteRequest(cache="written", key="k"))),
        ]
        assert [(*told, code.name)] * 2 == [(one.code, one.reason, one.metadata["code"]) for one in refusals]
        assert (b"v", before) == (home.application.entries["k"].value, home.entries())
        assert 250_000 < home.api.oracle.pttl(*before) <= 300_000
        assert not any("4711" in one.message for one in refusals)

    async def test_of_many_each_is_told_apart(self, home: Home) -> None:
        """What was written is in both places, what was refused in neither."""
        home.application.failures["b"] = CODES.FAILED_PRECONDITION
        entries = [pb.SetManyEntry(key=key, value=key.encode()) for key in ("a", "b", "c")]
        stored = await asyncio.to_thread(home.api.cache.SetMany, pb.SetManyRequest(cache="written", entries=entries))
        held = {name.partition(b":e:{written:")[2].rstrip(b"}") for name in home.entries()}
        home.application.failures = {"c": CODES.FAILED_PRECONDITION}
        removing = pb.DeleteManyRequest(cache="written", keys=["a", "b", "c"])
        removed = await asyncio.to_thread(home.api.cache.DeleteMany, removing)
        left = {name.partition(b":e:{written:")[2].rstrip(b"}") for name in home.entries()}
        refused = error_reason_pb2.ERROR_REASON_ORIGIN_REFUSED
        assert [0, refused, 0] == [one.failure.reason for one in stored.results]
        assert [0, 0, refused] == [one.failure.reason for one in removed.results]
        assert ({b"a", b"c"}, {b"c"}, {"c"}) == (held, left, set(home.application.entries))

    async def test_what_is_wrong_never_reaches_the_origin(self, home: Home) -> None:
        """It is the caller's own, and refused as in any cache."""
        api = home.api
        condition = common_pb2.Condition(if_absent=True)
        calls: list[Callable[[], object]] = [
            lambda: api.cache.Set(pb.SetRequest(cache="written", key="", value=b"v")),
            lambda: api.cache.Set(pb.SetRequest(cache="written", key="k", value=b"v" * (MAX_BYTES + 1))),
            lambda: api.cache.Set(pb.SetRequest(cache="written", key="k", value=b"v", tags=["t"])),
            lambda: api.cache.Set(pb.SetRequest(cache="written", key="k", value=b"v", condition=condition)),
            lambda: api.cache.Touch(pb.TouchRequest(cache="written", key="k")),
            lambda: api.cache.Increment(pb.IncrementRequest(cache="written", key="k")),
            lambda: api.cache.Fill(pb.FillRequest(cache="written", key="k", token="0" * 32, value=b"v")),
        ]
        unsupported = "UNSUPPORTED_BY_CACHE"
        expected = ["KEY_EMPTY", "VALUE_TOO_LARGE", *[unsupported] * 5]
        assert expected == [(await home.refusal(call)).reason for call in calls]
        assert ([], {}) == (home.application.asked, home.entries())
