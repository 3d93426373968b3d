"""RecordService: types of fields, whole and partial writes and reads, conditions, TTLs."""

from __future__ import annotations

import math
import struct
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import field_mask_pb2, timestamp_pb2
from sidecar_client.gen.sidecar.v1 import common_pb2
from sidecar_client.gen.sidecar.v1 import record_pb2 as pb
from sidecar_client.gen.sidecar.v1.common_pb2 import Condition
from sidecar_client.gen.sidecar.v1.record_pb2 import FieldValue
from support.contract import entry_key, milliseconds, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.duration_pb2 import Duration
    from support.contract import Contract

APPLIED = common_pb2.WRITE_OUTCOME_APPLIED
NOT_MET = common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET
NOT_FOUND = common_pb2.WRITE_OUTCOME_NOT_FOUND
HIT, MISS, STALE = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS, common_pb2.OUTCOME_STALE

CACHES = pytest.mark.parametrize("cache", ["plain", "patients"])
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799

EXACT = {
    "empty text": FieldValue(text=""),
    "text": FieldValue(text="Zoë 🩺\n\x00"),
    "empty bytes": FieldValue(data=b""),
    "bytes": FieldValue(data=bytes(range(256))),
    "zero": FieldValue(integer=0),
    "greatest integer": FieldValue(integer=2**63 - 1),
    "least integer": FieldValue(integer=-(2**63)),
    "number": FieldValue(number=0.1),
    "infinity": FieldValue(number=math.inf),
    "minus infinity": FieldValue(number=-math.inf),
    "least number": FieldValue(number=5e-324),
    "true": FieldValue(boolean=True),
    "false": FieldValue(boolean=False),
    "epoch": FieldValue(time=timestamp_pb2.Timestamp()),
    "nanosecond": FieldValue(time=timestamp_pb2.Timestamp(seconds=1_700_000_000, nanos=1)),
    "year 1": FieldValue(time=timestamp_pb2.Timestamp(seconds=FIRST_SECOND)),
    "year 9999": FieldValue(time=timestamp_pb2.Timestamp(seconds=LAST_SECOND, nanos=999_999_999)),
}
TWO = {"name": FieldValue(text="Ada"), "ward": FieldValue(text="7b")}


def put(
    api: Contract, cache: str, key: str, fields: Mapping[str, FieldValue], condition: Condition | None = None
) -> pb.PutRecordResponse:
    """Write a record."""
    return api.records.PutRecord(pb.PutRecordRequest(cache=cache, key=key, fields=fields, condition=condition))


def get(api: Contract, cache: str, key: str, names: Sequence[str] = ()) -> pb.GetRecordResponse:
    """Read a record."""
    mask = field_mask_pb2.FieldMask(paths=names)
    return api.records.GetRecord(pb.GetRecordRequest(cache=cache, key=key, read_mask=mask))


def patch(
    api: Contract,
    cache: str,
    key: str,
    fields: Mapping[str, FieldValue] | None = None,
    *,
    remove: Sequence[str] = (),
    ttl: Duration | None = None,
    condition: Condition | None = None,
) -> pb.PatchRecordResponse:
    """Change a record."""
    return api.records.PatchRecord(
        pb.PatchRecordRequest(cache=cache, key=key, fields=fields, remove_fields=remove, ttl=ttl, condition=condition)
    )


def fields_of(api: Contract, cache: str, key: str, names: Sequence[str] = ()) -> dict[str, FieldValue]:
    """Return what a read finds."""
    return dict(get(api, cache, key, names).fields)


@CACHES
class TestTypes:
    """A field comes back as what it was put, in clear and sealed caches."""

    @pytest.mark.parametrize("value", EXACT.values(), ids=EXACT.keys())
    def test_a_value_comes_back_exactly(self, api: Contract, key: str, cache: str, value: FieldValue) -> None:
        """Type and content survive."""
        put(api, cache, key, {"f": value})
        assert {"f": value} == fields_of(api, cache, key)

    @pytest.mark.parametrize("number", [-0.0, math.nan, 1e308], ids=["minus zero", "not a number", "large"])
    def test_a_number_comes_back_bit_by_bit(self, api: Contract, key: str, cache: str, number: float) -> None:
        """The sign of zero and what is not a number survive as well."""
        put(api, cache, key, {"f": FieldValue(number=number)})
        assert struct.pack(">d", number) == struct.pack(">d", fields_of(api, cache, key)["f"].number)

    def test_all_at_once(self, api: Contract, key: str, cache: str) -> None:
        """A record may hold fields of every type."""
        fields = {f"f{number}": value for number, value in enumerate(EXACT.values())}
        put(api, cache, key, fields)
        assert fields == fields_of(api, cache, key)

    def test_the_largest_record(self, api: Contract, key: str, cache: str) -> None:
        """256 fields with names of 64 letters are allowed."""
        fields = {f"f{number}".ljust(64, "x"): FieldValue(integer=number) for number in range(256)}
        put(api, cache, key, fields)
        assert fields == fields_of(api, cache, key)


