"""CacheService, Invalidate: what is out of date is not served, and what was loaded before is not filled in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, pipeline_pb2, record_pb2
from support.contract import TENANT, Contract, entry_key, milliseconds, refusal

from sidecar.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

HIT, MISS = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS
LEASE, ABSENT = pb.LOAD_OUTCOME_LEASE, pb.LOAD_OUTCOME_ABSENT
INVALID, REFUSED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
GONE = (REFUSED, "LEASE_UNKNOWN", "token")


def put(api: Contract, cache: str, key: str, *tags: str, value: bytes = b"v", ttl_ms: int = 60_000) -> pb.SetResponse:
    """Set an entry with tags."""
    return api.cache.Set(pb.SetRequest(cache=cache, key=key, value=value, tags=tags, ttl=milliseconds(ttl_ms)))


def found(api: Contract, cache: str, key: str) -> bytes | None:
    """Return an entry's value; None if there is none."""
    answer = api.cache.Get(pb.GetRequest(cache=cache, key=key))
    return None if answer.outcome == MISS else answer.value


def by_tags(api: Contract, cache: str, *tags: str) -> pb.InvalidateResponse:
    """Invalidate tags."""
    return api.cache.Invalidate(pb.InvalidateRequest(cache=cache, tags=pb.InvalidateTags(tags=tags)))


def by_keys(api: Contract, cache: str, *keys: str) -> pb.InvalidateResponse:
    """Invalidate keys."""
    return api.cache.Invalidate(pb.InvalidateRequest(cache=cache, keys=pb.InvalidateKeys(keys=keys)))


def by_prefix(api: Contract, cache: str, prefix: str) -> pb.InvalidateResponse:
    """Invalidate a prefix."""
    return api.cache.Invalidate(pb.InvalidateRequest(cache=cache, prefix=prefix))


def whole(api: Contract, cache: str) -> pb.InvalidateResponse:
    """Invalidate a whole cache."""
    return api.cache.Invalidate(pb.InvalidateRequest(cache=cache, all=True))


def lease(api: Contract, cache: str, key: str) -> str:
    """Be given the leave to load an entry."""
    answer = api.cache.GetOrLoad(pb.GetOrLoadRequest(cache=cache, key=key, wait=milliseconds(0)))
    assert LEASE == answer.outcome
    return answer.token


def fill(api: Contract, cache: str, key: str, token: str, *tags: str) -> pb.FillResponse:
    """Fill an entry with tags."""
    return api.cache.Fill(pb.FillRequest(cache=cache, key=key, token=token, value=b"loaded", tags=tags))


