"""Compressed values look to callers like any other; how they lie in the store is up to who wrote them."""

from __future__ import annotations

import grpc
import pytest
import zstandard
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, pipeline_pb2
from support.contract import Contract, entry_key, refusal

LONG = b'{"name":"Ada","ward":7},' * 100
SHORT = b"v" * 256
CACHES = ("packed", "packed_both")


def put(api: Contract, cache: str, key: str, value: bytes) -> None:
    """Set an entry, and see that it was written."""
    answer = api.cache.Set(cache_pb2.SetRequest(cache=cache, key=key, value=value))
    assert common_pb2.WRITE_OUTCOME_APPLIED == answer.outcome


def value_of(api: Contract, cache: str, key: str) -> bytes:
    """Return what a Get answers."""
    return api.cache.Get(cache_pb2.GetRequest(cache=cache, key=key)).value


def stored(api: Contract, cache: str, key: str) -> bytes:
    """Return what lies in the store."""
    found: bytes = api.oracle.get(entry_key(cache, key))
    return found


class TestWriting:
    """What is stored."""

    @pytest.mark.parametrize("cache", CACHES)
    def test_long_values_are_stored_compressed(self, api: Contract, key: str, cache: str) -> None:
        """The store holds less than the value; a Get answers it byte for byte."""
        put(api, cache, key, LONG)
        assert {"packed": b"S\x03", "packed_both": b"S\x04"}[cache] == stored(api, cache, key)[:2]
        assert len(LONG) / 4 > len(stored(api, cache, key))
        assert LONG == value_of(api, cache, key)

    def test_short_values_are_stored_as_they_are(self, api: Contract, key: str) -> None:
        """Up to `compress_above` an entry is a plain one."""
        put(api, "packed", key, SHORT)
        assert b"S\x01" == stored(api, "packed", key)[:2]
        assert SHORT == stored(api, "packed", key)[26:]

    def test_what_does_not_shrink_is_stored_as_it_is(self, api: Contract, key: str) -> None:
        """A value that is compressed already is not once more."""
        value = zstandard.compress(b"".join(b"%d" % (number**9) for number in range(400)))
        put(api, "packed", key, value)
        assert b"S\x01" == stored(api, "packed", key)[:2]
        assert value == value_of(api, "packed", key)

    @pytest.mark.parametrize("cache", CACHES)
    def test_batches_do_the_same(self, api: Contract, key: str, cache: str) -> None:
        """SetMany and GetMany, with long and short values side by side."""
        values = {f"{key}-{number}": (LONG, SHORT)[number % 2] + b"%d" % number for number in range(6)}
        entries = [cache_pb2.SetManyEntry(key=name, value=value) for name, value in values.items()]
        api.cache.SetMany(cache_pb2.SetManyRequest(cache=cache, entries=entries))
        answer = api.cache.GetMany(cache_pb2.GetManyRequest(cache=cache, keys=[*values, key + "none"]))
        assert values == {result.key: result.entry.value for result in answer.results if result.entry.value}
        assert common_pb2.OUTCOME_MISS == answer.results[-1].entry.outcome

    @pytest.mark.parametrize("cache", CACHES)
    def test_what_is_filled_in_is_compressed(self, api: Contract, key: str, cache: str) -> None:
        """A Fill writes as a Set does, and GetOrLoad reads as a Get does."""
        lease = api.cache.GetOrLoad(cache_pb2.GetOrLoadRequest(cache=cache, key=key))
        api.cache.Fill(cache_pb2.FillRequest(cache=cache, key=key, token=lease.token, value=LONG))
        assert stored(api, cache, key)[1] in {3, 4}
        assert LONG == api.cache.GetOrLoad(cache_pb2.GetOrLoadRequest(cache=cache, key=key)).entry.value

    def test_a_pipeline_does_the_same(self, api: Contract, key: str) -> None:
        """Operations of a batch read and write compressed values, among others and alone."""
        setting = cache_pb2.SetRequest(cache="packed", key=key, value=LONG)
        getting = cache_pb2.GetRequest(cache="packed", key=key)
        other = cache_pb2.GetRequest(cache="plain", key=key)
        mixed = [pipeline_pb2.Operation(set=setting), *(pipeline_pb2.Operation(get=get) for get in (getting, other))]
        answer = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=mixed))
        assert LONG == answer.results[1].get.value
        only = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=[mixed[1]] * 2))
        assert [LONG, LONG] == [result.get.value for result in only.results]


