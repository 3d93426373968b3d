"""F20: an attacker who writes to the store. Nothing that was altered or moved is ever returned, and all is counted."""

from __future__ import annotations

import base64
import re
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, record_pb2
from support.api import Api, Refusal
from support.programs import SidecarProgram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import StoreServer

_KEK = base64.b64encode(b"K" * 32).decode()
_CONFIG = """\
tenant: {tenant}
caches:
  patients: {{data_class: phi, ttl: 10m, phi_fields: [name, ssn], clear_fields: [ward]}}
  results: {{data_class: phi, ttl: 10m, phi_fields: [name, ssn], clear_fields: [ward]}}
"""
_CANARY = "canary-0451"
# docs/security/envelope.md, "A sealed value": the epoch and the data key's id. A change there asks for another data
# key, which is not there: a miss.
_NAMES_DATA_KEY = range(4, 28)
_ENVELOPE_BYTES = 104
_VALUE_HEADER_BYTES = 26


@pytest.fixture(scope="module", name="sidecars")
def start_sidecars(
    tmp_path_factory: pytest.TempPathFactory, lasting_store: StoreServer
) -> Iterator[dict[str, SidecarProgram]]:
    """Return the sidecars of two tenants, over one store and with one KEK."""
    made = {
        tenant: SidecarProgram(
            tmp_path_factory.mktemp(tenant),
            config=_CONFIG.format(tenant=tenant),
            arguments=["--redis", lasting_store.url],
            environ={"SIDECAR_ENCRYPTION__KEYS": "[{env: THE_KEK}]", "THE_KEK": _KEK},
        ).spawn()
        for tenant in ("north", "south")
    }
    try:
        for program in made.values():
            program.wait_ready()
        yield made
    finally:
        for program in made.values():
            program.stop()


@pytest.fixture
def north(sidecars: dict[str, SidecarProgram]) -> Iterator[Api]:
    """Return stubs for the first tenant's sidecar."""
    with sidecars["north"].api() as made:
        yield made


@pytest.fixture
def south(sidecars: dict[str, SidecarProgram]) -> Iterator[Api]:
    """Return stubs for the second tenant's sidecar."""
    with sidecars["south"].api() as made:
        yield made


def _put(api: Api, key: str, cache: str = "patients") -> None:
    fields = {
        "name": record_pb2.FieldValue(text=_CANARY),
        "ssn": record_pb2.FieldValue(text=_CANARY[::-1]),
        "ward": record_pb2.FieldValue(text="7"),
    }
    api.records.PutRecord(record_pb2.PutRecordRequest(cache=cache, key=key, fields=fields), timeout=30)


def _outcome_of_get(api: Api, key: str, cache: str = "patients") -> str:
    """Read a record; return HIT, MISS, or the reason of the error, after a look that nothing clear came with it."""
    request = record_pb2.GetRecordRequest(cache=cache, key=key)
    try:
        answer = api.records.GetRecord(request, timeout=30)
    except grpc.RpcError as error:
        return _reason(Refusal(error))
    if answer.outcome != common_pb2.OUTCOME_HIT:
        assert record_pb2.GetRecordResponse(outcome=common_pb2.OUTCOME_MISS) == answer
        return "MISS"
    return "HIT"


def _reason(refusal: Refusal) -> str:
    assert grpc.StatusCode.DATA_LOSS == refusal.code
    said = refusal.message.encode() + refusal.trailers
    assert _CANARY.encode() not in said
    assert _CANARY[::-1].encode() not in said
    return refusal.reason


def _only_entry(oracle: Any, tenant: str = "north", cache: str = "patients") -> bytes:
    """Return the key of the one entry of a cache."""
    (key,) = oracle.keys(f"sc:{tenant}:e:{{{cache}:*")
    return bytes(key)


@pytest.fixture(autouse=True)
def _clean(oracle: Any) -> None:
    """Remove the entries of earlier tests; the data keys stay, as sidecars keep them in memory."""
    for key in oracle.keys("sc:*:e:*"):
        oracle.delete(key)


