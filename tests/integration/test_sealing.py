"""Sealed fields on a real Valkey: what the domains see, and that tampered fields are refused and counted (F20)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.rings import EPOCH, KEK, MAX_LIFE_MS, Sidecar, WatchedStore, start

from sidecar.call import Call
from sidecar.crypto.kek import KeyEncryptionKey
from sidecar.crypto.sealing import CryptoCounters, FieldSealer
from sidecar.errors import Reason, SidecarError
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    import redis
    from support.servers import StoreServer

    from sidecar.store.base import Store
    from sidecar.store.standalone import StandaloneStore

FROZEN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "envelope_v1.json").read_text())

NAME = b"n" * 32
FIELDS = {
    "name": b"Ada Example",
    "birth_date": b"1970-01-01",
    "ssn": b"000-00-0000",
    "phone": b"",
    "address": "12 Rue de l'Été".encode(),
    "notes": bytes(range(256)) * 4,
}


@pytest.fixture
def oracle(server: StoreServer) -> redis.Redis:
    """Look into the store with a client of another make."""
    return server.oracle()


@pytest.fixture
def call() -> Call:
    """Return a call without a deadline."""
    return Call("/test/Test")


class Bench:
    """A sealer with its ring and its counters."""

    def __init__(
        self, store: Store, cache: str = "patients", tenant: str = "default", schema_version: int = 1, **ring: Any
    ) -> None:
        self.metrics = Metrics()
        self.sidecar: Sidecar = start(store, tenant, **ring)
        self.sealer = FieldSealer(
            ring=self.sidecar.ring,
            cache=cache,
            max_life_ms=MAX_LIFE_MS,
            counters=CryptoCounters(self.metrics),
            schema_version=schema_version,
        )

    def count(self, name: str, *labels: str) -> int:
        """Return a counter's value."""
        family = self.metrics.families[name]
        assert isinstance(family, Counter)
        return family.cell("patients", *labels).value

    @property
    def rejected(self) -> int:
        """The number of rejected fields."""
        return self.count("sidecar_crypto_fields", "rejected")

    @property
    def missing(self) -> int:
        """The number of reads whose data key was gone."""
        return self.count("sidecar_crypto_data_keys_missing")


async def refused(sealer: FieldSealer, name: bytes, sealed: dict[str, bytes], call: Call) -> bool:
    """Return whether an entry is refused as not authentic."""
    try:
        await sealer.open(name, sealed, call)
    except SidecarError as error:
        return error.reason is Reason.CIPHERTEXT_REJECTED
    return False


# --- what opens ---


async def test_another_sidecar_opens_what_was_sealed(store: StandaloneStore, call: Call) -> None:
    """The fields of a record come back byte for byte, in another sidecar."""
    sealed = await Bench(store).sealer.seal(NAME, FIELDS, call)
    assert await Bench(store).sealer.open(NAME, sealed, call) == FIELDS


async def test_sealed_fields_hold_no_clear_value(store: StandaloneStore, call: Call) -> None:
    """No clear value of a few bytes or more stands in the envelopes, and equal values have different ones."""
    sealed = await Bench(store).sealer.seal(NAME, FIELDS | {"again": FIELDS["ssn"]}, call)
    everything = b"".join(sealed.values())
    clear = [value for value in FIELDS.values() if len(value) > 3 and value in everything]
    assert (clear, sealed["ssn"] == sealed["again"]) == ([], False)


async def test_sealing_twice_gives_other_bytes(store: StandaloneStore, call: Call) -> None:
    """Two writes of the same value have another salt and nonce."""
    sealer = Bench(store).sealer
    first = (await sealer.seal(NAME, FIELDS, call))["ssn"]
    second = (await sealer.seal(NAME, FIELDS, call))["ssn"]
    assert (first[28:44] != second[28:44], first[44:56] != second[44:56]) == (True, True)


async def test_write_shares_a_salt(store: StandaloneStore, call: Call) -> None:
    """The fields of one write share a salt and have each a nonce of its own."""
    sealed = (await Bench(store).sealer.seal(NAME, FIELDS, call)).values()
    assert (len({one[28:44] for one in sealed}), len({one[44:56] for one in sealed})) == (1, 6)


async def test_large_write_changes_its_salt(store: StandaloneStore, call: Call) -> None:
    """No more than 256 values are sealed under one salt."""
    sealer = Bench(store).sealer
    values = {f"f{number}": b"v" for number in range(513)}
    sealed = await sealer.seal(NAME, values, call)
    assert (3, values) == (len({one[28:44] for one in sealed.values()}), await sealer.open(NAME, sealed, call))


async def test_patched_record_opens(store: StandaloneStore, call: Call) -> None:
    """Fields of several writes, in several epochs, open together."""
    bench = Bench(store)
    sealed = await bench.sealer.seal(NAME, FIELDS, call)
    bench.sidecar.set_epoch(EPOCH + 1)
    sealed |= await bench.sealer.seal(NAME, {"phone": b"new"}, call)
    assert await bench.sealer.open(NAME, sealed, call) == FIELDS | {"phone": b"new"}


