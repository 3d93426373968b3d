"""CacheService: GetMany, SetMany, DeleteMany."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, error_reason_pb2
from support.contract import entry_key, milliseconds, refusal

if TYPE_CHECKING:
    from support.contract import Contract

APPLIED, NOT_FOUND = common_pb2.WRITE_OUTCOME_APPLIED, common_pb2.WRITE_OUTCOME_NOT_FOUND
NOT_MET = common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET
HIT, MISS = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS
WRONG_TYPE = (grpc.StatusCode.FAILED_PRECONDITION.value[0], error_reason_pb2.ERROR_REASON_WRONG_TYPE)
# `limits.max_batch_keys` of the tests' configuration.
MOST = 20
CACHES = pytest.mark.parametrize("cache", ["plain", "shared", "patients"])


def set_many(api: Contract, cache: str, entries: list[tuple[str, bytes]]) -> list[pb.SetManyResult]:
    """Write a batch."""
    items = [pb.SetManyEntry(key=key, value=value) for key, value in entries]
    return list(api.cache.SetMany(pb.SetManyRequest(cache=cache, entries=items)).results)


def get_many(api: Contract, cache: str, keys: list[str]) -> list[pb.GetManyResult]:
    """Read a batch."""
    return list(api.cache.GetMany(pb.GetManyRequest(cache=cache, keys=keys)).results)


def delete_many(api: Contract, cache: str, keys: list[str]) -> list[pb.DeleteManyResult]:
    """Remove a batch."""
    return list(api.cache.DeleteMany(pb.DeleteManyRequest(cache=cache, keys=keys)).results)


def list_at(api: Contract, cache: str, key: str) -> None:
    """Put a Redis list where an entry would lie."""
    api.oracle.rpush(f"shared:{key}" if cache == "shared" else entry_key(cache, key), "item")


@CACHES
class TestGetMany:
    """Reading several entries."""

    def test_results_stand_in_the_order_of_the_keys(self, api: Contract, cache: str) -> None:
        """Whatever order they were written in."""
        keys = [api.key() for _ in range(MOST)]
        set_many(api, cache, [(key, key.encode()) for key in reversed(keys)])
        results = get_many(api, cache, keys)
        assert [(key, key.encode()) for key in keys] == [(result.key, result.entry.value) for result in results]

    def test_misses_stand_between_hits(self, api: Contract, cache: str) -> None:
        """A key that is not there is a miss in its place."""
        here, gone = api.key(), api.key()
        set_many(api, cache, [(here, b"v")])
        assert [MISS, HIT, MISS] == [result.entry.outcome for result in get_many(api, cache, [gone, here, gone])]

    def test_a_key_may_be_named_twice(self, api: Contract, key: str, cache: str) -> None:
        """Each time it has its result."""
        set_many(api, cache, [(key, b"v")])
        assert [b"v", b"v"] == [result.entry.value for result in get_many(api, cache, [key, key])]

    def test_an_entry_is_what_get_answers(self, api: Contract, key: str, cache: str) -> None:
        """Version, outcome and source are those of Get."""
        set_many(api, cache, [(key, b"v")])
        many, one = get_many(api, cache, [key])[0].entry, api.cache.Get(pb.GetRequest(cache=cache, key=key))
        for answer in (many, one):
            answer.ClearField("ttl")
            answer.ClearField("age")
        assert one == many


@CACHES
class TestSetMany:
    """Writing several entries."""

    def test_all_are_written(self, api: Contract, cache: str) -> None:
        """Each has its own result, in the order of the request."""
        keys = [api.key() for _ in range(MOST)]
        results = set_many(api, cache, [(key, b"v") for key in keys])
        assert [(key, APPLIED) for key in keys] == [(result.key, result.written.outcome) for result in results]

    def test_entries_of_one_key_are_written_in_their_order(self, api: Contract, key: str, cache: str) -> None:
        """The last one stays."""
        set_many(api, cache, [(key, b"first"), (api.key(), b"other"), (key, b"second"), (key, b"third")])
        assert b"third" == api.cache.Get(pb.GetRequest(cache=cache, key=key)).value

    def test_each_entry_has_its_own_condition(self, api: Contract, key: str, cache: str) -> None:
        """A condition that does not hold is the outcome of its entry alone."""
        set_many(api, cache, [(key, b"v")])
        absent = common_pb2.Condition(if_absent=True)
        entries = [pb.SetManyEntry(key=name, value=b"w", condition=absent) for name in (key, api.key())]
        results = api.cache.SetMany(pb.SetManyRequest(cache=cache, entries=entries)).results
        assert [NOT_MET, APPLIED] == [result.written.outcome for result in results]

    def test_an_entrys_ttl_goes_before_the_batchs(self, api: Contract, cache: str) -> None:
        """The batch's TTL is for the entries that name none."""
        entries = [pb.SetManyEntry(key=api.key(), ttl=milliseconds(2000)), pb.SetManyEntry(key=api.key())]
        request = pb.SetManyRequest(cache=cache, entries=entries, ttl=milliseconds(7000))
        results = api.cache.SetMany(request).results
        assert [2000, 7000] == [result.written.ttl.ToMilliseconds() for result in results]