def _rejected(program: SidecarProgram, cache: str = "patients") -> int:
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=30) as page:
        text = page.read().decode()
    wanted = rf'^sidecar_crypto_fields_total{{cache="{cache}",operation="rejected"}} (\S+)$'
    found = re.search(wanted, text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def test_untouched_records_are_read(north: Api) -> None:
    """What nobody altered opens: the refusals below are not refusals of everything."""
    _put(north, "p1")
    assert "HIT" == _outcome_of_get(north, "p1")


def test_each_byte_of_a_field_flipped(sidecars: dict[str, SidecarProgram], north: Api, oracle: Any) -> None:
    """Every altered byte is refused and counted; where it names the data key, that key is not there: a miss."""
    _put(north, "p1")
    entry = _only_entry(oracle)
    sealed = oracle.hget(entry, "name")
    before = _rejected(sidecars["north"])
    outcomes = []
    for offset in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[offset] ^= 1 << offset % 8
        oracle.hset(entry, "name", bytes(flipped))
        outcomes.append(_outcome_of_get(north, "p1"))
    expected = ["MISS" if offset in _NAMES_DATA_KEY else "CIPHERTEXT_REJECTED" for offset in range(len(sealed))]
    assert expected == outcomes
    assert expected.count("CIPHERTEXT_REJECTED") == _rejected(sidecars["north"]) - before
    oracle.hset(entry, "name", sealed)
    assert "HIT" == _outcome_of_get(north, "p1")


def test_each_byte_of_a_value_flipped(north: Api, oracle: Any) -> None:
    """The same holds for the values of CacheService in a phi cache."""
    north.cache.Set(cache_pb2.SetRequest(cache="patients", key="v1", value=_CANARY.encode()), timeout=30)
    entry = _only_entry(oracle)
    stored = oracle.get(entry)
    outcomes = []
    for offset in range(_VALUE_HEADER_BYTES, len(stored)):
        flipped = bytearray(stored)
        flipped[offset] ^= 1 << offset % 8
        oracle.set(entry, bytes(flipped), keepttl=True)
        try:
            answer = north.cache.Get(cache_pb2.GetRequest(cache="patients", key="v1"), timeout=30)
        except grpc.RpcError as error:
            outcomes.append(_reason(Refusal(error)))
        else:
            assert cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_MISS) == answer
            outcomes.append("MISS")
    length = len(stored) - _VALUE_HEADER_BYTES
    assert ["MISS" if offset in _NAMES_DATA_KEY else "CIPHERTEXT_REJECTED" for offset in range(length)] == outcomes


def test_field_cut_at_each_length(north: Api, oracle: Any) -> None:
    """A field that was cut, anywhere, or made longer is refused."""
    _put(north, "p1")
    entry = _only_entry(oracle)
    sealed = oracle.hget(entry, "name")
    outcomes = set()
    for altered in [sealed[:length] for length in range(0, len(sealed), 3)] + [sealed[:-1], sealed + b"\0"]:
        oracle.hset(entry, "name", altered)
        outcomes.add(_outcome_of_get(north, "p1"))
    assert len(sealed) > _ENVELOPE_BYTES
    assert {"CIPHERTEXT_REJECTED"} == outcomes


def test_clear_text_in_place_of_a_sealed_field(north: Api, oracle: Any) -> None:
    """A value that an attacker wrote in the clear is not taken for one that was sealed."""
    _put(north, "p1")
    entry = _only_entry(oracle)
    oracle.hset(entry, "name", oracle.hget(entry, "ward"))
    assert "CIPHERTEXT_REJECTED" == _outcome_of_get(north, "p1")


def test_clear_field_that_nobody_listed(north: Api, oracle: Any) -> None:
    """A field that an attacker adds in the clear is refused, and the whole record with it."""
    _put(north, "p1")
    entry = _only_entry(oracle)
    oracle.hset(entry, "allergies", oracle.hget(entry, "ward"))
    assert "CIPHERTEXT_REJECTED" == _outcome_of_get(north, "p1")


