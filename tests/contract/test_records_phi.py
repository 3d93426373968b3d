"""RecordService on a phi cache: what the store gets to see, and what becomes of records that were tampered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2
from sidecar_client.gen.sidecar.v1 import record_pb2 as pb
from sidecar_client.gen.sidecar.v1.record_pb2 import FieldValue
from support.contract import TENANT, milliseconds, refusal

if TYPE_CHECKING:
    from support.contract import Contract

CANARIES = ("Ada-Lovelace-canary", "1815-12-10-canary", "078-05-1120-canary", "unlisted-canary")
CLEAR = "ward-7b-clear"
SEALED_FIELDS = dict(zip(("name", "birth_date", "ssn", "nickname"), CANARIES, strict=True))
RECORD = {
    **{name: FieldValue(text=value) for name, value in SEALED_FIELDS.items()},
    "ward": FieldValue(text=CLEAR),
}
REJECTED = (grpc.StatusCode.DATA_LOSS, "CIPHERTEXT_REJECTED")


@pytest.fixture
def record(api: Contract, key: str) -> bytes:
    """Put a record and return its Redis key."""
    before = api.names()
    api.records.PutRecord(pb.PutRecordRequest(cache="patients", key=key, fields=RECORD))
    (name,) = api.names() - before
    return name


def get(api: Contract, key: str, *names: str) -> pb.GetRecordResponse:
    """Read a record."""
    request = pb.GetRecordRequest(cache="patients", key=key)
    request.read_mask.paths.extend(names)
    return api.records.GetRecord(request)


def everything(api: Contract) -> bytes:
    """Return all that lies in the store in the clear: keys, strings, and the fields of hashes."""
    parts: list[bytes] = []
    for name in api.oracle.scan_iter(count=1000):
        kind = api.oracle.type(name)
        parts.append(name)
        if kind == b"string":
            parts.append(api.oracle.get(name) or b"")
        elif kind == b"hash":
            parts += [part for pair in api.oracle.hgetall(name).items() for part in pair]
    return b"\n".join(parts)


class TestWhatTheStoreSees:
    """Redis holds neither what is protected nor whose it is."""

    @pytest.mark.usefixtures("record")
    def test_no_value_of_a_sealed_field(self, api: Contract) -> None:
        """Neither a field that the policy names nor one that it does not know."""
        seen = everything(api)
        assert [] == [canary for canary in CANARIES if canary.encode() in seen]

    @pytest.mark.usefixtures("record")
    def test_no_key_of_the_caller(self, api: Contract, key: str) -> None:
        """The record lies under a keyed hash."""
        assert key.encode() not in everything(api)

    @pytest.mark.usefixtures("record")
    def test_a_clear_field_as_it_is(self, api: Contract) -> None:
        """What the policy lists under `clear_fields` can be read in Redis."""
        assert CLEAR.encode() in everything(api)

    def test_no_value_or_key_after_patch_and_repeats(self, api: Contract, key: str, record: bytes) -> None:
        """Nor do patches, idempotency records and CacheService leave any."""
        change = {"ssn": FieldValue(text=CANARIES[2]), "notes": FieldValue(data=CANARIES[0].encode())}
        for label in ("", f"about {key}"):
            patch = pb.PatchRecordRequest(cache="patients", key=key, fields=change, idempotency_key=label)
            api.records.PatchRecord(patch)
        value = cache_pb2.SetRequest(
            cache="patients", key=f"{key}-v", value=CANARIES[1].encode(), idempotency_key=f"about {key}"
        )
        api.cache.Set(value)
        api.cache.SetMany(
            cache_pb2.SetManyRequest(
                cache="patients", entries=[cache_pb2.SetManyEntry(key=f"{key}-w", value=CANARIES[3].encode())]
            )
        )
        seen = everything(api)
        found = [canary for canary in (*CANARIES, key) if canary.encode() in seen]
        assert ([], 1) == (found, api.oracle.exists(record))

    def test_the_names_of_fields(self, api: Contract, record: bytes) -> None:
        """Names of fields are no secret, so single ones can be read."""
        assert {b"", *(name.encode() for name in RECORD)} == set(api.oracle.hkeys(record))

    def test_another_envelope_with_each_write(self, api: Contract, key: str, record: bytes) -> None:
        """The same value sealed twice looks different."""
        before = api.oracle.hget(record, "ssn")
        api.records.PutRecord(pb.PutRecordRequest(cache="patients", key=key, fields=RECORD))
        assert before != api.oracle.hget(record, "ssn")

    def test_a_ttl_on_everything(self, api: Contract, record: bytes) -> None:
        """The record, and every data key that was made, expires."""
        data_keys = [name for name in api.oracle.scan_iter(f"sc:{TENANT}:k:*") if b":names}" not in name]
        ttls = [api.oracle.pttl(name) for name in (record, *data_keys)]
        assert [True] * len(ttls) == [ttl > 0 for ttl in ttls]


class TestTampering:
    """F20 at the level of the API: what was altered or moved is refused, all of it."""

    def test_a_flipped_bit(self, api: Contract, key: str, record: bytes) -> None:
        """DATA_LOSS, and nothing is returned."""
        envelope = bytearray(api.oracle.hget(record, "ssn") or b"")
        envelope[-1] ^= 1
        api.oracle.hset(record, "ssn", bytes(envelope))
        refused = refusal(lambda: get(api, key))
        assert REJECTED == (refused.code, refused.reason)

    def test_the_fields_that_were_not_touched_can_be_read(self, api: Contract, key: str, record: bytes) -> None:
        """A read opens only what it asked for."""
        api.oracle.hset(record, "ssn", b"spoilt")
        assert SEALED_FIELDS["name"] == get(api, key, "name").fields["name"].text

    def test_a_field_moved_to_another(self, api: Contract, key: str, record: bytes) -> None:
        """The envelope of the name does not open as the birth date."""
        api.oracle.hset(record, "birth_date", api.oracle.hget(record, "name") or b"")
        refused = refusal(lambda: get(api, key, "birth_date"))
        assert REJECTED == (refused.code, refused.reason)

    def test_a_record_moved_to_another_patient(self, api: Contract, record: bytes) -> None:
        """The envelopes of one key do not open under another."""
        other, before = api.key(), api.names()
        api.records.PutRecord(pb.PutRecordRequest(cache="patients", key=other, fields=RECORD))
        (name,) = api.names() - before
        api.oracle.copy(record, name, replace=True)
        refused = refusal(lambda: get(api, other))
        assert REJECTED == (refused.code, refused.reason)

    def test_a_clear_value_in_a_sealed_field(self, api: Contract, key: str, record: bytes) -> None:
        """What is not sealed is not taken for the truth."""
        api.oracle.hset(record, "ssn", b"tforged")
        refused = refusal(lambda: get(api, key))
        assert REJECTED == (refused.code, refused.reason)

    def test_the_error_says_nothing(self, api: Contract, key: str, record: bytes) -> None:
        """Neither key nor value is in what the caller is told."""
        api.oracle.hset(record, "ssn", b"tforged")
        refused = refusal(lambda: get(api, key))
        told = repr(refused)
        assert [] == [canary for canary in (*CANARIES, key, "forged") if canary in told]


class TestBounds:
    """The TTL of protected data is bounded, whatever a caller asks for."""

    def test_the_bound_itself_is_allowed(self, api: Contract, key: str) -> None:
        """15 minutes are."""
        request = pb.PutRecordRequest(cache="patients", key=key, fields=RECORD, ttl=milliseconds(900_000))
        assert 900_000 == api.records.PutRecord(request).ttl.ToMilliseconds()

    def test_a_millisecond_more_is_refused(self, api: Contract, key: str) -> None:
        """TTL_TOO_LONG, with the bound."""
        request = pb.PutRecordRequest(cache="patients", key=key, fields=RECORD, ttl=milliseconds(900_001))
        refused = refusal(lambda: api.records.PutRecord(request))
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "TTL_TOO_LONG", "ttl")
        assert (expected, {"max_ttl_ms": "900000"}) == (refused.brief, refused.metadata)