class TestTags:
    """Words that stand for entries."""

    @pytest.mark.parametrize("cache", ["tagged", "both", "patients_passing"])
    def test_the_entries_that_have_one_go_and_the_others_stay(self, api: Contract, key: str, cache: str) -> None:
        """However they were written; how many it were is told."""
        put(api, cache, f"{key}1", f"{key}a")
        put(api, cache, f"{key}2", f"{key}b", f"{key}a")
        put(api, cache, f"{key}3", f"{key}b")
        entries = [pb.SetManyEntry(key=f"{key}4", value=b"v", tags=[f"{key}a"]), pb.SetManyEntry(key=f"{key}5")]
        api.cache.SetMany(pb.SetManyRequest(cache=cache, entries=entries))
        fill(api, cache, f"{key}6", lease(api, cache, f"{key}6"), f"{key}a")
        answer = by_tags(api, cache, f"{key}a")
        left = [found(api, cache, f"{key}{number}") for number in range(1, 7)]
        assert (4, True, [None, None, b"v", None, b"", None]) == (answer.removed, answer.generation > 0, left)

    def test_several_at_once(self, api: Contract, key: str) -> None:
        """An entry with two of them counts once."""
        put(api, "tagged", f"{key}1", f"{key}a", f"{key}b")
        put(api, "tagged", f"{key}2", f"{key}c")
        assert 2 == by_tags(api, "tagged", f"{key}a", f"{key}b", f"{key}c").removed

    def test_more_than_a_page(self, api: Contract, key: str) -> None:
        """A tag may have any number of entries; none of it is left in the store but fences, for a while."""
        for start in range(0, 1_200, 20):
            entries = [pb.SetManyEntry(key=f"{key}{number}", tags=[key]) for number in range(start, start + 20)]
            api.cache.SetMany(pb.SetManyRequest(cache="tagged", entries=entries))
        removed = [by_tags(api, "tagged", key).removed for _ in range(2)]
        kinds = {name.split(b":")[2] for name in api.oracle.scan_iter(f"*{key}*", count=10_000)}
        assert ([1_200, 0], {b"v"}) == (removed, kinds)

    def test_an_entry_has_the_tags_it_was_written_with_last(self, api: Contract, key: str) -> None:
        """Those of before are not its any more."""
        put(api, "tagged", key, f"{key}old")
        put(api, "tagged", key, f"{key}new")
        assert [0, 1] == [by_tags(api, "tagged", f"{key}{tag}").removed for tag in ("old", "new")]

    def test_a_write_without_tags_takes_them_off(self, api: Contract, key: str) -> None:
        """And the entry stays when they are invalidated."""
        put(api, "tagged", key, key)
        put(api, "tagged", key)
        assert (0, b"v") == (by_tags(api, "tagged", key).removed, found(api, "tagged", key))

    def test_a_tag_is_one_of_its_cache(self, api: Contract, key: str) -> None:
        """Another cache's entries are not reached by it."""
        put(api, "tagged", key, key)
        assert (0, b"v") == (by_tags(api, "both", key).removed, found(api, "tagged", key))

    def test_an_entry_without_tags_costs_what_it_did(self, api: Contract, key: str) -> None:
        """In a cache that allows them, too: one key, without a position."""
        put(api, "tagged", key)
        assert b"S\x01" == api.oracle.get(entry_key("tagged", key))[:2]

    def test_members_whose_time_is_over_are_dropped(self, api: Contract, key: str) -> None:
        """With the next entry that gets the tag."""
        tag_key = f"sc:{TENANT}:t:{{tagged:{key}}}"
        for number in range(10):
            put(api, "tagged", f"{key}{number}", key)
        api.oracle.zadd(tag_key, {f"{key}{number}": 1_000 for number in range(9)})
        put(api, "tagged", f"{key}new", key)
        assert {f"{key}9".encode(), f"{key}new".encode()} == set(api.oracle.zrange(tag_key, 0, -1))

    def test_a_tag_does_not_outlive_its_entries_for_long(self, api: Contract, key: str) -> None:
        """No longer than a write may be under way, which a deadline bounds."""
        put(api, "tagged", key, key)
        left_ms = api.oracle.pttl(f"sc:{TENANT}:t:{{tagged:{key}}}") - api.oracle.pttl(entry_key("tagged", key))
        assert 0 < left_ms < 600_000

    def test_what_is_written_afterwards_is_there(self, api: Contract, key: str) -> None:
        """An invalidation concerns what was there."""
        put(api, "tagged", key, key)
        by_tags(api, "tagged", key)
        put(api, "tagged", key, key)
        assert b"v" == found(api, "tagged", key)

    def test_what_is_interrupted_is_completed_by_the_next(self, api: Contract, key: str) -> None:
        """Names that were taken and not visited are not lost."""
        put(api, "tagged", key, key)
        tag_key = f"sc:{TENANT}:t:{{tagged:{key}}}"
        api.oracle.rename(tag_key, f"{tag_key}:p")
        assert (1, None) == (by_tags(api, "tagged", key).removed, found(api, "tagged", key))

    def test_a_repeated_set_with_the_same_key_is_one(self, api: Contract, key: str) -> None:
        """Its tags are part of what is asked."""
        request = pb.SetRequest(cache="tagged", key=key, value=b"v", tags=[key], idempotency_key=key)
        first, again = api.cache.Set(request), api.cache.Set(request)
        request.tags.append("another")
        expected = (REFUSED, "IDEMPOTENCY_KEY_REUSED", "")
        assert (first, expected) == (again, refusal(lambda: api.cache.Set(request)).brief)