@CACHES
class TestPutAndGet:
    """Whole writes, and reads."""

    def test_a_miss_is_nothing_but_a_miss(self, api: Contract, key: str, cache: str) -> None:
        """Of a record that is not there nothing is said."""
        assert pb.GetRecordResponse(outcome=MISS) == get(api, cache, key)

    def test_a_hit_has_version_ttl_age_and_source(self, api: Contract, key: str, cache: str) -> None:
        """The version is the write's, the TTL the cache's."""
        written = put(api, cache, key, TWO)
        found = get(api, cache, key)
        left = written.ttl.ToMilliseconds() - found.ttl.ToMilliseconds()
        assert (HIT, written.version, common_pb2.SOURCE_STORE, True, True) == (
            found.outcome, found.version, found.source, 0 <= left < 5000, found.age.ToMilliseconds() < 5000,
        )  # fmt: skip

    def test_put_replaces(self, api: Contract, key: str, cache: str) -> None:
        """Fields that the second write does not name are gone."""
        put(api, cache, key, TWO)
        put(api, cache, key, {"ssn": FieldValue(text="1")})
        assert {"ssn": FieldValue(text="1")} == fields_of(api, cache, key)

    def test_the_version_grows(self, api: Contract, key: str, cache: str) -> None:
        """Also across a deletion."""
        versions = [put(api, cache, key, TWO).version for _ in range(5)]
        api.records.DeleteRecord(pb.DeleteRecordRequest(cache=cache, key=key))
        versions.append(put(api, cache, key, TWO).version)
        assert sorted(set(versions)) == versions

    @pytest.mark.parametrize("names", [["name"], ["ward"], ["name", "ward"]])
    def test_a_mask_selects(self, api: Contract, key: str, cache: str, names: list[str]) -> None:
        """Only the named fields are read."""
        put(api, cache, key, {**TWO, "ssn": FieldValue(text="1")})
        assert {name: TWO[name] for name in names} == fields_of(api, cache, key, names)

    def test_a_mask_may_name_what_is_not_there(self, api: Contract, key: str, cache: str) -> None:
        """Such a field is left out."""
        put(api, cache, key, TWO)
        assert {"name": TWO["name"]} == fields_of(api, cache, key, ["name", "unknown"])

    def test_a_mask_of_nothing_that_is_there_is_still_a_hit(self, api: Contract, key: str, cache: str) -> None:
        """The record is there, if without these fields."""
        put(api, cache, key, TWO)
        found = get(api, cache, key, ["unknown"])
        assert (HIT, {}) == (found.outcome, dict(found.fields))

    def test_delete_removes(self, api: Contract, key: str, cache: str) -> None:
        """Once; the second time there is nothing."""
        put(api, cache, key, TWO)
        request = pb.DeleteRecordRequest(cache=cache, key=key)
        outcomes = [api.records.DeleteRecord(request).outcome for _ in range(2)]
        assert ([APPLIED, NOT_FOUND], MISS) == (outcomes, get(api, cache, key).outcome)


def test_a_patch_sets_a_new_ttl(api: Contract, key: str) -> None:
    """With a TTL it counts from now."""
    put(api, "plain", key, TWO)
    patched = patch(api, "plain", key, {"age": FieldValue(integer=1)}, ttl=milliseconds(7000))
    read = get(api, "plain", key).ttl.ToMilliseconds()
    assert (7000, True) == (patched.ttl.ToMilliseconds(), 6000 < read <= 7000)


