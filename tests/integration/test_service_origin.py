"""An application as an origin, over gRPC: what it has, what it refuses, and how it fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import duration_pb2
from support.cutting_proxy import CuttingProxy
from support.origin_service import OriginApplication
from support.origins import MAX_VALUE_BYTES, Made, call_within, gate_policy, made, said
from support.servers import free_port
from support.through_caches import Process, a_call

from sidecar.cache.origin import Change, OriginValue
from sidecar.cache.policy import Strategy
from sidecar.cache.request import WriteOptions
from sidecar.errors import SidecarError
from sidecar.gen.sidecar.v1 import origin_pb2
from sidecar.origins import service
from sidecar.origins.policies import ServicePolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from sidecar.origins.gate import GatePolicy
    from sidecar.store.standalone import StandaloneStore


def origin_at(address: str, gate: GatePolicy | None = None) -> Made:
    """Return an origin whose application serves at an address."""
    return made(ServicePolicy(gate=gate or gate_policy(), address=address, max_answer_bytes=5 * MAX_VALUE_BYTES))


@pytest.fixture
async def application() -> AsyncIterator[OriginApplication]:
    """Return an application."""
    async with OriginApplication() as serving:
        yield serving


@pytest.fixture
async def home(application: OriginApplication) -> AsyncIterator[Made]:
    """Return the origin of a cache of things."""
    thing = origin_at(application.address)
    yield thing
    await thing.origins.close()


async def test_one_key_is_loaded_by_load(home: Made, application: OriginApplication) -> None:
    """With its TTL and tags, and under the cache's name."""
    application.put("a", b"1", ttl=duration_pb2.Duration(seconds=1, nanos=1), tags=["x"])
    assert [OriginValue(b"1", 1001, ("x",))] == said(await home.origin.load(["a"], call_within()))
    assert [("Load", origin_pb2.LoadRequest(cache="things", key="a"))] == application.asked


async def test_several_keys_are_loaded_by_load_many(home: Made, application: OriginApplication) -> None:
    """Each is asked for once, and answered for as often as it was wanted."""
    application.put("a", b"1")
    application.put("b", b"")
    assert [b"1", None, b"", b"1"] == said(await home.origin.load(["a", "x", "b", "a"], call_within()))
    assert [("LoadMany", origin_pb2.LoadManyRequest(cache="things", keys=["a", "x", "b"]))] == application.asked


async def test_an_application_without_load_many(home: Made, application: OriginApplication) -> None:
    """It is asked for each key by itself, and not for LoadMany again."""
    application.put("a", b"1")
    application.failures["LoadMany"] = grpc.StatusCode.UNIMPLEMENTED
    for _ in range(2):
        assert [b"1", None] == said(await home.origin.load(["a", "x"], call_within()))
    assert ["LoadMany", "Load", "Load", "Load", "Load"] == application.methods()