class TestGenerations:
    """Prefixes and whole caches."""

    @pytest.mark.parametrize("cache", ["passing", "both", "patients_passing"])
    def test_a_whole_cache(self, api: Contract, key: str, cache: str) -> None:
        """What is written afterwards is there; the generation grows."""
        put(api, cache, f"{key}1")
        first = whole(api, cache)
        put(api, cache, f"{key}2")
        before = [found(api, cache, f"{key}{number}") for number in (1, 2)]
        second = whole(api, cache)
        assert ([None, b"v"], None) == (before, found(api, cache, f"{key}2"))
        assert first.generation < second.generation

    def test_a_prefix(self, api: Contract, key: str) -> None:
        """At any of a name's colons; not what begins otherwise, and not the word without its colon."""
        names = [f"{key}:a:1", f"{key}:a:b:2", f"{key}:ab:3", f"{key}:a", f"x{key}:a:4"]
        for name in names:
            put(api, "passing", name)
        by_prefix(api, "passing", f"{key}:a:")
        assert [None, None, b"v", b"v", b"v"] == [found(api, "passing", name) for name in names]
        many = api.cache.GetMany(pb.GetManyRequest(cache="passing", keys=names)).results
        assert [MISS, MISS, HIT, HIT, HIT] == [one.entry.outcome for one in many]

    def test_stale_is_not_served_either(self, api: Contract, key: str) -> None:
        """Out of date is more than past its time."""
        put(api, "both", key, ttl_ms=1)
        time.sleep(0.02)
        before = found(api, "both", key)
        whole(api, "both")
        assert (b"v", None) == (before, found(api, "both", key))

    def test_conditions_take_what_is_out_of_date_for_none(self, api: Contract, key: str) -> None:
        """In Set and Delete; versions still grow."""
        before = put(api, "passing", key)
        whole(api, "passing")
        deleted = api.cache.Delete(pb.DeleteRequest(cache="passing", key=key)).outcome
        put(api, "passing", key)
        whole(api, "passing")
        condition = common_pb2.Condition(if_absent=True)
        after = api.cache.Set(pb.SetRequest(cache="passing", key=key, condition=condition))
        assert (common_pb2.WRITE_OUTCOME_NOT_FOUND, common_pb2.WRITE_OUTCOME_APPLIED) == (deleted, after.outcome)
        assert before.version < after.version

    def test_what_the_store_has_lost_is_out_of_date(self, api: Contract, key: str) -> None:
        """With the generations gone, nothing is served that may have been invalidated."""
        put(api, "passing", key)
        whole(api, "passing")
        put(api, "passing", f"{key}2")
        api.oracle.delete(f"sc:{TENANT}:g:{{passing}}")
        lost = found(api, "passing", f"{key}2")
        put(api, "passing", f"{key}3")
        assert (None, None, b"v") == (lost, found(api, "passing", key), found(api, "passing", f"{key}3"))

    def test_keys(self, api: Contract, key: str) -> None:
        """Of any cache, whatever is configured; how many there were is told, and a wrong one refuses all."""
        api.cache.Set(pb.SetRequest(cache="plain", key=key))
        assert (1, INVALID) == (
            by_keys(api, "plain", key, f"{key}other").removed,
            refusal(lambda: by_keys(api, "plain", key, "")).code,
        )

    @pytest.mark.parametrize("cache", ["plain", "patients"])
    def test_records(self, api: Contract, key: str, cache: str) -> None:
        """By their keys, as values."""
        fields = {"name": record_pb2.FieldValue(text="Ada")}
        api.records.PutRecord(record_pb2.PutRecordRequest(cache=cache, key=key, fields=fields))
        removed = by_keys(api, cache, key).removed
        found = api.records.GetRecord(record_pb2.GetRecordRequest(cache=cache, key=key))
        assert (1, common_pb2.OUTCOME_MISS) == (removed, found.outcome)

    def test_keys_that_fail_are_listed(self, api: Contract, key: str) -> None:
        """All others are removed all the same."""
        put(api, "plain", f"{key}1")
        api.oracle.lpush(entry_key("plain", f"{key}2"), "x")
        answer = by_keys(api, "plain", f"{key}1", f"{key}2")
        assert (1, [(f"{key}2", "WRONG_TYPE")]) == (
            answer.removed,
            [(one.key, Reason(one.failure.reason).name) for one in answer.failures],
        )


@pytest.mark.parametrize(
    ("cache", "of_a_get", "of_a_set"),
    [("plain", ["get"], 1), ("tagged", ["get"], 1), ("passing", ["get", "zmscore"], 2)],
)
def test_what_calls_without_tags_cost(api: Contract, key: str, cache: str, of_a_get: list[str], of_a_set: int) -> None:
    """Commands of the store, ten times: only generations cost a read anything."""

    def commands() -> dict[str, int]:
        stats = api.oracle.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): stats[name]["calls"]
            for name in ("cmdstat_get", "cmdstat_zmscore", "cmdstat_evalsha", "cmdstat_eval")
            if name in stats
        }

    def cost(ten_times: Callable[[], object]) -> dict[str, int]:
        before = commands()
        for _ in range(10):
            ten_times()
        return {name: count - before.get(name, 0) for name, count in commands().items() if count > before.get(name, 0)}

    put(api, cache, key)
    reading = cost(lambda: found(api, cache, key))
    writing = cost(lambda: put(api, cache, key))
    assert (dict.fromkeys(of_a_get, 10), 10 * of_a_set) == (reading, writing["evalsha"])


