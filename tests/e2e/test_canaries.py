"""No clear PHI anywhere: canaries go through every call, and everything that can be read from outside is searched."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import timestamp_pb2
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2, record_pb2
from support.api import Api, refusal_of
from support.monitoring import Monitor
from support.programs import HOSPITAL, SidecarProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import StoreServer

_NAME = "Namecanary Okonkwo"
_SSN = "078-05-1120-canary"
_NOTES = b"notes-canary"
_KEY = "patient:key-canary-4711"
_VALUE = b"value-canary"
_UNLISTED = "unlisted-canary"
_IDEMPOTENCY = "idempotency-canary"
_NUMBER = 7_302_419_555_120_337
_SECRETS = [
    _NAME.encode(),
    _SSN.encode(),
    _NOTES,
    _KEY.encode(),
    _VALUE,
    _UNLISTED.encode(),
    _IDEMPOTENCY.encode(),
    str(_NUMBER).encode(),
]
# In the clear on purpose: they show that the search would find something.
_WARD = "ward-in-the-clear"
_PLAIN_KEY = "plain-key"


def _text(value: str) -> record_pb2.FieldValue:
    return record_pb2.FieldValue(text=value)


def _phi_traffic(api: Api) -> None:
    """Make every call that a phi cache takes, with idempotency keys, and those that it refuses."""
    fields = {
        "name": _text(_NAME),
        "ssn": _text(_SSN),
        "notes": record_pb2.FieldValue(data=_NOTES),
        "phone": record_pb2.FieldValue(integer=_NUMBER),
        "birth_date": record_pb2.FieldValue(time=timestamp_pb2.Timestamp(seconds=_NUMBER // 10**6)),
        "in_no_list": _text(_UNLISTED),
        "ward": _text(_WARD),
    }
    there: dict[str, Any] = {"cache": "patients", "key": _KEY}
    for once in ("", f"{_IDEMPOTENCY}-put"):
        put = record_pb2.PutRecordRequest(**there, fields=fields, idempotency_key=once)
        assert common_pb2.WRITE_OUTCOME_APPLIED == api.records.PutRecord(put, timeout=30).outcome
        api.records.PutRecord(put, timeout=30)
    read = api.records.GetRecord(record_pb2.GetRecordRequest(**there), timeout=30)
    assert fields == dict(read.fields)
    patch = record_pb2.PatchRecordRequest(
        **there, fields={"ssn": _text(_SSN)}, remove_fields=["phone"], idempotency_key=f"{_IDEMPOTENCY}-patch"
    )
    assert common_pb2.WRITE_OUTCOME_APPLIED == api.records.PatchRecord(patch, timeout=30).outcome
    delete = record_pb2.DeleteRecordRequest(**there, idempotency_key=f"{_IDEMPOTENCY}-delete")
    api.records.DeleteRecord(delete, timeout=30)
    api.records.PutRecord(record_pb2.PutRecordRequest(**there, fields=fields), timeout=30)
    there["key"] += "-value"
    api.cache.Set(cache_pb2.SetRequest(**there, value=_VALUE, idempotency_key=f"{_IDEMPOTENCY}-set"), timeout=30)
    assert _VALUE == api.cache.Get(cache_pb2.GetRequest(**there), timeout=30).value
    api.cache.GetMany(cache_pb2.GetManyRequest(cache="patients", keys=[_KEY, there["key"]]), timeout=30)
    entries = [cache_pb2.SetManyEntry(key=f"{_KEY}-many", value=_VALUE)]
    api.cache.SetMany(
        cache_pb2.SetManyRequest(cache="patients", entries=entries, idempotency_key=f"{_IDEMPOTENCY}-many"), timeout=30
    )
    api.cache.DeleteMany(cache_pb2.DeleteManyRequest(cache="patients", keys=[f"{_KEY}-many"]), timeout=30)
    api.cache.Set(cache_pb2.SetRequest(cache="default", key=_PLAIN_KEY, value=b"plain"), timeout=30)


def _refused_traffic(api: Api) -> None:
    """Make calls that fail, with canaries in every place that an error could repeat."""
    too_long = cache_pb2.SetRequest(cache="patients", key=_KEY, value=_VALUE)
    too_long.ttl.FromSeconds(86_400 * 30)
    refused = [
        lambda: api.cache.Set(too_long, timeout=30),
        lambda: api.cache.Get(cache_pb2.GetRequest(cache="patients", key=_KEY * 50), timeout=30),
        lambda: api.cache.Get(cache_pb2.GetRequest(cache="patients", key=_KEY), timeout=30),  # a record, no value
        lambda: api.cache.Touch(cache_pb2.TouchRequest(cache="patients", key=_KEY), timeout=30),
        lambda: api.cache.Increment(cache_pb2.IncrementRequest(cache="patients", key=_KEY, delta=_NUMBER), timeout=30),
        lambda: api.records.PutRecord(
            record_pb2.PutRecordRequest(cache="patients", key=_KEY, fields={f"{_NAME}!": _text(_SSN)}), timeout=30
        ),
        lambda: api.records.PatchRecord(
            record_pb2.PatchRecordRequest(
                cache="patients", key=_KEY, fields={"name": _text(_NAME)}, idempotency_key=_IDEMPOTENCY * 10
            ),
            timeout=30,
        ),
        lambda: api.limits.Check(rate_limit_pb2.CheckRequest(policy="auth", key=_KEY, cost=99), timeout=30),
        lambda: api.limits.Acquire(
            rate_limit_pb2.AcquireRequest(policy="reports", key=_KEY, holder=_IDEMPOTENCY * 10), timeout=30
        ),
        lambda: api.limits.Reserve(
            rate_limit_pb2.ReserveRequest(policy="exports", key=_KEY, reservation_id=_IDEMPOTENCY * 10), timeout=30
        ),
        lambda: api.limits.Commit(
            rate_limit_pb2.CommitRequest(policy="exports", key=_KEY, token=_IDEMPOTENCY), timeout=30
        ),
        lambda: api.limits.Renew(
            rate_limit_pb2.RenewRequest(policy="reports", key=_KEY, token=_IDEMPOTENCY), timeout=30
        ),
    ]
    for call in refused:
        refusal = refusal_of(call)
        assert grpc.StatusCode.INTERNAL != refusal.code
        assert [] == _found(refusal.message.encode() + refusal.trailers)


def _found(content: bytes) -> list[bytes]:
    """Return the canaries that stand in `content`."""
    return [secret for secret in _SECRETS if secret in content]


def test_monitor_shows_no_phi(api: Api, lasting_store: StoreServer) -> None:
    """Who watches the store with MONITOR sees neither a clear field, value or record key, nor an idempotency key."""
    with Monitor(lasting_store.port) as monitor:
        _phi_traffic(api)
    assert [] == _found(monitor.text)
    assert _WARD.encode() in monitor.text
    assert _PLAIN_KEY.encode() in monitor.text


def test_store_holds_no_phi(api: Api, oracle: Any) -> None:
    """Neither the names of the store's keys nor what lies under them hold clear PHI."""
    _phi_traffic(api)
    everything = b"\n".join(key + b" " + oracle.dump(key) for key in oracle.keys("*"))
    assert [] == _found(everything)
    assert _PLAIN_KEY.encode() in everything


