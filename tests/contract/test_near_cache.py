"""The near cache: what it answers, and what it must not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, error_reason_pb2, pipeline_pb2
from support.contract import Contract, entry_key, milliseconds, refusal
from support.metrics_page import MetricsPage
from support.programs import wait_until
from support.sidecars import RunningSidecar
from support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import StoreServer

HIT, MISS = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS
STORE, L1 = common_pb2.SOURCE_STORE, common_pb2.SOURCE_L1
TOO_LARGE = error_reason_pb2.ERROR_REASON_ANSWER_TOO_LARGE
NOT_APPLIED = common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET
CACHES = ("plain", "stale", "brief", "tagged", "passing", "both", "loaded_long", "patients", "patients_passing")
NEAR = {f"caches.{name}.l1": {"admission": "all"} for name in CACHES} | {"caches.bounded.l1": {}}
# Every cache with values that neither expire while a test runs nor are counted.
KINDS = ("plain", "tagged", "passing", "both", "patients", "patients_passing")


def near_sidecar(store: StoreServer, engine: str) -> Iterator[Contract]:
    """Yield the services of a sidecar with near caches."""
    sidecar = RunningSidecar(store.url, engine=engine, overrides=NEAR, metrics=True)
    sidecar.start()
    with Contract(sidecar, store) as made:
        yield made
    sidecar.stop()


@pytest.fixture(scope="module")
def near(shared_store: StoreServer, engine: str) -> Iterator[Contract]:
    """Return the services of a sidecar with near caches."""
    yield from near_sidecar(shared_store, engine)


@pytest.fixture(scope="module")
def other(shared_store: StoreServer, engine: str) -> Iterator[Contract]:
    """Return those of another one, over the same store."""
    yield from near_sidecar(shared_store, engine)


@pytest.fixture
def key(near: Contract) -> str:
    """Return a key of this test's own."""
    return near.key()


def put(api: Contract, cache: str, key: str, value: bytes = b"1", **more: object) -> pb.SetResponse:
    """Write an entry."""
    return api.cache.Set(pb.SetRequest(cache=cache, key=key, value=value, **more))  # type: ignore[arg-type]


def look(api: Contract, cache: str, key: str, **asked: object) -> pb.GetResponse:
    """Read an entry."""
    return api.cache.Get(pb.GetRequest(cache=cache, key=key, **asked))  # type: ignore[arg-type]


def kept(api: Contract, cache: str, key: str) -> pb.GetResponse:
    """Read an entry until it is answered by a copy, and return that."""
    wait_until(lambda: look(api, cache, key).source == L1, "a copy is there")
    return look(api, cache, key)


