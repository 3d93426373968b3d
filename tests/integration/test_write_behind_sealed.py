"""Write-behind of a phi cache: what lies in the store is sealed, wherever it is; the origin gets it in the clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.rings import start
from support.write_behind import CACHE, PLAIN, Ledger, make_rig, some_call

from sidecar.crypto.sealing import CryptoCounters, FieldSealer
from sidecar.errors import Reason
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from support.servers import StoreServer

    from sidecar.store.standalone import StandaloneStore

KEY, VALUE = "patient-4711", b"diagnosis-canary"
LIFE_MS = 900_000


def sealer(store: StandaloneStore) -> FieldSealer:
    """Return what seals the cache's values."""
    ring = start(store).ring
    return FieldSealer(ring=ring, cache=CACHE, max_life_ms=LIFE_MS, counters=CryptoCounters(Metrics()))


def everything(server: StoreServer) -> bytes:
    """Return all that the store holds: keys, and values as DUMP serializes them, without compression."""
    oracle = server.oracle()
    oracle.config_set("rdbcompression", "no")
    return b"".join(name + (oracle.dump(name) or b"") for name in oracle.scan_iter(count=1_000))


async def test_pending_changes_are_sealed(server: StoreServer, store: StandaloneStore) -> None:
    """Key and value, while they wait, and while they are under way."""
    ledger = Ledger(refuse=lambda _: Reason.ORIGIN_UNAVAILABLE)
    rig = make_rig(store, ledger, sealer=sealer(store))
    await rig.values.set(KEY, VALUE, PLAIN, some_call())
    waiting = everything(server)
    rig.behind.start()
    await rig.cache.flush(some_call(0.2))
    under_way = everything(server)
    found = await rig.values.get(KEY, some_call())
    ledger.refuse = lambda _: None
    await rig.settled()
    await rig.behind.stop()
    assert (VALUE, {KEY: VALUE}) == (found.value, ledger.values)
    for held in (waiting, under_way):
        assert KEY.encode() not in held
        assert VALUE not in held


async def test_dead_letters_are_sealed(server: StoreServer, store: StandaloneStore) -> None:
    """And can be read and replayed."""
    ledger = Ledger(refuse=lambda _: Reason.ORIGIN_REFUSED)
    rig = make_rig(store, ledger, sealer=sealer(store))
    rig.behind.start()
    await rig.values.set(KEY, VALUE, PLAIN, some_call())
    await rig.settled()
    held = everything(server)
    (letter,) = (await rig.cache.dead_letters.page("", 10, 1_000_000, some_call())).letters
    ledger.refuse = lambda _: None
    await rig.cache.dead_letters.replay([], some_call(), forced=False)
    await rig.settled()
    await rig.values.delete(KEY, PLAIN, some_call())
    await rig.settled()
    await rig.behind.stop()
    assert (KEY, VALUE) == (letter.key, letter.value)
    assert (2, {}) == (len(ledger.made), ledger.values)
    assert KEY.encode() not in held
    assert VALUE not in held


async def test_a_change_whose_data_key_is_gone_is_a_dead_letter(server: StoreServer, store: StandaloneStore) -> None:
    """Nobody can read it; it can be seen and discarded."""
    ledger = Ledger()
    writer = make_rig(store, ledger, sealer=sealer(store))
    await writer.values.set(KEY, VALUE, PLAIN, some_call())
    for name in server.oracle().scan_iter("*:k:{*"):
        server.oracle().delete(name)
    rig = make_rig(store, ledger, sealer=sealer(store))
    rig.behind.start()
    await rig.settled()
    (letter,) = (await rig.cache.dead_letters.page("", 10, 1_000_000, some_call())).letters
    discarded = await rig.cache.dead_letters.discard([letter.id], some_call())
    await rig.behind.stop()
    assert ("", None, "CIPHERTEXT_REJECTED", 1) == (letter.key, letter.value, letter.reason, discarded)
    assert {} == ledger.values
