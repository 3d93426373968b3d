"""Answers fit into a message, whatever a small request asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, error_reason_pb2, record_pb2
from support.contract import refusal

if TYPE_CHECKING:
    from support.contract import Contract


def test_a_batch_holds_what_fits_and_names_the_rest(api: Contract, key: str) -> None:
    """A few values are there, those beyond the bound are failures of their own, and the call succeeds."""
    limits = api.sidecar.settings.limits
    value = b"x" * (limits.max_value_bytes - 100)
    api.cache.Set(cache_pb2.SetRequest(cache="plain", key=key, value=value))
    asked = 4 * limits.max_message_bytes // limits.max_value_bytes
    results = api.cache.GetMany(cache_pb2.GetManyRequest(cache="plain", keys=[key] * asked)).results
    found = [result.entry.outcome for result in results if result.HasField("entry")]
    failed = {result.failure.reason for result in results if result.HasField("failure")}
    assert 0 < len(found) < asked
    assert ({common_pb2.OUTCOME_HIT}, {error_reason_pb2.ERROR_REASON_ANSWER_TOO_LARGE}) == (set(found), failed)


def test_patches_cannot_grow_a_record_beyond_the_size_of_one(api: Contract, key: str) -> None:
    """The size of the whole record is what counts."""
    half = record_pb2.FieldValue(data=b"x" * (api.sidecar.settings.limits.max_value_bytes // 2))
    api.records.PutRecord(record_pb2.PutRecordRequest(cache="plain", key=key, fields={"a": half}))
    refused = refusal(
        lambda: api.records.PatchRecord(record_pb2.PatchRecordRequest(cache="plain", key=key, fields={"b": half}))
    )
    assert "VALUE_TOO_LARGE" == refused.reason
    replaced = api.records.PatchRecord(record_pb2.PatchRecordRequest(cache="plain", key=key, fields={"a": half}))
    assert common_pb2.WRITE_OUTCOME_APPLIED == replaced.outcome