def test_a_patch_does_not_prolong_the_life_of_phi(api: Contract, key: str) -> None:
    """How long PHI lives is settled when it is put."""
    put(api, "patients", key, TWO)
    refused = refusal(lambda: patch(api, "patients", key, {"age": FieldValue(integer=1)}, ttl=milliseconds(7000)))
    expected = (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE", "ttl")
    assert expected == (refused.code, refused.reason, refused.field)


@CACHES
class TestPatch:
    """Partial writes."""

    def test_it_sets_and_keeps(self, api: Contract, key: str, cache: str) -> None:
        """Named fields change, the others stay."""
        put(api, cache, key, TWO)
        patch(api, cache, key, {"ward": FieldValue(text="8a"), "age": FieldValue(integer=36)})
        expected = {**TWO, "ward": FieldValue(text="8a"), "age": FieldValue(integer=36)}
        assert expected == fields_of(api, cache, key)

    def test_it_removes(self, api: Contract, key: str, cache: str) -> None:
        """Removed fields are gone; one that was not there is no error."""
        put(api, cache, key, TWO)
        patch(api, cache, key, remove=["name", "unknown"])
        assert {"ward": TWO["ward"]} == fields_of(api, cache, key)

    def test_it_makes_a_new_version(self, api: Contract, key: str, cache: str) -> None:
        """A patch is a write."""
        version = put(api, cache, key, TWO).version
        patched = patch(api, cache, key, {"age": FieldValue(integer=1)}).version
        assert (True, patched) == (version < patched, get(api, cache, key).version)

    def test_it_keeps_the_ttl(self, api: Contract, key: str, cache: str) -> None:
        """Without a TTL the record keeps what it had left."""
        request = pb.PutRecordRequest(cache=cache, key=key, fields=TWO, ttl=milliseconds(9000))
        api.records.PutRecord(request)
        left = patch(api, cache, key, {"age": FieldValue(integer=1)}).ttl.ToMilliseconds()
        read = get(api, cache, key).ttl.ToMilliseconds()
        assert (True, True) == (8000 < left <= 9000, 8000 < read <= 9000)

    def test_it_makes_no_record(self, api: Contract, key: str, cache: str) -> None:
        """Of nothing it is NOT_FOUND, and there is still nothing."""
        patched = patch(api, cache, key, TWO)
        expected = pb.PatchRecordResponse(outcome=NOT_FOUND)
        assert (expected, MISS) == (patched, get(api, cache, key).outcome)

    def test_setting_and_removing_one_field_is_refused(self, api: Contract, key: str, cache: str) -> None:
        """Which was meant cannot be told."""
        refused = refusal(lambda: patch(api, cache, key, TWO, remove=["ward"]))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_NAME") == (refused.code, refused.reason)

    def test_a_patch_of_nothing_is_refused(self, api: Contract, key: str, cache: str) -> None:
        """There is no field to set or remove."""
        refused = refusal(lambda: patch(api, cache, key))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_COUNT", "fields") == refused.brief

    def test_patches_cannot_grow_a_record_beyond_its_bound(self, api: Contract, key: str, cache: str) -> None:
        """The 257th field is refused, and nothing of its patch is applied."""
        put(api, cache, key, {f"f{number}": FieldValue(integer=number) for number in range(256)})
        before = api.snapshot(key)
        one_more = {"f0": FieldValue(integer=-1), "more": FieldValue(integer=1)}
        refused = refusal(lambda: patch(api, cache, key, one_more))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_COUNT", before) == (
            refused.code,
            refused.reason,
            api.snapshot(key),
        )

    def test_a_full_record_can_still_be_patched(self, api: Contract, key: str, cache: str) -> None:
        """Fields that are there, and as many new ones as are removed."""
        put(api, cache, key, {f"f{number}": FieldValue(integer=number) for number in range(256)})
        swapped = {"f0": FieldValue(integer=-1), "more": FieldValue(integer=1)}
        assert APPLIED == patch(api, cache, key, swapped, remove=["f255", "absent"]).outcome