@CACHES
class TestDeleteMany:
    """Removing several entries."""

    def test_each_has_its_own_outcome(self, api: Contract, cache: str) -> None:
        """What was there is applied, what was not is NOT_FOUND, in the order of the request."""
        here, gone = api.key(), api.key()
        set_many(api, cache, [(here, b"v")])
        results = delete_many(api, cache, [gone, here])
        assert [(gone, NOT_FOUND), (here, APPLIED)] == [(result.key, result.deleted.outcome) for result in results]

    def test_a_key_named_twice_is_removed_once(self, api: Contract, key: str, cache: str) -> None:
        """The second time there is nothing left."""
        set_many(api, cache, [(key, b"v")])
        assert [APPLIED, NOT_FOUND] == [result.deleted.outcome for result in delete_many(api, cache, [key, key])]


@pytest.mark.parametrize("cache", ["plain", "shared"])
class TestFailures:
    """One bad item does not touch the others."""

    def test_of_a_read(self, api: Contract, key: str, cache: str) -> None:
        """The key that holds a list has a failure, its neighbour an entry."""
        list_at(api, cache, key)
        good = api.key()
        set_many(api, cache, [(good, b"v")])
        failed, found = get_many(api, cache, [key, good])
        assert (WRONG_TYPE, b"v") == ((failed.failure.code, failed.failure.reason), found.entry.value)

    def test_of_a_write(self, api: Contract, key: str, cache: str) -> None:
        """The list stays a list, the neighbour is written."""
        list_at(api, cache, key)
        failed, done = set_many(api, cache, [(key, b"v"), (api.key(), b"v")])
        assert (WRONG_TYPE, APPLIED) == ((failed.failure.code, failed.failure.reason), done.written.outcome)

    def test_of_a_removal(self, api: Contract, key: str, cache: str) -> None:
        """The list stays, the neighbour is removed."""
        list_at(api, cache, key)
        good = api.key()
        set_many(api, cache, [(good, b"v")])
        failed, done = delete_many(api, cache, [key, good])
        assert (WRONG_TYPE, APPLIED) == ((failed.failure.code, failed.failure.reason), done.deleted.outcome)


class TestSize:
    """How many items a batch may hold."""

    def test_the_largest_batch_is_taken(self, api: Contract) -> None:
        """`limits.max_batch_keys` items are allowed."""
        keys = [api.key() for _ in range(MOST)]
        assert [NOT_FOUND] * MOST == [result.deleted.outcome for result in delete_many(api, "plain", keys)]

    @pytest.mark.parametrize("size", [0, MOST + 1])
    def test_another_size_is_refused(self, api: Contract, size: int) -> None:
        """No item, or one too many, is BATCH_SIZE in each of the three."""
        keys = [api.key() for _ in range(size)]
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE")
        assert [(*expected, "keys"), (*expected, "entries"), (*expected, "keys")] == [
            refusal(lambda: get_many(api, "plain", keys)).brief,
            refusal(lambda: set_many(api, "plain", [(key, b"v") for key in keys])).brief,
            refusal(lambda: delete_many(api, "plain", keys)).brief,
        ]

    def test_the_refusal_names_the_bound(self, api: Contract) -> None:
        """A client can split its batch by it."""
        refused = refusal(lambda: get_many(api, "plain", [api.key() for _ in range(MOST + 1)]))
        assert {"max_keys": str(MOST)} == refused.metadata
