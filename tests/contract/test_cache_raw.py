"""A cache with `format: raw`: plain Redis strings, shared with programs that know nothing of the sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, record_pb2
from support.contract import milliseconds, refusal

if TYPE_CHECKING:
    from support.contract import Contract

APPLIED, NOT_FOUND = common_pb2.WRITE_OUTCOME_APPLIED, common_pb2.WRITE_OUTCOME_NOT_FOUND
UNSUPPORTED = (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE")


def put(api: Contract, key: str, value: bytes = b"v") -> pb.SetResponse:
    """Write by the sidecar."""
    return api.cache.Set(pb.SetRequest(cache="shared", key=key, value=value))


def get(api: Contract, key: str) -> pb.GetResponse:
    """Read by the sidecar."""
    return api.cache.Get(pb.GetRequest(cache="shared", key=key))


class TestSharing:
    """Two programs, one string."""

    @pytest.mark.parametrize("value", [b"", b"text", b"\x00\xff\r\n"])
    def test_another_program_reads_what_set_wrote(self, api: Contract, key: str, value: bytes) -> None:
        """The key is the prefix and the caller's key, the value as it is."""
        put(api, key, value)
        assert value == api.oracle.get(f"shared:{key}")

    @pytest.mark.parametrize("value", [b"", b"text", b"\x00\xff\r\n"])
    def test_get_reads_what_another_program_wrote(self, api: Contract, key: str, value: bytes) -> None:
        """An empty string is a hit, too."""
        api.oracle.set(f"shared:{key}", value)
        found = get(api, key)
        assert (common_pb2.OUTCOME_HIT, value) == (found.outcome, found.value)

    def test_another_program_sees_the_ttl(self, api: Contract, key: str) -> None:
        """The key's own TTL is the entry's."""
        api.cache.Set(pb.SetRequest(cache="shared", key=key, ttl=milliseconds(50_000)))
        assert 40_000 < api.oracle.pttl(f"shared:{key}") <= 50_000

    def test_get_sees_the_ttl_of_another_program(self, api: Contract, key: str) -> None:
        """The remaining TTL is that of the key."""
        api.oracle.set(f"shared:{key}", "v", px=5000)
        assert 4000 < get(api, key).ttl.ToMilliseconds() <= 5000

    def test_a_key_for_ever_has_no_ttl(self, api: Contract, key: str) -> None:
        """TTL unset says that the key never expires."""
        api.oracle.set(f"shared:{key}", "v")
        assert not get(api, key).HasField("ttl")

    def test_delete_removes_what_another_program_wrote(self, api: Contract, key: str) -> None:
        """And the other program sees that it is gone."""
        api.oracle.set(f"shared:{key}", "v")
        deleted = api.cache.Delete(pb.DeleteRequest(cache="shared", key=key))
        assert (APPLIED, 0) == (deleted.outcome, api.oracle.exists(f"shared:{key}"))

    def test_touch_gives_a_key_for_ever_a_ttl(self, api: Contract, key: str) -> None:
        """Touch bounds what another program left without a TTL."""
        api.oracle.set(f"shared:{key}", "v")
        api.cache.Touch(pb.TouchRequest(cache="shared", key=key, ttl=milliseconds(50_000)))
        assert 40_000 < api.oracle.pttl(f"shared:{key}") <= 50_000

    def test_touch_of_nothing_makes_nothing(self, api: Contract, key: str) -> None:
        """No key, no effect."""
        touched = api.cache.Touch(pb.TouchRequest(cache="shared", key=key))
        assert (pb.TouchResponse(outcome=NOT_FOUND), 0) == (touched, api.oracle.exists(f"shared:{key}"))

    def test_a_plain_write_leaves_nothing_else_behind(self, api: Contract, key: str) -> None:
        """One Set is one key in the store."""
        before = api.names()
        put(api, key)
        assert {f"shared:{key}".encode()} == api.names() - before


class TestNoVersions:
    """What a plain string cannot have."""

    def test_a_write_has_no_version(self, api: Contract, key: str) -> None:
        """The version is 0."""
        assert 0 == put(api, key).version

    def test_a_hit_has_neither_version_nor_age(self, api: Contract, key: str) -> None:
        """Nobody wrote down when."""
        put(api, key)
        found = get(api, key)
        assert (0, False) == (found.version, found.HasField("age"))

    def test_a_write_on_a_version_is_refused(self, api: Contract, key: str) -> None:
        """Nothing is written."""
        condition = common_pb2.Condition(if_version=1)
        request = pb.SetRequest(cache="shared", key=key, condition=condition)
        refused = refusal(lambda: api.cache.Set(request))
        assert ((*UNSUPPORTED, "condition"), 0) == (refused.brief, api.oracle.exists(f"shared:{key}"))

    def test_a_removal_on_a_version_is_refused(self, api: Contract, key: str) -> None:
        """Nothing is removed."""
        put(api, key)
        condition = common_pb2.Condition(if_version=1)
        refused = refusal(lambda: api.cache.Delete(pb.DeleteRequest(cache="shared", key=key, condition=condition)))
        assert ((*UNSUPPORTED, "condition"), 1) == (refused.brief, api.oracle.exists(f"shared:{key}"))

    def test_it_holds_no_records(self, api: Contract, key: str) -> None:
        """RecordService refuses a raw cache."""
        refused = refusal(lambda: api.records.GetRecord(record_pb2.GetRecordRequest(cache="shared", key=key)))
        assert (*UNSUPPORTED, "cache") == refused.brief