async def test_no_fields(store: StandaloneStore, call: Call) -> None:
    """Nothing to seal or open gives nothing."""
    sealer = Bench(store).sealer
    assert (await sealer.seal(NAME, {}, call), await sealer.open(NAME, {}, call)) == ({}, {})


async def test_fields_are_counted(store: StandaloneStore, call: Call) -> None:
    """Each sealed and each opened field counts."""
    bench = Bench(store)
    sealed = await bench.sealer.seal(NAME, FIELDS, call)
    await bench.sealer.open(NAME, {"ssn": sealed["ssn"]}, call)
    assert (
        bench.count("sidecar_crypto_fields", "sealed"),
        bench.count("sidecar_crypto_fields", "opened"),
        bench.rejected,
        bench.missing,
    ) == (6, 1, 0, 0)


async def test_sealing_costs_no_round_trip(store: StandaloneStore, call: Call) -> None:
    """Once the key is there, sealing and opening ask the store for nothing."""
    watched = WatchedStore(store)
    sealer = Bench(watched).sealer
    sealed = await sealer.seal(NAME, FIELDS, call)
    watched.asked.clear()
    await sealer.seal(NAME, FIELDS, call)
    await sealer.open(NAME, sealed, call)
    assert watched.asked == []


async def test_frozen_vectors_open(oracle: redis.Redis, store: StandaloneStore, call: Call) -> None:
    """The frozen records and envelopes, put into the store, open from end to end."""
    for one in FROZEN["data_keys"]:
        oracle.set(KeySpace(one["tenant"]).data_key(one["cache"], one["label"]), bytes.fromhex(one["record"]))
    keks = (KeyEncryptionKey(bytes.fromhex(FROZEN["kek"])),)
    opened = []
    for one in FROZEN["envelopes"]:
        sealer = Bench(store, one["cache"], one["tenant"], one["schema_version"], keks=keks).sealer
        opened.append(await sealer.open(one["name"].encode(), {one["field"]: bytes.fromhex(one["sealed"])}, call))
    assert [{one["field"]: bytes.fromhex(one["value"])} for one in FROZEN["envelopes"]] == opened


# --- what does not ---


async def test_every_flipped_byte_is_refused_and_counted(store: StandaloneStore, call: Call) -> None:
    """A field with any one byte altered is refused, or, where the altered byte names the data key, has no key."""
    bench = Bench(store)
    sealed = (await bench.sealer.seal(NAME, FIELDS, call))["ssn"]
    for at in range(len(sealed)):
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        names_the_key = 4 <= at < 28
        assert names_the_key != await refused(bench.sealer, NAME, {"ssn": altered}, call)
    assert (len(sealed) - 24, 24, 0) == (
        bench.rejected,
        bench.missing,
        bench.count("sidecar_crypto_fields", "opened"),
    )


async def test_every_truncation_is_refused(store: StandaloneStore, call: Call) -> None:
    """A field cut at any length is refused and counted."""
    bench = Bench(store)
    sealed = (await bench.sealer.seal(NAME, FIELDS, call))["ssn"]
    outcomes = [await refused(bench.sealer, NAME, {"ssn": sealed[:length]}, call) for length in range(len(sealed))]
    assert ({True}, len(sealed)) == (set(outcomes), bench.rejected)


async def test_clear_value_is_refused(store: StandaloneStore, call: Call) -> None:
    """A clear value that stands where an envelope should is never passed on."""
    assert await refused(Bench(store).sealer, NAME, FIELDS, call)


async def test_swapped_fields_are_refused(store: StandaloneStore, call: Call) -> None:
    """Two fields of one record that changed places are refused."""
    bench = Bench(store)
    sealed = await bench.sealer.seal(NAME, FIELDS, call)
    swapped = sealed | {"name": sealed["address"], "address": sealed["name"]}
    assert (await refused(bench.sealer, NAME, swapped, call), bench.rejected) == (True, 1)


async def test_value_of_another_entry_is_refused(store: StandaloneStore, call: Call) -> None:
    """A patient's fields copied to another patient's record are refused."""
    bench = Bench(store)
    sealed = await bench.sealer.seal(NAME, FIELDS, call)
    assert (await refused(bench.sealer, b"m" * 32, sealed, call), bench.rejected) == (True, 1)


async def test_value_of_another_schema_is_refused(store: StandaloneStore, call: Call) -> None:
    """A value that was written under another schema version is refused."""
    sealed = await Bench(store).sealer.seal(NAME, FIELDS, call)
    bench = Bench(store, schema_version=2)
    assert (await refused(bench.sealer, NAME, sealed, call), bench.rejected) == (True, 1)


