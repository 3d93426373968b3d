"""CacheService, one entry at a time: Get, Set, Delete, Touch, and what the policy makes of TTLs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from support.contract import entry_key, milliseconds, refusal

if TYPE_CHECKING:
    from support.contract import Contract

HIT, MISS, STALE = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS, common_pb2.OUTCOME_STALE
APPLIED, NOT_FOUND = common_pb2.WRITE_OUTCOME_APPLIED, common_pb2.WRITE_OUTCOME_NOT_FOUND


def get(api: Contract, cache: str, key: str) -> pb.GetResponse:
    """Read an entry."""
    return api.cache.Get(pb.GetRequest(cache=cache, key=key))


def put(api: Contract, cache: str, key: str, value: bytes = b"v") -> pb.SetResponse:
    """Write an entry with the cache's own TTL."""
    return api.cache.Set(pb.SetRequest(cache=cache, key=key, value=value))


class TestGet:
    """What a read answers."""

    def test_a_miss_is_nothing_but_a_miss(self, api: Contract, key: str) -> None:
        """Get of a key that nobody has set answers OUTCOME_MISS and leaves all else unset."""
        assert pb.GetResponse(outcome=MISS) == get(api, "plain", key)

    @pytest.mark.parametrize("value", [b"", b"\x00\xff\r\n", b"text", bytes(range(256)) * 100])
    def test_a_value_comes_back_byte_for_byte(self, api: Contract, key: str, value: bytes) -> None:
        """Get answers what was set, also if it is empty or no text."""
        put(api, "plain", key, value)
        found = get(api, "plain", key)
        assert (HIT, value) == (found.outcome, found.value)

    def test_a_hit_names_its_source(self, api: Contract, key: str) -> None:
        """The answer came from the store."""
        put(api, "plain", key)
        assert common_pb2.SOURCE_STORE == get(api, "plain", key).source

    def test_a_hit_has_the_version_that_the_write_returned(self, api: Contract, key: str) -> None:
        """Set and Get speak of the same version."""
        assert put(api, "plain", key).version == get(api, "plain", key).version

    def test_the_ttl_counts_down_from_the_caches_own(self, api: Contract, key: str) -> None:
        """Without a TTL in the request, the entry gets that of the cache."""
        put(api, "plain", key)
        assert 295_000 < get(api, "plain", key).ttl.ToMilliseconds() <= 300_000

    def test_age_grows_from_the_write(self, api: Contract, key: str) -> None:
        """Age is the time since Set, by the store's clock."""
        put(api, "plain", key)
        time.sleep(0.03)
        assert 25 <= get(api, "plain", key).age.ToMilliseconds() < 5_000

    @pytest.mark.parametrize("key_text", ["é" * 20, "a b\n{c}:d}", "\x00", "日本語/🩺"])
    def test_any_text_is_a_key(self, api: Contract, key: str, key_text: str) -> None:
        """Braces, spaces, zero bytes and letters of any script stand in a key like any other."""
        put(api, "plain", key + key_text, b"mine")
        assert b"mine" == get(api, "plain", key + key_text).value

    def test_caches_do_not_share_keys(self, api: Contract, key: str) -> None:
        """The same key in another cache is another entry."""
        put(api, "plain", key)
        assert MISS == get(api, "bounded", key).outcome

    def test_a_sealed_value_comes_back(self, api: Contract, key: str) -> None:
        """A phi cache returns the value in the clear."""
        put(api, "patients", key, b"Ada Lovelace")
        assert b"Ada Lovelace" == get(api, "patients", key).value

    def test_a_sealed_value_and_its_key_stay_out_of_the_store(self, api: Contract, key: str) -> None:
        """Neither a phi cache's value nor its key is anywhere in Redis."""
        put(api, "patients", key, b"Ada Lovelace")
        everything = b"\n".join(name + (api.oracle.dump(name) or b"") for name in api.oracle.scan_iter(count=1000))
        assert (False, False) == (b"Ada Lovelace" in everything, key.encode() in everything)


