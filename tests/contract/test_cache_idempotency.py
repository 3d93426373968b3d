"""Idempotency keys of CacheService's writes: the first call has the effect, a repeat gets the same answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, error_reason_pb2
from support.contract import milliseconds, refusal

if TYPE_CHECKING:
    from support.contract import Contract

APPLIED, NOT_FOUND = common_pb2.WRITE_OUTCOME_APPLIED, common_pb2.WRITE_OUTCOME_NOT_FOUND
REUSED = (grpc.StatusCode.FAILED_PRECONDITION, "IDEMPOTENCY_KEY_REUSED")
CACHES = pytest.mark.parametrize("cache", ["plain", "shared", "patients"])
COUNTERS = pytest.mark.parametrize("cache", ["plain", "shared"])


@CACHES
class TestRepeats:
    """The same request, sent again."""

    def test_set_writes_once(self, api: Contract, key: str, cache: str) -> None:
        """The repeat gets the first answer, and leaves alone what was written since."""
        request = pb.SetRequest(cache=cache, key=key, value=b"first", idempotency_key="one")
        first = api.cache.Set(request)
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"later"))
        again = api.cache.Set(request)
        found = api.cache.Get(pb.GetRequest(cache=cache, key=key))
        assert (first, b"later") == (again, found.value)

    def test_delete_removes_once(self, api: Contract, key: str, cache: str) -> None:
        """The repeat says APPLIED as the first did, and the entry set since stays."""
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"first"))
        request = pb.DeleteRequest(cache=cache, key=key, idempotency_key="one")
        first = api.cache.Delete(request)
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"later"))
        again = api.cache.Delete(request)
        found = api.cache.Get(pb.GetRequest(cache=cache, key=key))
        assert (first, APPLIED, b"later") == (again, first.outcome, found.value)

    def test_what_was_not_found_stays_so(self, api: Contract, key: str, cache: str) -> None:
        """An answer without effect is remembered as well."""
        request = pb.DeleteRequest(cache=cache, key=key, idempotency_key="one")
        api.cache.Delete(request)
        api.cache.Set(pb.SetRequest(cache=cache, key=key))
        assert NOT_FOUND == api.cache.Delete(request).outcome

    def test_set_many_writes_once(self, api: Contract, key: str, cache: str) -> None:
        """The repeat of a batch gets the same results, and leaves alone what was written since."""
        request = pb.SetManyRequest(
            cache=cache, entries=[pb.SetManyEntry(key=key + end, value=b"first") for end in "ab"], idempotency_key="one"
        )
        first = api.cache.SetMany(request)
        api.cache.Set(pb.SetRequest(cache=cache, key=key + "b", value=b"later"))
        again = api.cache.SetMany(request)
        found = api.cache.Get(pb.GetRequest(cache=cache, key=key + "b"))
        assert (first, b"later") == (again, found.value)

    def test_set_many_writes_a_key_that_stands_in_it_twice(self, api: Contract, key: str, cache: str) -> None:
        """Two entries of one key are two writes, also with an idempotency key, and the repeat makes neither."""
        entries = [pb.SetManyEntry(key=key, value=value) for value in (b"first", b"second")]
        request = pb.SetManyRequest(cache=cache, entries=entries, idempotency_key="one")
        first = api.cache.SetMany(request)
        between = api.cache.Get(pb.GetRequest(cache=cache, key=key)).value
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"later"))
        again = api.cache.SetMany(request)
        found = api.cache.Get(pb.GetRequest(cache=cache, key=key)).value
        outcomes = [result.written.outcome for result in first.results]
        assert ([APPLIED] * 2, b"second", first, b"later") == (outcomes, between, again, found)

    def test_delete_many_removes_once(self, api: Contract, key: str, cache: str) -> None:
        """The repeat of a batch of removals leaves alone what was set since."""
        api.cache.Set(pb.SetRequest(cache=cache, key=key))
        request = pb.DeleteManyRequest(cache=cache, keys=[key], idempotency_key="one")
        first = api.cache.DeleteMany(request)
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"later"))
        again = api.cache.DeleteMany(request)
        found = api.cache.Get(pb.GetRequest(cache=cache, key=key))
        assert (first, b"later") == (again, found.value)

    def test_concurrent_repeats_have_one_effect(self, api: Contract, key: str, cache: str) -> None:
        """Fifty copies of one request on their way at once all get the same answer."""
        request = pb.SetRequest(cache=cache, key=key, value=b"v", idempotency_key="one")
        answers = [asked.result() for asked in [api.cache.Set.future(request) for _ in range(50)]]
        assert [answers[0]] * 50 == answers

    def test_the_records_expire(self, api: Contract, key: str, cache: str) -> None:
        """Whatever a write with an idempotency key leaves in the store has a TTL."""
        before = api.names()
        api.cache.Set(pb.SetRequest(cache=cache, key=key, idempotency_key="one"))
        made = api.names() - before
        assert (2, True) == (len(made), all(0 < api.oracle.pttl(name) <= 600_000 for name in made))


@COUNTERS
class TestCounters:
    """Increment, where a repeat would be noticed at once."""

    def test_increment_adds_once(self, api: Contract, key: str, cache: str) -> None:
        """The repeat gets the same sum."""
        request = pb.IncrementRequest(cache=cache, key=key, delta=5, idempotency_key="one")
        first = api.cache.Increment(request)
        api.cache.Increment(pb.IncrementRequest(cache=cache, key=key, delta=1))
        again = api.cache.Increment(request)
        assert (first, b"6") == (again, api.cache.Get(pb.GetRequest(cache=cache, key=key)).value)

    def test_other_idempotency_keys_are_other_requests(self, api: Contract, key: str, cache: str) -> None:
        """Each counts for itself."""
        for label in ("one", "two", "three"):
            api.cache.Increment(pb.IncrementRequest(cache=cache, key=key, idempotency_key=label))
        assert b"3" == api.cache.Get(pb.GetRequest(cache=cache, key=key)).value

    def test_other_keys_are_other_requests(self, api: Contract, key: str, cache: str) -> None:
        """The same idempotency key may be used for another entry."""
        sums = [
            api.cache.Increment(pb.IncrementRequest(cache=cache, key=key + end, idempotency_key="one")).value
            for end in "ab"
        ]
        assert [1, 1] == sums

    def test_a_failed_call_is_not_remembered(self, api: Contract, key: str, cache: str) -> None:
        """An error had no effect, so the repeat is a new attempt."""
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"no number"))
        request = pb.IncrementRequest(cache=cache, key=key, idempotency_key="one")
        refusal(lambda: api.cache.Increment(request))
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"1"))
        assert 2 == api.cache.Increment(request).value


@pytest.mark.parametrize("cache", ["plain", "shared"])
def test_touch_renews_once(api: Contract, key: str, cache: str) -> None:
    """The repeat gets the first answer, and leaves alone the TTL that was set since."""
    api.cache.Set(pb.SetRequest(cache=cache, key=key))
    request = pb.TouchRequest(cache=cache, key=key, ttl=milliseconds(100_000), idempotency_key="one")
    first = api.cache.Touch(request)
    api.cache.Touch(pb.TouchRequest(cache=cache, key=key, ttl=milliseconds(5_000)))
    again = api.cache.Touch(request)
    left = api.cache.Get(pb.GetRequest(cache=cache, key=key)).ttl.ToMilliseconds()
    assert (first, True) == (again, left <= 5_000)


@CACHES
class TestReuse:
    """The same idempotency key with another request for the same entry."""

    @pytest.mark.parametrize(
        "other",
        [
            {"value": b"other"},
            {"value": b"v", "ttl": milliseconds(1000)},
            {"value": b"v", "condition": common_pb2.Condition(if_present=True)},
        ],
        ids=["value", "ttl", "condition"],
    )
    def test_another_set_is_refused(self, api: Contract, key: str, cache: str, other: dict[str, object]) -> None:
        """Value, TTL and condition are part of what was asked."""
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"v", idempotency_key="one"))
        request = pb.SetRequest(cache=cache, key=key, idempotency_key="one")
        request.MergeFrom(pb.SetRequest(**other))  # type: ignore[arg-type]  # a table's values
        refused = refusal(lambda: api.cache.Set(request))
        found = api.cache.Get(pb.GetRequest(cache=cache, key=key))
        assert (REUSED, b"v") == ((refused.code, refused.reason), found.value)

    def test_another_operation_is_refused(self, api: Contract, key: str, cache: str) -> None:
        """A key that was used for Set is no good for Delete."""
        api.cache.Set(pb.SetRequest(cache=cache, key=key, idempotency_key="one"))
        refused = refusal(lambda: api.cache.Delete(pb.DeleteRequest(cache=cache, key=key, idempotency_key="one")))
        assert REUSED == (refused.code, refused.reason)

    def test_in_a_batch_it_is_the_items_failure(self, api: Contract, key: str, cache: str) -> None:
        """The other entries of the batch are written."""
        api.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"v", idempotency_key="one"))
        entries = [pb.SetManyEntry(key=key, value=b"other"), pb.SetManyEntry(key=key + "b", value=b"w")]
        request = pb.SetManyRequest(cache=cache, entries=entries, idempotency_key="one")
        failed, done = api.cache.SetMany(request).results
        expected = error_reason_pb2.ERROR_REASON_IDEMPOTENCY_KEY_REUSED
        assert (expected, APPLIED) == (failed.failure.reason, done.written.outcome)


class TestBounds:
    """What an idempotency key may be."""

    def test_128_bytes_are_taken(self, api: Contract, key: str) -> None:
        """The longest key works."""
        request = pb.SetRequest(cache="plain", key=key, idempotency_key="é" * 64)
        assert APPLIED == api.cache.Set(request).outcome

    def test_129_bytes_are_refused(self, api: Contract, key: str) -> None:
        """Bytes count, not letters."""
        request = pb.SetRequest(cache="plain", key=key, idempotency_key="é" * 64 + "x")
        refused = refusal(lambda: api.cache.Set(request))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_TOO_LONG", "idempotency_key") == refused.brief

    def test_a_raw_key_whose_slot_cannot_be_shared_is_refused(self, api: Contract, key: str) -> None:
        """A closing brace without a hash tag leaves no place for the record."""
        request = pb.SetRequest(cache="shared", key=key + "}", idempotency_key="one")
        refused = refusal(lambda: api.cache.Set(request))
        assert (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE", "idempotency_key") == refused.brief