class TestWhatItAnswers:
    """A copy is the entry, without the store."""

    @pytest.mark.parametrize("cache", KINDS)
    def test_a_copy_is_what_the_store_has(self, near: Contract, key: str, cache: str) -> None:
        """Value, version and times, in every kind of cache."""
        put(near, cache, key, b"value")
        stored = look(near, cache, key, max_staleness=milliseconds(0))
        copy = kept(near, cache, key)

        assert (STORE, HIT, b"value") == (stored.source, stored.outcome, stored.value)
        assert (L1, HIT, b"value", stored.version) == (copy.source, copy.outcome, copy.value, copy.version)
        assert copy.ttl.ToMilliseconds() <= stored.ttl.ToMilliseconds()
        assert copy.age.ToMilliseconds() >= stored.age.ToMilliseconds()

    def test_the_store_is_not_asked(self, near: Contract, key: str) -> None:
        """Not one GET, for a thousand reads."""
        put(near, "plain", key)
        kept(near, "plain", key)
        before = near.oracle.info("commandstats")["cmdstat_get"]["calls"]
        for _ in range(1_000):
            assert L1 == look(near, "plain", key).source

        # Of a busy machine, on which it was not heard of for a second, one.
        assert near.oracle.info("commandstats")["cmdstat_get"]["calls"] - before < 10

    def test_many_are_answered_from_both(self, near: Contract, key: str) -> None:
        """Each key by itself: copies, what the store has, and what nobody has."""
        put(near, "plain", key)
        put(near, "plain", f"{key}2", b"2")
        kept(near, "plain", key)
        request = pb.GetManyRequest(cache="plain", keys=[key, f"{key}2", f"{key}3", key])
        found = [(one.entry.outcome, one.entry.value, one.entry.source) for one in near.cache.GetMany(request).results]
        again = [one.entry.source for one in near.cache.GetMany(request).results]

        assert [(HIT, b"1", L1), (HIT, b"2", STORE), (MISS, b"", 0), (HIT, b"1", L1)] == found
        assert [L1, L1, 0, L1] == again

    def test_many_are_bounded_as_ever(self, near: Contract, key: str) -> None:
        """What does not fit into the answer is refused, copy or not."""
        keys = [f"{key}{number}" for number in range(8)]
        for one in keys:
            put(near, "plain", one, bytes(30 << 10))
        many = pb.GetManyRequest(cache="plain", keys=keys)
        operations = [pipeline_pb2.Operation(get=pb.GetRequest(cache="plain", key=one)) for one in keys]
        batch = pipeline_pb2.ExecuteRequest(operations=operations)
        for _ in range(2):
            results = near.cache.GetMany(many).results
            assert ["failure", "get"] == sorted(
                {one.WhichOneof("result") for one in near.pipeline.Execute(batch).results}
            )
            assert ["entry", "failure"] == sorted({one.WhichOneof("result") for one in results})
            assert {TOO_LARGE} == {one.failure.reason for one in results if one.WhichOneof("result") == "failure"}

    @pytest.mark.parametrize("cache", ["plain", "patients"])
    def test_a_batch_of_operations_is_answered_from_it(self, near: Contract, key: str, cache: str) -> None:
        """And what it asks for often is promoted."""
        put(near, cache, key)
        operation = pipeline_pb2.Operation(get=pb.GetRequest(cache=cache, key=key))
        request = pipeline_pb2.ExecuteRequest(operations=[operation] * 3)

        def answered() -> bool:
            return {(HIT, b"1", L1)} == {
                (one.get.outcome, one.get.value, one.get.source) for one in near.pipeline.Execute(request).results
            }

        wait_until(answered, "a copy answers")

    def test_what_is_not_there_is_asked_for_each_time(self, near: Contract, other: Contract, key: str) -> None:
        """There are no copies of nothing: what was just written elsewhere is there."""
        for number in range(20):
            assert MISS == look(near, "plain", f"{key}{number}").outcome
            put(other, "plain", f"{key}{number}")
            assert HIT == look(near, "plain", f"{key}{number}").outcome

    def test_get_or_load_finds_it(self, near: Contract, key: str) -> None:
        """A hit is a hit."""
        put(near, "loaded_long", key)
        kept(near, "loaded_long", key)
        found = near.cache.GetOrLoad(pb.GetOrLoadRequest(cache="loaded_long", key=key))

        assert (pb.LOAD_OUTCOME_HIT, L1) == (found.outcome, found.entry.source)