class TestSet:
    """What a write answers and does."""

    def test_a_write_is_applied(self, api: Contract, key: str) -> None:
        """An unconditional Set always is."""
        assert APPLIED == put(api, "plain", key).outcome

    def test_the_version_grows_with_each_write(self, api: Contract, key: str) -> None:
        """Every Set of a key has a greater version than all before."""
        versions = [put(api, "plain", key).version for _ in range(20)]
        assert sorted(set(versions)) == versions

    def test_the_version_grows_across_a_deletion(self, api: Contract, key: str) -> None:
        """An entry set again after Delete is newer than the one deleted."""
        before = put(api, "plain", key).version
        api.cache.Delete(pb.DeleteRequest(cache="plain", key=key))
        assert before < put(api, "plain", key).version

    def test_the_ttl_asked_for_is_set(self, api: Contract, key: str) -> None:
        """The answer states the TTL, and so does the store."""
        written = api.cache.Set(pb.SetRequest(cache="plain", key=key, value=b"v", ttl=milliseconds(61_234)))
        left = api.oracle.pttl(entry_key("plain", key))
        assert (61_234, True) == (written.ttl.ToMilliseconds(), 50_000 < left <= 61_234)

    def test_a_part_of_a_millisecond_is_dropped_from_the_ttl(self, api: Contract, key: str) -> None:
        """A TTL is a whole number of milliseconds."""
        written = api.cache.Set(pb.SetRequest(cache="plain", key=key, value=b"v", ttl=milliseconds(1500.9)))
        assert 1500 == written.ttl.ToMilliseconds()

    def test_an_entry_is_gone_after_its_ttl(self, api: Contract, key: str) -> None:
        """Without stale time an expired entry is a miss."""
        put(api, "brief", key)
        time.sleep(0.13)
        assert MISS == get(api, "brief", key).outcome

    def test_jitter_only_shortens_and_never_beyond_its_share(self, api: Contract) -> None:
        """With ttl 100s and a jitter of a half, every TTL lies in 50..100 s, and they differ."""
        ttls = [put(api, "jitter", api.key()).ttl.ToMilliseconds() for _ in range(60)]
        assert (True, True, True) == (min(ttls) >= 50_000, max(ttls) <= 100_000, len(set(ttls)) > 30)

    def test_jitter_also_holds_for_a_ttl_of_the_callers(self, api: Contract, key: str) -> None:
        """A TTL of 10 s asked of that cache lies in 5..10 s."""
        written = api.cache.Set(pb.SetRequest(cache="jitter", key=key, ttl=milliseconds(10_000)))
        assert 5_000 <= written.ttl.ToMilliseconds() <= 10_000

    def test_the_longest_ttl_of_a_cache_can_be_asked_for(self, api: Contract, key: str) -> None:
        """`max_ttl` itself is allowed."""
        written = api.cache.Set(pb.SetRequest(cache="bounded", key=key, ttl=milliseconds(120_000)))
        assert 120_000 == written.ttl.ToMilliseconds()


class TestStale:
    """A cache with `stale_for`."""

    def test_an_expired_entry_is_served_stale(self, api: Contract, key: str) -> None:
        """After its TTL the value is still there, marked, with no TTL left."""
        put(api, "stale", key, b"old")
        time.sleep(0.07)
        found = get(api, "stale", key)
        assert (STALE, b"old", 0) == (found.outcome, found.value, found.ttl.ToMilliseconds())

    def test_a_stale_entry_says_that_its_ttl_is_zero(self, api: Contract, key: str) -> None:
        """The TTL of a stale entry is set to zero, not left out."""
        put(api, "stale", key)
        time.sleep(0.07)
        assert get(api, "stale", key).HasField("ttl")

    def test_the_store_keeps_it_for_the_stale_time(self, api: Contract, key: str) -> None:
        """The key itself lives for TTL and stale time together."""
        put(api, "stale", key)
        assert 59_000 < api.oracle.pttl(entry_key("stale", key)) <= 60_050

    def test_a_write_makes_it_fresh(self, api: Contract, key: str) -> None:
        """Set over a stale entry makes a hit of it."""
        put(api, "stale", key, b"old")
        time.sleep(0.07)
        api.cache.Set(pb.SetRequest(cache="stale", key=key, value=b"new", ttl=milliseconds(60_000)))
        found = get(api, "stale", key)
        assert (HIT, b"new") == (found.outcome, found.value)