class TestOperations:
    """What else is done with compressed entries."""

    def test_touch_leaves_the_value(self, api: Contract, key: str) -> None:
        """An entry stays what it is when it gets a new TTL."""
        put(api, "packed", key, LONG)
        api.cache.Touch(cache_pb2.TouchRequest(cache="packed", key=key))
        assert LONG == value_of(api, "packed", key)
        put(api, "packed", key, SHORT)
        api.cache.Touch(cache_pb2.TouchRequest(cache="packed", key=key))
        assert SHORT == value_of(api, "packed", key)

    def test_a_compressed_value_is_no_number(self, api: Contract, key: str) -> None:
        """Increment refuses it as any other text, and leaves it."""
        put(api, "packed", key, LONG)
        failed = refusal(lambda: api.cache.Increment(cache_pb2.IncrementRequest(cache="packed", key=key)))
        assert (grpc.StatusCode.FAILED_PRECONDITION, "VALUE_NOT_INTEGER", "key") == failed.brief
        assert LONG == value_of(api, "packed", key)

    def test_numbers_are_counted_with(self, api: Contract, key: str) -> None:
        """A counter in a cache that compresses is one."""
        assert 1 == api.cache.Increment(cache_pb2.IncrementRequest(cache="packed", key=key)).value

    def test_conditions_hold_by_version(self, api: Contract, key: str) -> None:
        """A version is known of a compressed entry, for writes and deletions."""
        put(api, "packed", key, LONG)
        version = api.cache.Get(cache_pb2.GetRequest(cache="packed", key=key)).version
        condition = common_pb2.Condition(if_version=version)
        again = api.cache.Set(cache_pb2.SetRequest(cache="packed", key=key, value=LONG, condition=condition))
        assert common_pb2.WRITE_OUTCOME_APPLIED == again.outcome
        late = api.cache.Delete(cache_pb2.DeleteRequest(cache="packed", key=key, condition=condition))
        assert common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET == late.outcome

    def test_a_repeat_is_known_by_the_value_in_the_clear(self, api: Contract, key: str) -> None:
        """The same value with the same idempotency key has its first answer, another value is refused."""
        request = cache_pb2.SetRequest(cache="packed", key=key, value=LONG, idempotency_key=key)
        assert api.cache.Set(request).version == api.cache.Set(request).version
        other = cache_pb2.SetRequest(cache="packed", key=key, value=LONG + b"!", idempotency_key=key)
        assert "IDEMPOTENCY_KEY_REUSED" == refusal(lambda: api.cache.Set(other)).reason

    def test_tags_reach_compressed_entries(self, api: Contract, key: str) -> None:
        """Invalidating a tag removes them, and counts them."""
        api.cache.Set(cache_pb2.SetRequest(cache="packed_both", key=key, value=LONG, tags=[key]))
        what = cache_pb2.InvalidateTags(tags=[key])
        assert 1 == api.cache.Invalidate(cache_pb2.InvalidateRequest(cache="packed_both", tags=what)).removed
        assert b"" == value_of(api, "packed_both", key)

    def test_generations_reach_compressed_entries(self, api: Contract, key: str) -> None:
        """A prefix puts them out of date like any other."""
        put(api, "packed_both", f"{key}:1", LONG)
        api.cache.Invalidate(cache_pb2.InvalidateRequest(cache="packed_both", prefix=f"{key}:"))
        assert b"" == value_of(api, "packed_both", f"{key}:1")