class TestWhatItMustNot:
    """A copy is never older than it may be."""

    @pytest.mark.parametrize("cache", KINDS)
    def test_own_writes_are_known_at_once(self, near: Contract, key: str, cache: str) -> None:
        """Whoever has written through this sidecar reads that, or what came later."""
        for number in range(50):
            put(near, cache, key, b"%d" % number)
            assert b"%d" % number == look(near, cache, key).value
        near.cache.Delete(pb.DeleteRequest(cache=cache, key=key))
        assert MISS == look(near, cache, key).outcome

    def test_so_are_those_of_batches_loads_and_counts(self, near: Contract, key: str) -> None:
        """Every way to change an entry gives up its copy."""
        put(near, "loaded_long", key, b"1")
        kept(near, "loaded_long", key)
        near.cache.SetMany(pb.SetManyRequest(cache="loaded_long", entries=[pb.SetManyEntry(key=key, value=b"2")]))
        assert b"2" == kept(near, "loaded_long", key).value
        near.cache.Increment(pb.IncrementRequest(cache="loaded_long", key=key))
        assert b"3" == kept(near, "loaded_long", key).value
        near.cache.Touch(pb.TouchRequest(cache="loaded_long", key=key, ttl=milliseconds(5_000)))
        assert look(near, "loaded_long", key).ttl.ToMilliseconds() <= 5_000
        near.cache.DeleteMany(pb.DeleteManyRequest(cache="loaded_long", keys=[key]))
        lease = near.cache.GetOrLoad(pb.GetOrLoadRequest(cache="loaded_long", key=key))
        near.cache.Fill(pb.FillRequest(cache="loaded_long", key=key, token=lease.token, value=b"4"))
        assert b"4" == kept(near, "loaded_long", key).value
        operation = pipeline_pb2.Operation(set=pb.SetRequest(cache="loaded_long", key=key, value=b"5"))
        near.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=[operation]))
        assert b"5" == look(near, "loaded_long", key).value

    @pytest.mark.parametrize("cache", KINDS)
    def test_writes_by_another_sidecar_are_heard_of(
        self, near: Contract, other: Contract, key: str, cache: str
    ) -> None:
        """In no more than the bound; most often at once."""
        put(near, cache, key, b"old")
        kept(near, cache, key)
        put(other, cache, key, b"new")
        written_at = time.monotonic()
        wait_until(lambda: look(near, cache, key).value == b"new", "the write is heard of", 5)
        assert time.monotonic() - written_at < 1.5

    def test_writes_by_other_programs_are_heard_of(self, near: Contract, key: str) -> None:
        """It is the store that tells."""
        put(near, "plain", key)
        kept(near, "plain", key)
        near.oracle.delete(entry_key("plain", key))
        wait_until(lambda: look(near, "plain", key).outcome == MISS, "the deletion is heard of", 5)

    def test_a_flush_is_heard_of(self, near: Contract, key: str) -> None:
        """Nothing is left then."""
        put(near, "plain", key)
        kept(near, "plain", key)
        near.oracle.flushall()
        wait_until(lambda: look(near, "plain", key).outcome == MISS, "the flush is heard of", 5)

    @pytest.mark.parametrize("how", ["flushed", "connection_lost"])
    def test_nothing_is_kept_of_what_nobody_vouches_for(self, near: Contract, key: str, how: str) -> None:
        """Within a second there is no copy at all, and of many keys none is found after a flush."""
        names = [f"{key}:{number}" for number in range(20)]
        for name in names:
            put(near, "plain", name)
        for name in names:
            kept(near, "plain", name)
        page = str(near.sidecar.metrics_address)
        before = MetricsPage(page)("sidecar_l1_entries")
        clients = [client["id"] for client in near.oracle.client_list() if client["name"] == "sidecar:l1"]
        watch = Stopwatch()
        if how == "flushed":
            near.oracle.flushall()
        else:
            for client in clients:
                near.oracle.client_kill_filter(_id=client)
        wait_until(lambda: MetricsPage(page)("sidecar_l1_entries") == 0, "nothing is kept")
        assert (True, True) == (before >= len(names), watch.seconds < 1)
        outcome = MISS if how == "flushed" else HIT
        assert {(outcome, STORE if outcome == HIT else 0)} == {
            (answer.outcome, answer.source) for answer in (look(near, "plain", name) for name in names)
        }

    def test_a_lost_connection_is_no_reason_to_be_behind(self, near: Contract, other: Contract, key: str) -> None:
        """Nobody tells of changes then, so there are no copies; soon there is another connection."""
        put(near, "plain", key, b"old")
        kept(near, "plain", key)
        for client in near.oracle.client_list():
            if client["name"] == "sidecar:l1":
                near.oracle.client_kill_filter(_id=client["id"])
        put(other, "plain", key, b"new")
        written_at = time.monotonic()
        wait_until(lambda: look(near, "plain", key).value == b"new", "the new value is read", 5)
        assert time.monotonic() - written_at < 1.5
        assert b"new" == kept(near, "plain", key).value

    @pytest.mark.parametrize(
        ("cache", "request_"),
        [
            ("both", pb.InvalidateRequest(cache="both", all=True)),
            ("both", pb.InvalidateRequest(cache="both", prefix="p:")),
            ("both", pb.InvalidateRequest(cache="both", tags=pb.InvalidateTags(tags=["t"]))),
            ("tagged", pb.InvalidateRequest(cache="tagged", tags=pb.InvalidateTags(tags=["t"]))),
            ("patients_passing", pb.InvalidateRequest(cache="patients_passing", all=True)),
        ],
    )
    def test_what_is_invalidated_is_not_served(
        self, near: Contract, other: Contract, key: str, cache: str, request_: pb.InvalidateRequest
    ) -> None:
        """Not at all beside the sidecar that was told, and beside another within the bound, or with the token."""
        name = f"p:{key}"
        for api, told in ((near, near), (near, other)):
            put(near, cache, name, b"1", tags=["t"] if cache != "patients_passing" else [])
            kept(api, cache, name)
            token = told.cache.Invalidate(request_).token
            assert MISS == look(told, cache, name).outcome
            assert MISS == look(api, cache, name, token=token).outcome
            wait_until(lambda: look(api, cache, name).outcome == MISS, "the invalidation is heard of", 5)  # noqa: B023

    def test_what_has_expired_is_no_hit(self, near: Contract, key: str) -> None:
        """A copy is fresh for as long as its entry, and never stale."""
        put(near, "stale", key)
        kept(near, "stale", key)
        wait_until(lambda: look(near, "stale", key).outcome == common_pb2.OUTCOME_STALE, "it is stale", 5)
        assert STORE == look(near, "stale", key).source
        put(near, "brief", key)
        wait_until(lambda: look(near, "brief", key).outcome == MISS, "it has expired", 5)

    def test_cold_keys_are_not_kept(self, near: Contract, key: str) -> None:
        """By default only what is read often is, and that by itself."""
        put(near, "bounded", key)
        assert [STORE] * 3 == [look(near, "bounded", key).source for _ in range(3)]
        kept(near, "bounded", key)