@pytest.mark.parametrize(("cache", "tenant"), [("wards", "default"), ("patients", "north")])
async def test_value_of_another_cache_or_tenant_has_no_key(
    oracle: redis.Redis, store: StandaloneStore, call: Call, cache: str, tenant: str
) -> None:
    """A value copied to another cache or tenant has no key there; with its key's record copied too, it is refused."""
    sealed = await Bench(store).sealer.seal(NAME, FIELDS, call)
    elsewhere = Bench(store, cache, tenant).sealer
    opened = await elsewhere.open(NAME, sealed, call)
    record: Any = oracle.get(KeySpace("default").data_key("patients", str(EPOCH)))
    oracle.set(KeySpace(tenant).data_key(cache, str(EPOCH)), record)
    assert (opened, await refused(elsewhere, NAME, sealed, call)) == (None, True)


async def test_one_bad_field_keeps_all_back(store: StandaloneStore, call: Call) -> None:
    """A record with one field altered gives none of its fields."""
    bench = Bench(store)
    sealed = await bench.sealer.seal(NAME, FIELDS, call)
    sealed["notes"] = sealed["notes"][:-1] + bytes([sealed["notes"][-1] ^ 1])
    assert (
        await refused(bench.sealer, NAME, sealed, call),
        bench.count("sidecar_crypto_fields", "opened"),
    ) == (True, 0)


async def test_altered_data_key_record_is_refused_and_counted(
    oracle: redis.Redis, store: StandaloneStore, call: Call
) -> None:
    """With its data key's record altered, nothing is sealed and nothing opened."""
    sealed = await Bench(store).sealer.seal(NAME, FIELDS, call)
    oracle.setrange(KeySpace("default").data_key("patients", str(EPOCH)), 60, b"altered")
    bench = Bench(store)
    opening = await refused(bench.sealer, NAME, sealed, call)
    with pytest.raises(SidecarError) as sealing:
        await bench.sealer.seal(NAME, FIELDS, call)
    assert (opening, sealing.value.reason, bench.rejected) == (True, Reason.CIPHERTEXT_REJECTED, 2)


async def test_refusal_tells_no_key_and_no_value(store: StandaloneStore, call: Call) -> None:
    """The error names neither entry nor field, and says nothing of the cause."""
    bench = Bench(store)
    sealed = await bench.sealer.seal(NAME, FIELDS, call)
    with pytest.raises(SidecarError) as caught:
        await bench.sealer.open(b"m" * 32, sealed, call)
    expected = "a sealed value does not authenticate: it was altered, cut or moved; nothing was returned"
    assert (expected, {}, None, None) == (
        caught.value.message,
        caught.value.metadata,
        caught.value.field,
        caught.value.__cause__,
    )


async def test_destroyed_key_is_a_miss(oracle: redis.Redis, store: StandaloneStore, call: Call) -> None:
    """Values whose data key is gone are no error; each such read is counted."""
    sealed = await Bench(store).sealer.seal(NAME, FIELDS, call)
    oracle.flushall()
    bench = Bench(store)
    assert (await bench.sealer.open(NAME, sealed, call), bench.missing, bench.rejected) == (None, 1, 0)


# --- names ---


async def test_entry_name_is_base64url(store: StandaloneStore, call: Call) -> None:
    """A name is 32 characters of base64url, and does not hold the key."""
    name = await Bench(store).sealer.entry_name("ada", call)
    assert re.fullmatch(rb"[A-Za-z0-9_-]{32}", name)


async def test_entry_name_is_the_same_everywhere(store: StandaloneStore, call: Call) -> None:
    """Two sidecars give a key the same name, in this epoch and the next."""
    first, second = Bench(store), Bench(store)
    second.sidecar.set_epoch(EPOCH + 1)
    assert await first.sealer.entry_name("ada", call) == await second.sealer.entry_name("ada", call)


async def test_entry_names_differ_by_cache_and_tenant(store: StandaloneStore, call: Call) -> None:
    """Equal keys of two caches or tenants have different names."""
    benches = [Bench(store), Bench(store, cache="wards"), Bench(store, tenant="north")]
    assert len({await bench.sealer.entry_name("ada", call) for bench in benches}) == 3


async def test_frozen_names(oracle: redis.Redis, store: StandaloneStore, call: Call) -> None:
    """Under the frozen name key, keys have the frozen names."""
    record = next(one["record"] for one in FROZEN["data_keys"] if one["label"] == "names")
    oracle.set(KeySpace("default").data_key("patients", "names"), bytes.fromhex(record))
    sealer = Bench(store, keks=(KeyEncryptionKey(bytes.fromhex(FROZEN["kek"])), KEK)).sealer
    names = [(await sealer.entry_name(one["key"], call)).decode() for one in FROZEN["names"]]
    assert [one["name"] for one in FROZEN["names"]] == names


async def test_names_survive_a_flush(oracle: redis.Redis, store: StandaloneStore, call: Call) -> None:
    """After the store lost the name key, the sidecar that holds it puts it back, and names stay as they were."""
    bench = Bench(store)
    name = await bench.sealer.entry_name("ada", call)
    oracle.flushall()
    bench.sidecar.wind(10)
    await bench.sealer.entry_name("ada", call)
    assert name == await Bench(store).sealer.entry_name("ada", call)