def test_slow_log_holds_no_phi(api: Api, oracle: Any) -> None:
    """Not even a slow log that records every command holds clear PHI."""
    oracle.config_set("slowlog-log-slower-than", 0)
    try:
        _phi_traffic(api)
        slow = oracle.execute_command("SLOWLOG", "GET", -1)
    finally:
        oracle.config_set("slowlog-log-slower-than", 10_000)
    assert slow
    assert [] == _found(repr(slow).encode())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarProgram]:
    """Return a sidecar with an embedded store that logs all that it can, after all kinds of traffic."""
    made = SidecarProgram(
        tmp_path_factory.mktemp("watched"),
        config=HOSPITAL,
        environ={"SIDECAR_TELEMETRY__LOG__LEVEL": "debug", "SIDECAR_TELEMETRY__TRACES__SAMPLE_RATIO": "1.0"},
    )
    with made as program:
        with program.api() as api:
            _phi_traffic(api)
            _refused_traffic(api)
            api.limits.Check(rate_limit_pb2.CheckRequest(policy="auth", key=_KEY), timeout=30)
            slots = rate_limit_pb2.AcquireRequest(policy="reports", key=_KEY, holder=_IDEMPOTENCY)
            assert api.limits.Acquire(slots, timeout=30).acquired
            rows = rate_limit_pb2.ReserveRequest(policy="exports", key=_KEY, reservation_id=_IDEMPOTENCY)
            assert api.limits.Reserve(rows, timeout=30).reserved
        yield program


def test_output_and_log_hold_no_phi(watched: SidecarProgram) -> None:
    """What the sidecar prints and logs, at its most talkative, holds no PHI, not even of rate limits' keys."""
    assert "is ready" in watched.output
    assert [] == _found((watched.output + watched.errors).encode())


def test_metrics_page_holds_no_phi(watched: SidecarProgram) -> None:
    """The metrics page has names of caches and policies, and no key, field or value."""
    with urllib.request.urlopen(f"http://{watched.metrics_address}/metrics", timeout=30) as page:
        content = page.read()
    assert b'cache="patients"' in content
    assert [] == _found(content)
    assert _PLAIN_KEY.encode() not in content


def test_files_of_the_embedded_store_hold_no_phi(watched: SidecarProgram) -> None:
    """Neither the append-only file nor a snapshot nor the store's log holds clear PHI. Rate limits' keys are no PHI."""
    files = _files(watched.state)
    wanted = _WARD.encode()
    until = time.monotonic() + 30
    while not any(wanted in content for content in files.values()) and time.monotonic() < until:
        files = _files(watched.state)
    assert any(wanted in content for content in files.values())
    found = {secret for content in files.values() for secret in _found(content)}
    assert set() == found - {_KEY.encode()}


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