class TestWhatACallerMayAsk:
    """How new an answer must be."""

    def test_the_stores_own_answer(self, near: Contract, key: str) -> None:
        """With a bound of zero, whatever is kept; for one key and for many."""
        put(near, "plain", key)
        kept(near, "plain", key)

        assert STORE == look(near, "plain", key, max_staleness=milliseconds(0)).source
        request = pb.GetManyRequest(cache="plain", keys=[key], max_staleness=milliseconds(0))
        assert STORE == near.cache.GetMany(request).results[0].entry.source

    def test_a_longer_bound_than_the_caches_changes_nothing(self, near: Contract, key: str) -> None:
        """Since the store is heard of within the cache's own."""
        put(near, "plain", key)
        kept(near, "plain", key)

        wait_until(
            lambda: look(near, "plain", key, max_staleness=milliseconds(3_600_000)).source == L1, "a copy answers"
        )

    def test_to_read_what_was_written_beside_another_sidecar(self, near: Contract, other: Contract, key: str) -> None:
        """With the write's token: never what was there before, in a hundred races with the news of it."""
        for number in range(100):
            put(near, "plain", key, b"old")
            look(near, "plain", key)
            written = put(other, "plain", key, b"%d" % number)
            assert b"%d" % number == look(near, "plain", key, token=written.token).value
            many = pb.GetManyRequest(cache="plain", keys=[key], token=written.token)
            assert b"%d" % number == near.cache.GetMany(many).results[0].entry.value
            look(near, "plain", key)
            deleted = other.cache.Delete(pb.DeleteRequest(cache="plain", key=key))
            assert MISS == look(near, "plain", key, token=deleted.token).outcome

    def test_a_copy_that_knows_of_the_write_will_do(self, near: Contract, other: Contract, key: str) -> None:
        """It is the write, or a later one; or the store was heard of since."""
        written = put(other, "plain", key)
        kept(near, "plain", key)
        assert L1 == look(near, "plain", key, token=written.token).source
        later = put(other, "plain", near.key())
        wait_until(lambda: look(near, "plain", key, token=later.token).source == L1, "the store was heard of", 5)

    def test_what_was_not_written_has_no_token(self, near: Contract, key: str) -> None:
        """A condition that was not met, or nothing filled in; a deletion of nothing has one."""
        refused = put(near, "plain", key, condition=common_pb2.Condition(if_present=True))
        assert (NOT_APPLIED, "") == (refused.outcome, refused.token)
        assert near.cache.Delete(pb.DeleteRequest(cache="plain", key=key)).token
        lease = near.cache.GetOrLoad(pb.GetOrLoadRequest(cache="loaded_long", key=key))
        filled = near.cache.Fill(pb.FillRequest(cache="loaded_long", key=key, token=lease.token, value=b"1"))
        assert HIT == look(near, "loaded_long", key, token=filled.token).outcome
        raw = put(near, "shared", key)
        assert "" == raw.token

    @pytest.mark.parametrize("cache", ["plain", "jitter", "shared"])
    def test_what_is_no_token_is_refused(self, near: Contract, key: str, cache: str) -> None:
        """In every cache, also in one that needs none."""
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "READ_TOKEN_MALFORMED", "token")
        for token in ("1", "nonsense", "2" + 16 * "0"):
            assert expected == refusal(lambda: look(near, cache, key, token=token)).brief  # noqa: B023
            many = pb.GetManyRequest(cache=cache, keys=[key], token=token)
            assert expected == refusal(lambda: near.cache.GetMany(many)).brief  # noqa: B023

    def test_an_answer_from_the_future_is_refused(self, near: Contract, key: str) -> None:
        """No bound is below zero."""
        failed = refusal(lambda: look(near, "plain", key, max_staleness=milliseconds(-1)))

        assert (grpc.StatusCode.INVALID_ARGUMENT, "STALENESS_NEGATIVE", "max_staleness") == failed.brief

    def test_one_operation_of_a_batch_is_refused_alone(self, near: Contract, key: str) -> None:
        """As any other mistake in it."""
        put(near, "plain", key)
        gets = [pb.GetRequest(cache="plain", key=key, token=token) for token in ("", "nonsense")]
        operations = [pipeline_pb2.Operation(get=get) for get in gets]
        good, bad = near.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations)).results

        assert HIT == good.get.outcome
        assert "token" == bad.failure.field