@CACHES
class TestConditions:
    """Compare-and-set of records."""

    def test_put_if_absent(self, api: Contract, key: str, cache: str) -> None:
        """Only the first is applied."""
        outcomes = [put(api, cache, key, TWO, Condition(if_absent=True)).outcome for _ in range(2)]
        assert [APPLIED, NOT_MET] == outcomes

    def test_put_on_the_current_version(self, api: Contract, key: str, cache: str) -> None:
        """The version just read holds, once."""
        condition = Condition(if_version=put(api, cache, key, TWO).version)
        outcomes = [put(api, cache, key, TWO, condition).outcome for _ in range(2)]
        assert [APPLIED, NOT_MET] == outcomes

    def test_patch_on_an_old_version_changes_nothing(self, api: Contract, key: str, cache: str) -> None:
        """The refusal names the current version."""
        version = put(api, cache, key, TWO).version
        change = {"ward": FieldValue(text="x")}
        patched = patch(api, cache, key, change, remove=["name"], condition=Condition(if_version=1))
        expected = pb.PatchRecordResponse(outcome=NOT_MET, version=version)
        assert (expected, TWO) == (patched, fields_of(api, cache, key))

    def test_one_of_many_patches_on_a_version_wins(self, api: Contract, key: str, cache: str) -> None:
        """Of 50 concurrent ones exactly one is applied, and its value is there."""
        condition = Condition(if_version=put(api, cache, key, TWO).version)
        asked = [
            api.records.PatchRecord.future(
                pb.PatchRecordRequest(
                    cache=cache, key=key, fields={"winner": FieldValue(integer=number)}, condition=condition
                )
            )
            for number in range(50)
        ]
        winners = [number for number, answer in enumerate(asked) if answer.result().outcome == APPLIED]
        assert [fields_of(api, cache, key)["winner"].integer] == winners

    def test_delete_on_an_old_version_removes_nothing(self, api: Contract, key: str, cache: str) -> None:
        """The record stays."""
        put(api, cache, key, TWO)
        request = pb.DeleteRecordRequest(cache=cache, key=key, condition=Condition(if_version=1))
        assert (NOT_MET, HIT) == (api.records.DeleteRecord(request).outcome, get(api, cache, key).outcome)


@CACHES
class TestIdempotency:
    """Repeats of writes."""

    def test_a_repeated_put_writes_once(self, api: Contract, key: str, cache: str) -> None:
        """The answer is the same, and what was patched since stays."""
        request = pb.PutRecordRequest(cache=cache, key=key, fields=TWO, idempotency_key="one")
        first = api.records.PutRecord(request)
        patch(api, cache, key, remove=["ward"])
        again = api.records.PutRecord(request)
        assert (first, {"name": TWO["name"]}) == (again, fields_of(api, cache, key))

    def test_a_repeated_patch_changes_once(self, api: Contract, key: str, cache: str) -> None:
        """The answer is the same, and what was put since stays."""
        put(api, cache, key, TWO)
        change = {"ward": FieldValue(text="8a")}
        request = pb.PatchRecordRequest(cache=cache, key=key, fields=change, idempotency_key="one")
        first = api.records.PatchRecord(request)
        put(api, cache, key, TWO)
        again = api.records.PatchRecord(request)
        assert (first, TWO) == (again, fields_of(api, cache, key))

    def test_a_repeated_delete_removes_once(self, api: Contract, key: str, cache: str) -> None:
        """The record put since stays."""
        put(api, cache, key, TWO)
        request = pb.DeleteRecordRequest(cache=cache, key=key, idempotency_key="one")
        first = api.records.DeleteRecord(request)
        put(api, cache, key, TWO)
        again = api.records.DeleteRecord(request)
        assert (first, HIT) == (again, get(api, cache, key).outcome)

    def test_the_order_of_fields_does_not_matter(self, api: Contract, key: str, cache: str) -> None:
        """A map has no order, so the same fields are the same request."""
        requests = [
            pb.PutRecordRequest(cache=cache, key=key, fields=dict(items), idempotency_key="one")
            for items in (TWO.items(), reversed(TWO.items()))
        ]
        first, again = (api.records.PutRecord(request) for request in requests)
        assert first == again

    def test_other_fields_are_another_request(self, api: Contract, key: str, cache: str) -> None:
        """IDEMPOTENCY_KEY_REUSED, and nothing is written."""
        api.records.PutRecord(pb.PutRecordRequest(cache=cache, key=key, fields=TWO, idempotency_key="one"))
        other = {"name": FieldValue(data=b"Ada"), "ward": TWO["ward"]}
        request = pb.PutRecordRequest(cache=cache, key=key, fields=other, idempotency_key="one")
        refused = refusal(lambda: api.records.PutRecord(request))
        expected = (grpc.StatusCode.FAILED_PRECONDITION, "IDEMPOTENCY_KEY_REUSED", TWO)
        assert expected == (refused.code, refused.reason, fields_of(api, cache, key))


