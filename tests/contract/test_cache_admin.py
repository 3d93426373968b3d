"""What operators see of caches: what they are, how they fare, what lies in them; never what the values are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from grpc import StatusCode
from sidecar_client.gen.sidecar.v1 import cache_admin_pb2 as pb
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, record_pb2
from support.contract import Contract, entry_key, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = b'{"name":"Ada","ward":7},' * 100


def inspect(api: Contract, cache: str, key: str) -> pb.InspectEntryResponse:
    """Look at an entry."""
    return api.cache_admin.InspectEntry(pb.InspectEntryRequest(cache=cache, key=key))


def put(api: Contract, cache: str, key: str, value: bytes, tags: tuple[str, ...] = ()) -> None:
    """Set an entry."""
    api.cache.Set(cache_pb2.SetRequest(cache=cache, key=key, value=value, tags=tags))


def stats(api: Contract, cache: str) -> pb.CacheStats:
    """Return what was counted of a cache."""
    (one,) = api.cache_admin.GetCacheStats(pb.GetCacheStatsRequest(cache=cache)).caches
    return one


class TestList:
    """What the configuration says."""

    def test_all_are_listed_in_their_order(self, api: Contract) -> None:
        """As the settings have them."""
        listed = api.cache_admin.ListCaches(pb.ListCachesRequest()).caches
        assert list(api.sidecar.settings.caches) == [cache.name for cache in listed]

    def test_one_is_described(self, api: Contract) -> None:
        """With what it has, and without what it has not."""
        (one,) = api.cache_admin.ListCaches(pb.ListCachesRequest(cache="packed_both")).caches
        assert ("cache_aside", "internal", 300, True, True, 256, False) == (
            one.strategy, one.data_class, one.ttl.ToSeconds(), one.tags, one.generations, one.compress_above, one.raw,
        )  # fmt: skip
        assert 32 * 1024 == one.max_value_bytes
        assert not one.HasField("max_ttl")
        (phi,) = api.cache_admin.ListCaches(pb.ListCachesRequest(cache="patients")).caches
        assert ("phi", 900, False) == (phi.data_class, phi.max_ttl.ToSeconds(), phi.HasField("compress_above"))
        (small,) = api.cache_admin.ListCaches(pb.ListCachesRequest(cache="small")).caches
        assert 100 == small.max_value_bytes


class TestStats:
    """What was counted."""

    def test_reads_are_counted_by_what_they_found(self, api: Contract, key: str) -> None:
        """Hits and misses, of this cache alone."""
        before = stats(api, "bounded")
        put(api, "bounded", key, b"v")
        for name in (key, key, key + "none"):
            api.cache.Get(cache_pb2.GetRequest(cache="bounded", key=name))
        after = stats(api, "bounded")
        assert (2, 1, 0) == (after.hits - before.hits, after.misses - before.misses, after.stale - before.stale)

    def test_loads_are_counted_by_their_end(self, api: Contract, key: str) -> None:
        """A lease, and a Fill."""
        before = stats(api, "loaded_long").loads
        lease = api.cache.GetOrLoad(cache_pb2.GetOrLoadRequest(cache="loaded_long", key=key))
        api.cache.Fill(cache_pb2.FillRequest(cache="loaded_long", key=key, token=lease.token, value=b"v"))
        after = stats(api, "loaded_long").loads
        assert (1, 1) == tuple(after[outcome] - before[outcome] for outcome in ("leased", "filled"))

    def test_it_says_who_counted_since_when(self, api: Contract) -> None:
        """A process, and a time that has passed."""
        answer = api.cache_admin.GetCacheStats(pb.GetCacheStatsRequest())
        assert len(api.sidecar.settings.caches) == len(answer.caches)
        assert answer.process_id > 0
        assert 1_600_000_000 < answer.since.seconds


class TestInspect:
    """What lies there."""

    @pytest.mark.parametrize(("cache", "value", "compressed"), [("plain", b"v" * 7, False), ("packed", LONG, True)])
    def test_a_value_is_described(self, api: Contract, key: str, cache: str, value: bytes, *, compressed: bool) -> None:
        """Its version, times and sizes; and it counts as no read."""
        put(api, cache, key, value)
        before = stats(api, cache)
        found = inspect(api, cache, key)
        assert before == stats(api, cache)
        assert common_pb2.OUTCOME_HIT == found.outcome
        assert api.cache.Get(cache_pb2.GetRequest(cache=cache, key=key)).version == found.version
        assert 295 < found.ttl.ToSeconds() <= 300
        assert 5 > found.age.ToSeconds()
        assert found.ttl.ToMilliseconds() - 100 <= found.expires_after.ToMilliseconds()
        assert (len(value), compressed, False, 0) == (
            found.value_bytes, found.compressed, found.sealed, found.tag_count,
        )  # fmt: skip
        assert api.oracle.strlen(entry_key(cache, key)) == found.stored_bytes < found.memory_bytes

    def test_a_miss_is_no_error(self, api: Contract, key: str) -> None:
        """Nothing is there, and nothing is said."""
        assert pb.InspectEntryResponse(outcome=common_pb2.OUTCOME_MISS) == inspect(api, "plain", key)

    def test_tags_are_shown(self, api: Contract, key: str) -> None:
        """Those of the entry, of a compressed one too."""
        put(api, "packed_both", key, LONG, tags=("ward-7", "é"))
        found = inspect(api, "packed_both", key)
        assert (["ward-7", "é"], 2, True) == (list(found.tags), found.tag_count, found.compressed)

    def test_a_phi_entry_is_described_without_its_content(self, api: Contract, key: str) -> None:
        """Neither the length of the value nor a tag."""
        put(api, "patients_passing", key, b"Ada Lovelace", tags=("ward-7",))
        found = inspect(api, "patients_passing", key)
        assert (True, False, 1, []) == (found.sealed, found.HasField("value_bytes"), found.tag_count, list(found.tags))
        assert b"ward-7" not in found.SerializeToString()

    def test_what_is_out_of_date_is_a_miss_that_takes_room(self, api: Contract, key: str) -> None:
        """A generation has passed it by; it still lies there."""
        put(api, "passing", f"{key}:1", b"v")
        api.cache.Invalidate(cache_pb2.InvalidateRequest(cache="passing", prefix=f"{key}:"))
        found = inspect(api, "passing", f"{key}:1")
        assert (common_pb2.OUTCOME_MISS, True) == (found.outcome, found.stored_bytes > 0)

    def test_a_record_has_fields(self, api: Contract, key: str) -> None:
        """Their number, without a length."""
        fields = {"ward": record_pb2.FieldValue(integer=7), "name": record_pb2.FieldValue(text="Ada")}
        api.records.PutRecord(record_pb2.PutRecordRequest(cache="plain", key=key, fields=fields))
        found = inspect(api, "plain", key)
        assert (common_pb2.OUTCOME_HIT, 2, False) == (found.outcome, found.fields, found.HasField("value_bytes"))

    def test_a_raw_string_is_described(self, api: Contract, key: str) -> None:
        """As others have written it, with no age, and no end if it has none."""
        api.oracle.set(f"shared:{key}", b"theirs")
        found = inspect(api, "shared", key)
        assert (common_pb2.OUTCOME_HIT, 6, False, False) == (
            found.outcome, found.value_bytes, found.HasField("ttl"), found.HasField("age"),
        )  # fmt: skip

    def test_what_no_sidecar_wrote_is_said(self, api: Contract, key: str) -> None:
        """As a Get would: malformed, or of another type."""
        api.oracle.set(entry_key("plain", key), b"theirs")
        assert "ENTRY_MALFORMED" == refusal(lambda: inspect(api, "plain", key)).reason
        api.oracle.lpush(entry_key("plain", key + "l"), b"theirs")
        assert "WRONG_TYPE" == refusal(lambda: inspect(api, "plain", key + "l")).reason


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.cache_admin.ListCaches(pb.ListCachesRequest(cache="plane")),
        lambda api: api.cache_admin.GetCacheStats(pb.GetCacheStatsRequest(cache="plane")),
        lambda api: inspect(api, "plane", "k"),
    ],
)
def test_an_unknown_cache_is_refused(api: Contract, call: Callable[[Contract], object]) -> None:
    """By each method, with the name that is nearest."""
    failed = refusal(lambda: call(api))
    assert (StatusCode.NOT_FOUND, "CACHE_UNKNOWN", "cache") == failed.brief
    assert "plain" == failed.metadata["nearest"]


def test_an_unsuitable_key_is_refused(api: Contract) -> None:
    """As everywhere."""
    assert "KEY_EMPTY" == refusal(lambda: inspect(api, "plain", "")).reason


class TestWarm:
    """What Warm refuses; what it does needs an origin."""

    @pytest.mark.parametrize(
        ("request_", "code", "reason"),
        [
            (pb.WarmRequest(cache="plain"), StatusCode.INVALID_ARGUMENT, "OPERATION_EMPTY"),
            (pb.WarmRequest(cache="plain", keys=["k"]), StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE"),
            (pb.WarmRequest(cache="plain", query=True), StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE"),
            (pb.WarmRequest(cache="plain", from_cache="plain"), StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE"),
            (
                pb.WarmRequest(cache="plain", configured=True),
                StatusCode.FAILED_PRECONDITION,
                "UNSUPPORTED_BY_CACHE",
            ),
            (pb.WarmRequest(cache="plane", keys=["k"]), StatusCode.NOT_FOUND, "CACHE_UNKNOWN"),
        ],
        ids=["nothing", "no origin", "no query", "from a cache", "no list", "no cache"],
    )
    def test_it_says_why_not(self, api: Contract, request_: pb.WarmRequest, code: StatusCode, reason: str) -> None:
        """Before anything is loaded."""
        failed = refusal(lambda: list(api.cache_admin.Warm(request_)))
        assert (code, reason) == (failed.code, failed.reason)