class TestOtherWriters:
    """What lies there may have been written under another policy, or by nobody who should have."""

    def test_a_policy_without_it_reads_compressed_entries(self, api: Contract, key: str) -> None:
        """Whether a value is compressed is said by its entry, so a policy may be changed back."""
        put(api, "packed", key, LONG)
        api.oracle.set(entry_key("plain", key), stored(api, "packed", key), px=60_000)
        assert LONG == value_of(api, "plain", key)
        answer = api.cache.GetMany(cache_pb2.GetManyRequest(cache="plain", keys=[key]))
        assert LONG == answer.results[0].entry.value
        put(api, "plain", key, LONG)
        assert b"S\x01" == stored(api, "plain", key)[:2]

    def test_a_policy_with_it_reads_plain_entries(self, api: Contract, key: str) -> None:
        """What was there before compression was turned on stays what it was."""
        put(api, "plain", key, LONG)
        api.oracle.set(entry_key("packed", key), stored(api, "plain", key), px=60_000)
        assert LONG == value_of(api, "packed", key)

    @pytest.mark.parametrize("cache", ["plain", "packed"])
    def test_a_bomb_is_malformed(self, api: Contract, key: str, cache: str) -> None:
        """What would become larger than `limits.max_value_bytes` is not unpacked."""
        put(api, "packed", key, LONG)
        bomb = stored(api, "packed", key)[:26] + zstandard.compress(bytes(33 * 1024))
        api.oracle.set(entry_key(cache, key), bomb, px=60_000)
        failed = refusal(lambda: value_of(api, cache, key))
        assert (grpc.StatusCode.FAILED_PRECONDITION, "ENTRY_MALFORMED", "key") == failed.brief
        batch = api.cache.GetMany(cache_pb2.GetManyRequest(cache=cache, keys=[key, key + "none"]))
        assert ["failure", "entry"] == [result.WhichOneof("result") for result in batch.results]

    def test_a_sealed_cache_reads_no_compressed_entries_as_values(self, api: Contract, key: str) -> None:
        """A marker that was changed in the store makes a sealed entry malformed, not something else."""
        names = api.names()
        put(api, "patients", key, LONG)
        (name,) = api.names() - names
        sealed = api.oracle.get(name)
        api.oracle.set(name, b"S\x03" + sealed[2:], px=60_000)
        assert "ENTRY_MALFORMED" == refusal(lambda: value_of(api, "patients", key)).reason

    @pytest.mark.parametrize("pipelined", [False, True])
    @pytest.mark.parametrize("cache", CACHES)
    def test_answers_are_bounded_by_what_values_become(
        self, api: Contract, key: str, cache: str, *, pipelined: bool
    ) -> None:
        """Of a batch that would not fit into a message once unpacked, some are refused; the others are whole."""
        value = b"0" * 30_000
        keys = [f"{key}-{number}" for number in range(8)]
        entries = [cache_pb2.SetManyEntry(key=name, value=value) for name in keys]
        for entry in entries:
            put(api, cache, entry.key, entry.value)
        if pipelined:
            gets = [pipeline_pb2.Operation(get=cache_pb2.GetRequest(cache=cache, key=name)) for name in keys]
            other = pipeline_pb2.Operation(get=cache_pb2.GetRequest(cache="plain", key=key))
            answer = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=[*gets, other]))
            results = [result.failure.reason or result.get.value for result in answer.results[:-1]]
        else:
            batch = api.cache.GetMany(cache_pb2.GetManyRequest(cache=cache, keys=keys))
            results = [result.failure.reason or result.entry.value for result in batch.results]
        assert [value] * 4 == results[:4]
        assert 4 == sum(1 for result in results if result != value)


class TestBounds:
    """A cache's own bound on values."""

    def test_a_longer_value_is_refused(self, api: Contract, key: str) -> None:
        """By Set, and by name of its field; others take it."""
        at_most = cache_pb2.SetRequest(cache="small", key=key, value=b"v" * 100)
        assert common_pb2.WRITE_OUTCOME_APPLIED == api.cache.Set(at_most).outcome
        request = cache_pb2.SetRequest(cache="small", key=key, value=b"v" * 101)
        failed = refusal(lambda: api.cache.Set(request))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "VALUE_TOO_LARGE", "value") == failed.brief
        assert {"max_bytes": "100", "actual_bytes": "101"} == failed.metadata

    def test_what_is_loaded_is_bounded_too(self, api: Contract, key: str) -> None:
        """By Fill, and the lease stays."""
        lease = api.cache.GetOrLoad(cache_pb2.GetOrLoadRequest(cache="small", key=key))
        long = cache_pb2.FillRequest(cache="small", key=key, token=lease.token, value=b"v" * 101)
        assert "VALUE_TOO_LARGE" == refusal(lambda: api.cache.Fill(long)).reason
        short = cache_pb2.FillRequest(cache="small", key=key, token=lease.token, value=b"v")
        assert 0 < api.cache.Fill(short).version