class TestTime:
    """TTLs of records."""

    def test_a_record_is_gone_after_its_ttl(self, api: Contract, key: str) -> None:
        """Without stale time it is a miss."""
        put(api, "brief", key, TWO)
        time.sleep(0.13)
        assert MISS == get(api, "brief", key).outcome

    def test_an_expired_record_is_served_stale(self, api: Contract, key: str) -> None:
        """With stale time it is there, marked."""
        put(api, "stale", key, TWO)
        time.sleep(0.07)
        found = get(api, "stale", key)
        assert (STALE, TWO, 0) == (found.outcome, dict(found.fields), found.ttl.ToMilliseconds())

    def test_the_whole_hash_expires(self, api: Contract, key: str) -> None:
        """The key in the store has the record's TTL, also after a patch."""
        put(api, "plain", key, TWO)
        patch(api, "plain", key, {"age": FieldValue(integer=1)})
        assert 290_000 < api.oracle.pttl(entry_key("plain", key)) <= 300_000


class TestForeign:
    """What no sidecar wrote."""

    MALFORMED = (grpc.StatusCode.FAILED_PRECONDITION, "ENTRY_MALFORMED")
    WRONG_TYPE = (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_TYPE")

    def test_a_foreign_hash_is_malformed_to_everything_but_delete(self, api: Contract, key: str) -> None:
        """Reads and writes end with an error, and the hash stays."""
        api.oracle.hset(entry_key("plain", key), "name", "foreign")
        calls = (
            lambda: get(api, "plain", key),
            lambda: get(api, "plain", key, ["name"]),
            lambda: put(api, "plain", key, TWO),
            lambda: patch(api, "plain", key, TWO),
        )
        refusals = [refusal(call) for call in calls]
        kept = api.oracle.hgetall(entry_key("plain", key))
        assert ([self.MALFORMED] * 4, {b"name": b"foreign"}) == ([(it.code, it.reason) for it in refusals], kept)

    def test_a_foreign_hash_can_be_deleted(self, api: Contract, key: str) -> None:
        """As the error advises."""
        api.oracle.hset(entry_key("plain", key), "name", "foreign")
        assert APPLIED == api.records.DeleteRecord(pb.DeleteRecordRequest(cache="plain", key=key)).outcome

    def test_a_string_is_of_the_wrong_type(self, api: Contract, key: str) -> None:
        """Every method says so, and the string stays."""
        api.oracle.set(entry_key("plain", key), "foreign")
        calls = (
            lambda: get(api, "plain", key),
            lambda: get(api, "plain", key, ["name"]),
            lambda: put(api, "plain", key, TWO),
            lambda: patch(api, "plain", key, TWO),
            lambda: api.records.DeleteRecord(pb.DeleteRecordRequest(cache="plain", key=key)),
        )
        refusals = [refusal(call) for call in calls]
        kept = api.oracle.get(entry_key("plain", key))
        assert ([self.WRONG_TYPE] * 5, b"foreign") == ([(it.code, it.reason) for it in refusals], kept)

    @pytest.mark.parametrize("content", [b"", b"x", b"i123", b"o\x02", b"m123", b"t\xff"])
    def test_a_spoilt_field_is_malformed(self, api: Contract, key: str, content: bytes) -> None:
        """A field that holds no value of any type is an error, not a crash."""
        put(api, "plain", key, TWO)
        api.oracle.hset(entry_key("plain", key), "ward", content)
        refused = refusal(lambda: get(api, "plain", key))
        assert self.MALFORMED == (refused.code, refused.reason)

    def test_a_field_with_a_foreign_name_is_malformed(self, api: Contract, key: str) -> None:
        """A field whose name is no text is an error, not a crash."""
        put(api, "plain", key, TWO)
        api.oracle.hset(entry_key("plain", key), b"\xff\xfe", b"tforeign")
        refused = refusal(lambda: get(api, "plain", key))
        assert self.MALFORMED == (refused.code, refused.reason)