def test_operations_of_a_batch(api: Contract, key: str) -> None:
    """Writes with tags, and reads that ask for generations, go with others, each by its own result."""
    set_ = pb.SetRequest(cache="both", key=f"{key}:1", value=b"v", tags=[key])
    bad = pb.SetRequest(cache="both", key=f"{key}:1", tags=[""])
    get = pb.GetRequest(cache="both", key=f"{key}:1")
    operations = [
        pipeline_pb2.Operation(set=set_),
        pipeline_pb2.Operation(set=bad),
        pipeline_pb2.Operation(get=get),
        pipeline_pb2.Operation(get=pb.GetRequest(cache="plain", key=key)),
    ]
    first = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations)).results
    by_prefix(api, "both", f"{key}:")
    reads = pipeline_pb2.ExecuteRequest(operations=[pipeline_pb2.Operation(get=get)] * 2)
    second = api.pipeline.Execute(reads).results
    assert [HIT, MISS, MISS, MISS] == [one.get.outcome for one in [*first[2:], *second]]
    assert Reason.TAGS_UNSUITABLE.value == first[1].failure.reason


class TestLoads:
    """What was loaded before is not filled in after."""

    @pytest.mark.parametrize(
        "overtake",
        [
            lambda api, key: by_keys(api, "both", f"{key}:1"),
            lambda api, key: by_tags(api, "both", key),
            lambda api, key: by_tags(api, "both", "other", key),
            lambda api, key: by_prefix(api, "both", f"{key}:"),
            lambda api, _key: whole(api, "both"),
        ],
        ids=["key", "tag", "tags", "prefix", "all"],
    )
    def test_an_invalidation_voids_the_lease(
        self, api: Contract, key: str, overtake: Callable[[Contract, str], object]
    ) -> None:
        """Also by a tag that is known only from what was loaded; another then loads."""
        token = lease(api, "both", f"{key}:1")
        overtake(api, key)
        assert GONE == refusal(lambda: fill(api, "both", f"{key}:1", token, key)).brief
        fill(api, "both", f"{key}:1", lease(api, "both", f"{key}:1"), key)
        assert b"loaded" == found(api, "both", f"{key}:1")

    def test_nobody_waits_for_a_load_that_is_out_of_date(self, api: Contract, key: str) -> None:
        """The next is given the leave at once, by prefix and whole cache."""
        first = lease(api, "both", key)
        whole(api, "both")
        assert first != lease(api, "both", key)

    def test_other_loads_go_on(self, api: Contract, key: str) -> None:
        """Of other tags and other prefixes."""
        token = lease(api, "both", f"{key}:1")
        by_tags(api, "both", f"{key}other")
        by_prefix(api, "both", f"{key}x:")
        fill(api, "both", f"{key}:1", token, key)
        assert b"loaded" == found(api, "both", f"{key}:1")

    @pytest.mark.parametrize("how", ["tag", "all"])
    def test_that_there_is_nothing_goes_out_of_date(self, api: Contract, key: str, how: str) -> None:
        """So what is made later is found."""
        token = lease(api, "both", key)
        api.cache.Fill(pb.FillRequest(cache="both", key=key, token=token, absent=True, tags=[key]))
        request = pb.GetOrLoadRequest(cache="both", key=key)
        before = api.cache.GetOrLoad(request).outcome
        if how == "tag":
            by_tags(api, "both", key)
        else:
            whole(api, "both")
        assert (ABSENT, LEASE) == (before, api.cache.GetOrLoad(request).outcome)