def test_field_moved_to_another_field(north: Api, oracle: Any) -> None:
    """A field's ciphertext under another field's name is refused."""
    _put(north, "p1")
    entry = _only_entry(oracle)
    oracle.hset(entry, "name", oracle.hget(entry, "ssn"))
    assert "CIPHERTEXT_REJECTED" == _outcome_of_get(north, "p1")


def test_field_moved_to_another_record(north: Api, oracle: Any) -> None:
    """A field's ciphertext in another record of the same cache is refused, with as good a header."""
    _put(north, "p1")
    stolen = oracle.hgetall(_only_entry(oracle))
    oracle.delete(_only_entry(oracle))
    _put(north, "p2")
    oracle.hset(_only_entry(oracle), "name", stolen[b"name"])
    assert "CIPHERTEXT_REJECTED" == _outcome_of_get(north, "p2")


def test_record_moved_whole_to_another_key(north: Api, oracle: Any) -> None:
    """A whole record under another record's key is refused: one patient's data are not shown as another's."""
    _put(north, "p1")
    stolen = oracle.dump(_only_entry(oracle))
    oracle.delete(_only_entry(oracle))
    _put(north, "p2")
    oracle.restore(_only_entry(oracle), 60_000, stolen, replace=True)
    assert "CIPHERTEXT_REJECTED" == _outcome_of_get(north, "p2")


def test_record_moved_to_another_cache(north: Api, oracle: Any) -> None:
    """In another cache its data key is not there: a miss. With the ciphertext's data key moved too it is refused."""
    _put(north, "p1")
    _put(north, "p1", "results")
    source, target = _only_entry(oracle), _only_entry(oracle, cache="results")
    oracle.hset(target, "name", oracle.hget(source, "name"))
    assert "MISS" == _outcome_of_get(north, "p1", "results")


def test_data_key_moved_to_another_cache(
    sidecars: dict[str, SidecarProgram], oracle: Any, lasting_store: StoreServer
) -> None:
    """A data key's record that was copied to another cache does not unwrap: a fresh sidecar refuses it."""
    with sidecars["north"].api() as api:
        _put(api, "p1")
        _put(api, "p1", "results")
    (source,) = [key for key in oracle.keys("sc:north:k:{patients:*") if b"names" not in key]
    target = source.replace(b"patients", b"results")
    kept = oracle.get(target)
    oracle.set(target, oracle.get(source), keepttl=True)
    fresh = SidecarProgram(
        sidecars["north"].folder / "fresh",
        config=_CONFIG.format(tenant="north"),
        arguments=["--redis", lasting_store.url],
        environ={"SIDECAR_ENCRYPTION__KEYS": "[{env: THE_KEK}]", "THE_KEK": _KEK},
    )
    try:
        with fresh as program:
            assert "CIPHERTEXT_REJECTED" == _outcome_of_get(program.api(), "p1", "results")
    finally:
        oracle.set(target, kept, keepttl=True)


def test_record_moved_to_another_tenant(north: Api, south: Api, oracle: Any) -> None:
    """At another tenant its data key is not there: a miss, although both have the same KEK."""
    _put(north, "p1")
    _put(south, "p1")
    source, target = _only_entry(oracle), _only_entry(oracle, "south")
    oracle.hset(target, "name", oracle.hget(source, "name"))
    assert "MISS" == _outcome_of_get(south, "p1")


def test_masked_reads_refuse_no_more_than_they_ask_for(north: Api, oracle: Any) -> None:
    """A read of other fields of an altered record opens only those, and succeeds."""
    _put(north, "p1")
    oracle.hset(_only_entry(oracle), "name", b"altered")
    request = record_pb2.GetRecordRequest(cache="patients", key="p1")
    request.read_mask.paths.append("ssn")
    answer = north.records.GetRecord(request, timeout=30)
    assert {"ssn": _CANARY[::-1]} == {name: value.text for name, value in answer.fields.items()}
