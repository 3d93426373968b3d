"""What the fields of a record may not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import timestamp_pb2
from sidecar_client.gen.sidecar.v1 import record_pb2 as pb
from sidecar_client.gen.sidecar.v1.record_pb2 import FieldValue
from support.contract import refusal

if TYPE_CHECKING:
    from support.contract import Contract

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ONE = FieldValue(integer=1)
BAD_NAMES = pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "é", "a ", "a\n", "a" * 65])
BAD_VALUES = {
    "no value": FieldValue(),
    "before year 1": FieldValue(time=timestamp_pb2.Timestamp(seconds=-62_135_596_801)),
    "after year 9999": FieldValue(time=timestamp_pb2.Timestamp(seconds=253_402_300_800)),
    "negative nanoseconds": FieldValue(time=timestamp_pb2.Timestamp(nanos=-1)),
    "a second of nanoseconds": FieldValue(time=timestamp_pb2.Timestamp(nanos=1_000_000_000)),
}


def put(api: Contract, key: str, fields: dict[str, FieldValue]) -> pb.PutRecordResponse:
    """Write a record."""
    return api.records.PutRecord(pb.PutRecordRequest(cache="plain", key=key, fields=fields))


def patch(api: Contract, key: str, fields: dict[str, FieldValue], *remove: str) -> pb.PatchRecordResponse:
    """Change a record."""
    return api.records.PatchRecord(pb.PatchRecordRequest(cache="plain", key=key, fields=fields, remove_fields=remove))


class TestNames:
    """FIELD_NAME."""

    @BAD_NAMES
    def test_put_refuses_it(self, api: Contract, key: str, name: str) -> None:
        """Nothing is written."""
        refused = refusal(lambda: put(api, key, {"good": ONE, name: ONE}))
        assert ((INVALID, "FIELD_NAME", "fields"), {}) == (refused.brief, api.snapshot(key))

    @BAD_NAMES
    def test_patch_refuses_to_set_it(self, api: Contract, key: str, name: str) -> None:
        """The record stays as it was."""
        put(api, key, {"good": ONE})
        before = api.snapshot(key)
        refused = refusal(lambda: patch(api, key, {name: ONE}))
        assert ((INVALID, "FIELD_NAME", "fields"), before) == (refused.brief, api.snapshot(key))

    @BAD_NAMES
    def test_patch_refuses_to_remove_it(self, api: Contract, key: str, name: str) -> None:
        """Above all not the empty name, under which the header lies."""
        put(api, key, {"good": ONE})
        before = api.snapshot(key)
        refused = refusal(lambda: patch(api, key, {}, name))
        assert ((INVALID, "FIELD_NAME"), before) == ((refused.code, refused.reason), api.snapshot(key))

    @BAD_NAMES
    def test_get_refuses_to_read_it(self, api: Contract, key: str, name: str) -> None:
        """A mask names fields that could exist."""
        request = pb.GetRecordRequest(cache="plain", key=key)
        request.read_mask.paths.append(name)
        assert (INVALID, "FIELD_NAME", "read_mask") == refusal(lambda: api.records.GetRecord(request)).brief

    def test_removing_a_field_twice_is_refused(self, api: Contract, key: str) -> None:
        """A name stands once."""
        refused = refusal(lambda: patch(api, key, {}, "a", "a"))
        assert (INVALID, "FIELD_NAME") == (refused.code, refused.reason)


class TestCounts:
    """FIELD_COUNT."""

    def test_put_refuses_a_record_of_nothing(self, api: Contract, key: str) -> None:
        """A record has at least one field."""
        assert (INVALID, "FIELD_COUNT", "fields") == refusal(lambda: put(api, key, {})).brief

    def test_put_refuses_257_fields(self, api: Contract, key: str) -> None:
        """And at most 256."""
        fields = {f"f{number}": ONE for number in range(257)}
        refused = refusal(lambda: put(api, key, fields))
        assert ((INVALID, "FIELD_COUNT", "fields"), {}) == (refused.brief, api.snapshot(key))

    def test_patch_refuses_257_fields(self, api: Contract, key: str) -> None:
        """Those to set and those to remove together."""
        fields = {f"f{number}": ONE for number in range(200)}
        refused = refusal(lambda: patch(api, key, fields, *[f"r{number}" for number in range(57)]))
        assert (INVALID, "FIELD_COUNT", "fields") == refused.brief

    def test_get_refuses_a_mask_of_257(self, api: Contract, key: str) -> None:
        """A record has no more."""
        request = pb.GetRecordRequest(cache="plain", key=key)
        request.read_mask.paths.extend(f"f{number}" for number in range(257))
        assert (INVALID, "FIELD_COUNT", "read_mask") == refusal(lambda: api.records.GetRecord(request)).brief


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES.keys())
class TestValues:
    """FIELD_VALUE."""

    def test_put_refuses_it(self, api: Contract, key: str, value: FieldValue) -> None:
        """The refusal names the field; nothing is written."""
        refused = refusal(lambda: put(api, key, {"good": ONE, "bad": value}))
        assert ((INVALID, "FIELD_VALUE", "fields[bad]"), {}) == (refused.brief, api.snapshot(key))

    def test_patch_refuses_it(self, api: Contract, key: str, value: FieldValue) -> None:
        """The refusal names the field; the record stays as it was."""
        put(api, key, {"good": ONE})
        before = api.snapshot(key)
        refused = refusal(lambda: patch(api, key, {"bad": value}))
        assert ((INVALID, "FIELD_VALUE", "fields[bad]"), before) == (refused.brief, api.snapshot(key))