class TestRefusals:
    """What is wrong changes nothing."""

    @pytest.mark.parametrize(
        ("tags", "field"),
        [([""], "tags[0]"), (["a", "é" * 65], "tags[1]"), ([str(number) for number in range(17)], "tags")],
        ids=["empty", "long", "many"],
    )
    def test_tags_are_bounded(self, api: Contract, key: str, tags: list[str], field: str) -> None:
        """Their number and their size, wherever they are named."""
        token = lease(api, "tagged", key)
        entry = pb.SetManyEntry(key=key, tags=tags)
        briefs = [
            refusal(lambda: put(api, "tagged", key, *tags)).brief,
            refusal(lambda: api.cache.SetMany(pb.SetManyRequest(cache="tagged", entries=[entry]))).brief,
            refusal(lambda: fill(api, "tagged", key, token, *tags)).brief,
            refusal(lambda: by_tags(api, "tagged", *tags)).brief,
        ]
        fields = [field, f"entries[0].{field}", field, f"tags.{field}"]
        assert [(INVALID, "TAGS_UNSUITABLE", each) for each in fields] == briefs
        assert None is found(api, "tagged", key)

    def test_sixteen_of_128_bytes_are_taken(self, api: Contract, key: str) -> None:
        """The bounds are within."""
        tags = [f"{number:x}{number:x}" + "é" * 63 for number in range(16)]
        put(api, "tagged", key, *tags)
        assert 1 == by_tags(api, "tagged", tags[-1]).removed

    @pytest.mark.parametrize("prefix", ["", "a", "a:b", "a:" * 9], ids=["empty", "no colon", "amid", "deep"])
    def test_a_prefix_ends_with_a_colon(self, api: Contract, prefix: str) -> None:
        """And has no more than eight: a read asks for no other."""
        expected = (INVALID, "PREFIX_UNSUITABLE", "prefix")
        assert expected == refusal(lambda: by_prefix(api, "passing", prefix)).brief

    @pytest.mark.parametrize(
        ("invalidate", "field"),
        [
            (lambda api: by_tags(api, "passing", "t"), "tags"),
            (lambda api: put(api, "passing", "k", "t"), "tags"),
            (lambda api: put(api, "plain", "k", "t"), "tags"),
            (lambda api: put(api, "shared", "k", "t"), "tags"),
            (lambda api: by_prefix(api, "tagged", "a:"), "prefix"),
            (lambda api: by_prefix(api, "patients_passing", "a:"), "prefix"),
            (lambda api: whole(api, "plain"), "all"),
            (lambda api: whole(api, "shared"), "cache"),
            (lambda api: by_keys(api, "shared", "k"), "cache"),
            (lambda api: api.cache.Touch(pb.TouchRequest(cache="tagged", key="k")), "ttl"),
            (lambda api: api.cache.Increment(pb.IncrementRequest(cache="passing", key="k")), "cache"),
            (lambda api: api.records.GetRecord(record_pb2.GetRecordRequest(cache="both", key="k")), "cache"),
        ],
    )
    def test_what_a_cache_does_not_have(
        self, api: Contract, invalidate: Callable[[Contract], object], field: str
    ) -> None:
        """Is refused, by name."""
        assert (REFUSED, "UNSUPPORTED_BY_CACHE", field) == refusal(lambda: invalidate(api)).brief

    @pytest.mark.parametrize(
        "asked",
        [pb.InvalidateRequest(cache="passing"), pb.InvalidateRequest(cache="passing", all=False)],
        ids=["nothing", "not all"],
    )
    def test_nothing_is_no_invalidation(self, api: Contract, asked: pb.InvalidateRequest) -> None:
        """It must say what is out of date."""
        assert (INVALID, "OPERATION_EMPTY", "what") == refusal(lambda: api.cache.Invalidate(asked)).brief

    def test_no_tags_are_none(self, api: Contract) -> None:
        """Nor is a list without a key."""
        assert [(INVALID, "TAGS_UNSUITABLE"), (INVALID, "BATCH_SIZE")] == [
            refusal(lambda: by_tags(api, "tagged")).brief[:2],
            refusal(lambda: by_keys(api, "tagged")).brief[:2],
        ]

    def test_an_unknown_cache(self, api: Contract) -> None:
        """Is unknown here too."""
        assert "CACHE_UNKNOWN" == refusal(lambda: whole(api, "pasing")).reason

    def test_a_sealed_cache_shows_no_tag(self, api: Contract, key: str) -> None:
        """Neither in names nor in values."""
        put(api, "patients_passing", key, f"ssn-{key}")
        names = list(api.oracle.scan_iter("*{patients_passing*", count=10_000))
        kinds = [api.oracle.type(name) for name in names]
        values = [api.oracle.get(name) for name, kind in zip(names, kinds, strict=True) if kind == b"string"]
        assert not any(key.encode() in text for text in [*names, *values])