async def test_a_method_that_an_application_has_again_is_called_again(
    home: Made, application: OriginApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is replaced, or one of several behind its address, may have what another had not."""
    monkeypatch.setattr(service, "_LACKS_SECONDS", 0.0)
    changes = [Change("a", b"1"), Change("b", b"2")]
    application.failures = dict.fromkeys(("LoadMany", "StoreMany"), grpc.StatusCode.UNIMPLEMENTED)
    for _ in range(2):
        await home.origin.load(["a", "b"], call_within())
        await home.origin.store(changes, call_within())
        application.failures = {}
    assert ["LoadMany", "Load", "Load", "StoreMany", "Store", "Store", "LoadMany", "StoreMany"] == application.methods()


async def test_a_key_that_is_refused_is_nobody_elses(application: OriginApplication, home: Made) -> None:
    """An application that refuses LoadMany for the sake of one key is asked for the others without it."""
    keys = [f"k{number}" for number in range(200)]
    for key in keys:
        application.put(key, key.encode())
    application.failures["k77"] = grpc.StatusCode.INVALID_ARGUMENT
    application.refuses_together = True
    answers = said(await home.origin.load(keys, call_within()))
    assert [key.encode() if key != "k77" else "REFUSED INVALID_ARGUMENT" for key in keys] == answers
    assert len(application.asked) < 20


async def test_a_change_that_is_refused_is_nobody_elses(application: OriginApplication, home: Made) -> None:
    """An application that refuses StoreMany for the sake of one change is given each by itself, in their order."""
    application.failures["b"] = grpc.StatusCode.FAILED_PRECONDITION
    application.refuses_together = True
    changes = [
        Change(key, value, str(place)) for place, (key, value) in enumerate([("a", b"1"), ("b", b"2"), ("a", b"3")])
    ]
    results = said(await home.origin.store(changes, call_within()))
    assert ([None, "REFUSED FAILED_PRECONDITION", None], b"3") == (results, application.entries["a"].value)


async def test_nothing_found_is_no_error(home: Made, application: OriginApplication) -> None:
    """NOT_FOUND of Load is an answer."""
    application.failures["Load"] = grpc.StatusCode.NOT_FOUND
    assert [None] == said(await home.origin.load(["a"], call_within()))
    assert {"ok": 1} == home.outcomes()


@pytest.mark.parametrize(
    ("code", "load", "store"),
    [
        ("INVALID_ARGUMENT", "REFUSED INVALID_ARGUMENT", "REFUSED INVALID_ARGUMENT"),
        ("ALREADY_EXISTS", "REFUSED ALREADY_EXISTS", "REFUSED ALREADY_EXISTS"),
        ("PERMISSION_DENIED", "REFUSED PERMISSION_DENIED", "REFUSED PERMISSION_DENIED"),
        ("FAILED_PRECONDITION", "REFUSED FAILED_PRECONDITION", "REFUSED FAILED_PRECONDITION"),
        ("OUT_OF_RANGE", "REFUSED OUT_OF_RANGE", "REFUSED OUT_OF_RANGE"),
        ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNAVAILABLE"),
        ("ABORTED", "UNAVAILABLE", "UNAVAILABLE"),
        ("UNAVAILABLE", "UNAVAILABLE", "OUTCOME_UNKNOWN"),
        ("INTERNAL", "UNAVAILABLE", "OUTCOME_UNKNOWN"),
        ("UNKNOWN", "UNAVAILABLE", "OUTCOME_UNKNOWN"),
        ("DEADLINE_EXCEEDED", "TIMED_OUT", "OUTCOME_UNKNOWN"),
        ("UNIMPLEMENTED", "UNAVAILABLE UNIMPLEMENTED", "UNAVAILABLE UNIMPLEMENTED"),
    ],
)
async def test_what_a_status_means(
    home: Made, application: OriginApplication, code: str, load: str, store: str
) -> None:
    """A refusal is passed on with its code, and its text is not; after a store some statuses leave it open."""
    application.failures = {"Load": grpc.StatusCode[code], "Store": grpc.StatusCode[code]}
    (loaded,) = await home.origin.load(["a"], call_within())
    (stored,) = await home.origin.store([Change("a", b"1")], call_within())
    assert [load, store] == said([loaded, stored])
    assert "4711" not in f"{loaded}{stored}"


async def test_a_value_that_is_too_large(home: Made, application: OriginApplication) -> None:
    """A value over the limit is refused by itself, even where all together do not fit into a message."""
    large = b"x" * (MAX_VALUE_BYTES + 1)
    application.put("a", large)
    application.put("b", b"2")
    assert ["ANSWER", b"2"] == said(await home.origin.load(["a", "b"], call_within()))
    application.put("a", large * 20)
    assert ["ANSWER", b"2"] == said(await home.origin.load(["a", "b"], call_within()))
    assert ["LoadMany", "LoadMany", "Load", "Load"] == application.methods()


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("LoadMany", b"\xff"),
        ("LoadMany", origin_pb2.LoadManyResponse().SerializeToString()),
        (
            "LoadMany",
            origin_pb2.LoadManyResponse(
                entries=[origin_pb2.OriginEntry(present=True, ttl=duration_pb2.Duration())] * 2
            ).SerializeToString(),
        ),
    ],
)
async def test_an_answer_that_is_none(home: Made, application: OriginApplication, method: str, answer: bytes) -> None:
    """No message, too few entries, a TTL of nothing."""
    application.answers[method] = answer
    assert ["ANSWER", "ANSWER"] == said(await home.origin.load(["a", "b"], call_within()))


async def test_the_deadline_goes_with_the_call(home: Made, application: OriginApplication) -> None:
    """The application knows how long its answer is waited for: as long as the call has, or the origin's timeout."""
    await home.origin.load(["a"], call_within(3))
    await home.origin.load(["a"], call_within())
    assert [True, True] == [2 < application.deadlines[0] <= 3.1, 9 < application.deadlines[1] <= 10.1]


async def test_a_slow_application(application: OriginApplication) -> None:
    """The origin's timeout ends a load; of a store nobody knows."""
    application.delay = 30
    thing = origin_at(application.address, gate_policy(timeout=0.3))
    assert ["TIMED_OUT"] == said(await thing.origin.load(["a"], call_within()))
    assert ["OUTCOME_UNKNOWN"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
    await thing.origins.close()


async def test_an_application_that_is_not_there() -> None:
    """Loads and stores are unavailable, and nothing was changed; once it serves, they succeed."""
    application = OriginApplication()
    thing = origin_at(application.address)
    assert ["UNAVAILABLE"] == said(await thing.origin.load(["a"], call_within()))
    assert ["UNAVAILABLE"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
    async with application:
        async with asyncio.timeout(30):
            while await thing.origin.store([Change("a", b"1")], call_within()) != [None]:
                await asyncio.sleep(0.01)
        assert [b"1"] == said(await thing.origin.load(["a"], call_within()))
    await thing.origins.close()


async def test_changes_go_together(home: Made, application: OriginApplication) -> None:
    """Several by StoreMany, in their order, with what each became; one by Store or Remove."""
    application.failures["b"] = grpc.StatusCode.FAILED_PRECONDITION
    application.failures["c"] = grpc.StatusCode.UNAVAILABLE
    changes = [Change("a", b"1", "t1"), Change("b", b"2"), Change("c", b"3"), Change("d", b"4"), Change("d", None)]
    results = said(await home.origin.store(changes, call_within()))
    assert [None, "REFUSED FAILED_PRECONDITION", "UNAVAILABLE", None, None] == results
    assert ["a"] == list(application.entries)
    assert [None] == await home.origin.store([Change("a", None, "t2")], call_within())
    assert ("Remove", origin_pb2.RemoveRequest(cache="things", key="a", token="t2")) == application.asked[-1]


async def test_an_application_without_store_many(home: Made, application: OriginApplication) -> None:
    """Changes go one after the other; behind one that failed none is sent, lest it come before it."""
    application.failures = {"StoreMany": grpc.StatusCode.UNIMPLEMENTED, "b": grpc.StatusCode.ABORTED}
    changes = [Change("a", b"1"), Change("b", b"2"), Change("b", b"3")]
    assert [None, "UNAVAILABLE", "UNAVAILABLE"] == said(await home.origin.store(changes, call_within()))
    assert ["StoreMany", "Store", "Store"] == application.methods()


@pytest.mark.parametrize(("token", "result"), [("t", None), ("", "OUTCOME_UNKNOWN")])
async def test_a_store_whose_connection_is_cut(application: OriginApplication, token: str, result: str | None) -> None:
    """With a token it is sent again, and has one effect; without one nobody knows."""
    async with CuttingProxy(application.port) as proxy:
        thing = origin_at(f"127.0.0.1:{proxy.port}")
        await thing.origin.load(["x"], call_within())
        proxy.cut_at(b"what is sent", passes_on=True)
        assert [result] == said(await thing.origin.store([Change("a", b"what is sent", token)], call_within()))
        await thing.origins.close()
        assert 1 == proxy.was_cut


async def test_a_load_whose_connection_is_cut(application: OriginApplication) -> None:
    """It is sent again over another."""
    application.put("what is asked", b"1")
    async with CuttingProxy(application.port) as proxy:
        thing = origin_at(f"127.0.0.1:{proxy.port}")
        await thing.origin.load(["x"], call_within())
        proxy.cut_at(b"what is asked", passes_on=False)
        assert [b"1"] == said(await thing.origin.load(["what is asked"], call_within()))
        await thing.origins.close()


async def test_no_more_calls_than_may_be(application: OriginApplication) -> None:
    """Loads of many keys by themselves wait for each other."""
    application.failures["LoadMany"] = grpc.StatusCode.UNIMPLEMENTED
    application.delay = 0.05
    thing = origin_at(application.address, gate_policy(max_concurrency=2))
    for key in "abcd":
        application.put(key, key.encode())
    assert [b"a", b"b", b"c", b"d"] == said(await thing.origin.load(list("abcd"), call_within()))
    assert ["BUSY" in said(await thing.origin.load(list("abcdefgh"), call_within(0.12)))] == [True]
    await thing.origins.close()


async def test_the_breaker_spares_an_application_that_fails(application: OriginApplication) -> None:
    """After so many failures it is not called, until the pause is over; then it is served as ever."""
    application.failures["Load"] = grpc.StatusCode.INTERNAL
    thing = origin_at(application.address, gate_policy(failures=2, pause=0.2))
    for _ in range(5):
        assert ["UNAVAILABLE"] == said(await thing.origin.load(["a"], call_within()))
    assert 2 == len(application.asked)
    application.failures.clear()
    async with asyncio.timeout(30):
        while said(await thing.origin.load(["a"], call_within())) != [None]:
            await asyncio.sleep(0.01)
    assert {"ok": 1, "unavailable": 2} == {
        outcome: count for outcome, count in thing.outcomes().items() if outcome != "breaker_open"
    }
    await thing.origins.close()


async def test_no_application_at_all() -> None:
    """An address where nobody listens does not cost the timeout."""
    thing = origin_at(f"127.0.0.1:{free_port()}", gate_policy(timeout=30))
    async with asyncio.timeout(10):
        assert ["UNAVAILABLE", "UNAVAILABLE"] == said(await thing.origin.load(["a", "b"], call_within()))
    await thing.origins.close()


class TestHardTimeouts:
    """What becomes of a cache's loads and writes that take as long as they may."""

    @pytest.mark.parametrize("strategy", [Strategy.READ_THROUGH, Strategy.WRITE_THROUGH])
    async def test_the_breaker_hears_of_them(
        self, store: StandaloneStore, application: OriginApplication, strategy: Strategy
    ) -> None:
        """Also where the cache's time is no longer than the origin's own."""
        application.delay = 30.0
        thing = origin_at(application.address, gate_policy(timeout=0.3, failures=2, pause=60.0))
        process = Process(store, thing.origin, strategy, hard_timeout_ms=300, load_lease_ms=2_000)
        # On a busy machine not each has had a fair share of the origin's time.
        asked: Awaitable[object]
        for number in range(10):
            if strategy is Strategy.READ_THROUGH:
                asked = process.cache.get(f"k{number}", a_call())
            else:
                asked = process.cache.set(f"k{number}", b"v", WriteOptions(), a_call())
            with pytest.raises(SidecarError):
                await asked
        await thing.origins.close()
        assert thing.outcomes().get("breaker_open")

    async def test_what_was_loaded_in_time_is_kept(
        self, store: StandaloneStore, application: OriginApplication
    ) -> None:
        """Of a hundred keys that are loaded one after the other; else they would never be there."""
        keys = [f"k{number}" for number in range(100)]
        for key in keys:
            application.put(key, b"v")
        application.failures["LoadMany"] = grpc.StatusCode.UNIMPLEMENTED
        application.delay = 0.05
        thing = origin_at(application.address, gate_policy(max_concurrency=1))
        process = Process(store, thing.origin, hard_timeout_ms=1_000, load_lease_ms=5_000)
        found = await process.cache.get_many(keys, a_call())
        await thing.origins.close()
        loaded = [one for one in found if not isinstance(one, SidecarError)]
        assert 0 < len(loaded) < len(keys)