class TestDelete:
    """What a removal answers and does."""

    def test_it_removes(self, api: Contract, key: str) -> None:
        """Delete of an entry is applied, and the entry a miss."""
        put(api, "plain", key)
        deleted = api.cache.Delete(pb.DeleteRequest(cache="plain", key=key))
        assert (APPLIED, MISS) == (deleted.outcome, get(api, "plain", key).outcome)

    def test_that_there_was_nothing_is_an_outcome(self, api: Contract, key: str) -> None:
        """Delete of no entry is NOT_FOUND, with status OK."""
        deleted = api.cache.Delete(pb.DeleteRequest(cache="plain", key=key))
        assert NOT_FOUND == deleted.outcome

    def test_it_removes_what_no_sidecar_wrote(self, api: Contract, key: str) -> None:
        """A foreign string at the key can be deleted, as the error of Get advises."""
        api.oracle.set(entry_key("plain", key), "foreign")
        deleted = api.cache.Delete(pb.DeleteRequest(cache="plain", key=key))
        assert (APPLIED, 0) == (deleted.outcome, api.oracle.exists(entry_key("plain", key)))

    def test_it_removes_an_empty_string_that_no_sidecar_wrote(self, api: Contract, key: str) -> None:
        """An empty foreign string is something, too."""
        api.oracle.set(entry_key("plain", key), "")
        deleted = api.cache.Delete(pb.DeleteRequest(cache="plain", key=key))
        assert (APPLIED, 0) == (deleted.outcome, api.oracle.exists(entry_key("plain", key)))


class TestTouch:
    """What a renewal answers and does."""

    def test_it_sets_the_ttl(self, api: Contract, key: str) -> None:
        """The new TTL counts from now, in the answer and in the store."""
        put(api, "plain", key)
        touched = api.cache.Touch(pb.TouchRequest(cache="plain", key=key, ttl=milliseconds(61_000)))
        left = get(api, "plain", key).ttl.ToMilliseconds()
        assert (APPLIED, 61_000, True) == (touched.outcome, touched.ttl.ToMilliseconds(), 50_000 < left <= 61_000)

    def test_without_a_ttl_it_sets_the_caches_own(self, api: Contract, key: str) -> None:
        """Touch without a TTL renews the entry for the cache's TTL."""
        api.cache.Set(pb.SetRequest(cache="plain", key=key, ttl=milliseconds(61_000)))
        touched = api.cache.Touch(pb.TouchRequest(cache="plain", key=key))
        assert 300_000 == touched.ttl.ToMilliseconds()

    def test_it_keeps_value_and_version(self, api: Contract, key: str) -> None:
        """Only the TTL changes."""
        version = put(api, "plain", key, b"kept").version
        touched = api.cache.Touch(pb.TouchRequest(cache="plain", key=key, ttl=milliseconds(90_000)))
        found = get(api, "plain", key)
        assert (version, version, b"kept") == (touched.version, found.version, found.value)

    def test_it_keeps_the_age(self, api: Contract, key: str) -> None:
        """Age counts from the last write of the value, not from Touch."""
        put(api, "plain", key)
        time.sleep(0.03)
        api.cache.Touch(pb.TouchRequest(cache="plain", key=key))
        assert 25 <= get(api, "plain", key).age.ToMilliseconds()

    def test_it_makes_a_stale_entry_fresh(self, api: Contract, key: str) -> None:
        """A stale entry that is touched is a hit again."""
        put(api, "stale", key, b"old")
        time.sleep(0.07)
        api.cache.Touch(pb.TouchRequest(cache="stale", key=key, ttl=milliseconds(60_000)))
        assert HIT == get(api, "stale", key).outcome

    def test_that_there_was_nothing_is_an_outcome(self, api: Contract, key: str) -> None:
        """Touch of no entry is NOT_FOUND without version and TTL; a read can ask to know of that."""
        touched = api.cache.Touch(pb.TouchRequest(cache="plain", key=key))
        assert pb.TouchResponse(outcome=NOT_FOUND, token=touched.token) == touched

    def test_it_does_not_prolong_the_life_of_phi(self, api: Contract, key: str) -> None:
        """How long a sealed value lives is settled when it is written; Touch changes nothing."""
        put(api, "patients", key, b"Ada")
        before = get(api, "patients", key)
        refused = refusal(lambda: api.cache.Touch(pb.TouchRequest(cache="patients", key=key)))
        assert (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE") == (refused.code, refused.reason)
        after = get(api, "patients", key)
        assert (before.version, True) == (after.version, after.ttl.ToMilliseconds() <= before.ttl.ToMilliseconds())
