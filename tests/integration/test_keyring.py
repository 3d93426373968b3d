"""The key ring on a real Valkey: sharing, caching, losing and replacing data keys; cancellation."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.rings import DAY, EPOCH, KEK, MAX_LIFE_MS, Sidecar, WatchedStore, start

from sidecar.call import Call
from sidecar.clock import after
from sidecar.crypto import keyring
from sidecar.crypto.kek import KeyEncryptionKey
from sidecar.crypto.keyring import NAMES
from sidecar.errors import Reason, SidecarError
from sidecar.store.keys import KeySpace

if TYPE_CHECKING:
    import redis
    from support.servers import StoreServer

    from sidecar.crypto.envelope import DataKey
    from sidecar.store.standalone import StandaloneStore

RECORD = KeySpace("default").data_key("patients", str(EPOCH))
OLD = EPOCH - 1
REVALIDATE = 10.0


@pytest.fixture
def watched(store: StandaloneStore) -> WatchedStore:
    """Watch the store."""
    return WatchedStore(store)


@pytest.fixture
def oracle(server: StoreServer) -> redis.Redis:
    """Look into the store with a client of another make."""
    return server.oracle()


@pytest.fixture
def call() -> Call:
    """Return a call without a deadline."""
    return Call("/test/Test")


async def obtain(sidecar: Sidecar, call: Call, epoch: int = EPOCH) -> DataKey:
    """Ask for the key to seal with."""
    return await sidecar.ring.obtain("patients", epoch, MAX_LIFE_MS, call)


async def find(sidecar: Sidecar, key_id: bytes, call: Call, epoch: int = EPOCH) -> DataKey | None:
    """Ask for the key to open with."""
    return await sidecar.ring.find("patients", epoch, key_id, MAX_LIFE_MS, call)


async def until(happened: list[str], count: int) -> None:
    """Wait until something has happened so often."""
    while len(happened) < count:
        await asyncio.sleep(0)


# --- sharing ---


async def test_sidecars_share_a_key(watched: WatchedStore, call: Call) -> None:
    """What one sidecar makes, another finds."""
    made = await obtain(start(watched), call)
    assert made == await find(start(watched), made.id, call)


async def test_sidecars_that_race_share_a_key(watched: WatchedStore, call: Call) -> None:
    """Sidecars that meet a new epoch at the same time end up with one key."""
    keys = await asyncio.gather(*[obtain(start(watched), call) for _ in range(20)])
    assert {keys[0].secret} == {key.secret for key in keys}


async def test_epochs_and_caches_have_their_own_keys(watched: WatchedStore, call: Call) -> None:
    """Each cache, each epoch and each cache's names have a key of their own."""
    ring = start(watched).ring
    slots = [(cache, epoch) for cache in ("patients", "wards") for epoch in (EPOCH, OLD, NAMES)]
    keys = [await ring.obtain(cache, epoch, MAX_LIFE_MS, call) for cache, epoch in slots]
    assert len(slots) == len({key.secret for key in keys})


async def test_record_expires_after_its_data(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """A record lives an epoch, the longest life of an entry and five minutes."""
    await obtain(start(watched), call)
    expected = DAY * 1000 + MAX_LIFE_MS + 300_000
    assert expected == pytest.approx(oracle.pttl(RECORD), abs=2_000)


async def test_name_key_does_not_expire(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """The record of the key that names entries has no TTL."""
    await obtain(start(watched), call, NAMES)
    assert oracle.pttl(KeySpace("default").data_key("patients", "names")) == -1


async def test_store_holds_no_clear_key(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """The data key itself is not in the store."""
    key = await obtain(start(watched), call)
    record: Any = oracle.get(RECORD)
    assert (key.secret in record, key.id in record) == (False, True)


def test_epoch_follows_the_stores_clock(watched: WatchedStore) -> None:
    """The epoch is the store's time divided by the epoch's length."""
    sidecar = start(watched)
    sidecar.set_epoch(EPOCH + 5)
    assert sidecar.ring.current_epoch() == EPOCH + 5


# --- caching ---


async def test_concurrent_first_uses_share_one_load(watched: WatchedStore, call: Call) -> None:
    """Fifty callers who want the same new key cost one round trip."""
    sidecar = start(watched)
    await asyncio.gather(*[obtain(sidecar, call) for _ in range(50)])
    assert watched.asked == ["ensure_data_key"]


async def test_concurrent_finds_share_one_load(watched: WatchedStore, call: Call) -> None:
    """Fifty readers who want the same key cost one round trip and one unwrapping."""
    key = await obtain(start(watched), call)
    reader = start(watched)
    watched.asked.clear()
    await asyncio.gather(*[find(reader, key.id, call) for _ in range(50)])
    assert (watched.asked, reader.keks.unwrapped) == (["GET"], 1)


async def test_cached_key_costs_nothing(watched: WatchedStore, call: Call) -> None:
    """A key is unwrapped once and asked for once while it is fresh."""
    key = await obtain(start(watched), call)
    reader = start(watched)
    watched.asked.clear()
    for _ in range(10):
        await find(reader, key.id, call)
        reader.wind(REVALIDATE / 20)
    assert (watched.asked, reader.keks.unwrapped) == (["GET"], 1)


async def test_cache_is_bounded(watched: WatchedStore, call: Call) -> None:
    """The least recently used key goes when there are too many."""
    sidecar = start(watched, max_cached_keys=3)
    for epoch in (1, 2, 3):
        await obtain(sidecar, call, epoch)
    sidecar.ring.cached("patients", 1)
    await obtain(sidecar, call, 4)
    expected = [True, False, True, True]
    assert (3, expected) == (
        len(sidecar.ring),
        [sidecar.ring.cached("patients", epoch) is not None for epoch in (1, 2, 3, 4)],
    )


# --- losing and replacing ---


async def test_fresh_record_goes_on(watched: WatchedStore, call: Call) -> None:
    """A key whose record is still there goes on after the look at the store, without being unwrapped again."""
    sidecar = start(watched)
    key = await obtain(sidecar, call)
    sidecar.wind(REVALIDATE)
    again = await obtain(sidecar, call)
    assert (key, 0, 2) == (again, sidecar.keks.unwrapped, len(watched.asked))


async def test_lost_record_is_put_back(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """After a flush the key in use goes on, and others find it again."""
    sidecar = start(watched)
    key = await obtain(sidecar, call)
    record = oracle.get(RECORD)
    oracle.flushall()
    sidecar.wind(REVALIDATE)
    again = await obtain(sidecar, call)
    assert (key, record) == (again, oracle.get(RECORD))


async def test_lost_record_is_put_back_by_a_reader(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """A reader who holds the current key puts its record back as well."""
    sidecar = start(watched)
    key = await obtain(sidecar, call)
    record = oracle.get(RECORD)
    oracle.flushall()
    sidecar.wind(REVALIDATE)
    found = await find(sidecar, key.id, call)
    assert (key, record) == (found, oracle.get(RECORD))


async def test_replaced_record_is_adopted(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """If another sidecar was faster after a flush, its key is taken over for sealing."""
    slow, fast = start(watched), start(watched)
    await obtain(slow, call)
    oracle.flushall()
    key = await obtain(fast, call)
    slow.wind(REVALIDATE)
    assert key == await obtain(slow, call)


async def test_reader_fetches_a_replaced_key_at_once(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """A value that names another key than the cached one makes the reader look, before any time has passed."""
    slow, fast = start(watched), start(watched)
    await obtain(slow, call)
    oracle.flushall()
    key = await obtain(fast, call)
    assert key == await find(slow, key.id, call)


async def test_key_that_was_replaced_is_gone(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """A value of a key that another one took the place of has no key."""
    lost = await obtain(start(watched), call)
    oracle.flushall()
    await obtain(start(watched), call)
    assert await find(start(watched), lost.id, call) is None


async def test_finding_creates_nothing(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """A reader who finds no key leaves none behind."""
    found = await find(start(watched), b"i" * 16, call)
    assert (found, oracle.dbsize()) == (None, 0)


async def test_destroyed_key_of_a_past_epoch_stays_gone(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """A past epoch's key stops opening anything once its record is deleted, and is not put back."""
    sidecar = start(watched)
    key = await obtain(sidecar, call, OLD)
    oracle.flushall()
    sidecar.wind(REVALIDATE)
    found = await find(sidecar, key.id, call, OLD)
    assert (found, len(sidecar.ring), oracle.dbsize()) == (None, 0, 0)


async def test_late_joiner_looks_again(watched: WatchedStore, call: Call) -> None:
    """A reader who joined a look that began before its key was made does not take that look's answer for final."""
    reader, writer = start(watched), start(watched.store)
    watched.gate.clear()
    early = asyncio.create_task(find(reader, b"i" * 16, call))
    await until(watched.held_back, 1)
    made = await obtain(writer, call)
    late = asyncio.create_task(find(reader, made.id, call))
    await asyncio.sleep(0)
    watched.gate.set()
    assert (None, made, ["GET", "GET"]) == (await early, await late, watched.asked)


# --- key-encryption keys and tampering ---


async def test_new_kek_in_front_opens_what_the_old_one_wrapped(
    oracle: redis.Redis, watched: WatchedStore, call: Call
) -> None:
    """During a change of KEKs old records are read, and new ones carry the new KEK's id."""
    new = KeyEncryptionKey(b"N" * 32)
    key = await obtain(start(watched), call)
    rotated = start(watched, keks=(new, KEK))
    found = await find(rotated, key.id, call)
    await obtain(rotated, call, EPOCH + 1)
    record: Any = oracle.get(KeySpace("default").data_key("patients", str(EPOCH + 1)))
    assert (key, new.id) == (found, record[4:12])


async def test_unknown_kek_is_refused(watched: WatchedStore, call: Call) -> None:
    """A sidecar with another KEK seals and opens nothing of this epoch, and says which KEK it lacks."""
    await obtain(start(watched), call)
    stranger = start(watched, keks=(KeyEncryptionKey(b"S" * 32),))
    with pytest.raises(SidecarError) as caught:
        await obtain(stranger, call)
    expected = (Reason.KEY_ENCRYPTION_KEY_UNKNOWN, {"kek_id": KEK.id.hex()})
    assert expected == (caught.value.reason, caught.value.metadata)


async def test_moved_record_is_refused(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """A record copied to another epoch's key does not unwrap."""
    await obtain(start(watched), call)
    record: Any = oracle.get(RECORD)
    oracle.set(KeySpace("default").data_key("patients", str(OLD)), record)
    with pytest.raises(SidecarError) as caught:
        await find(start(watched), b"i" * 16, call, OLD)
    assert Reason.CIPHERTEXT_REJECTED is caught.value.reason


# --- cancellation and deadlines ---


async def test_cancelled_caller_breaks_no_other(watched: WatchedStore, call: Call) -> None:
    """The caller who began a load may leave; those who joined get the key."""
    sidecar = start(watched)
    watched.gate.clear()
    callers = [asyncio.create_task(obtain(sidecar, call)) for _ in range(10)]
    await until(watched.asked, 1)
    for caller in callers[:5]:
        caller.cancel()
    await asyncio.wait(callers[:5])
    watched.gate.set()
    keys = await asyncio.gather(*callers[5:])
    assert (len({key.id for key in keys}), watched.asked) == (1, ["ensure_data_key"])


async def test_load_that_everybody_left_ends(watched: WatchedStore, call: Call) -> None:
    """A load whose callers were all cancelled ends by itself and its key serves the next caller."""
    sidecar = start(watched)
    watched.gate.clear()
    caller = asyncio.create_task(obtain(sidecar, call))
    await until(watched.asked, 1)
    caller.cancel()
    await asyncio.wait([caller])
    load = sidecar.ring._keeping["patients", EPOCH]
    watched.gate.set()
    await asyncio.wait([load])
    await obtain(sidecar, call)
    assert (sidecar.ring._keeping, watched.asked) == ({}, ["ensure_data_key"])


async def test_deadline_ends_the_wait_alone(watched: WatchedStore, call: Call) -> None:
    """A caller whose deadline passes is told so; the load goes on for the others."""
    sidecar = start(watched)
    watched.gate.clear()
    patient = asyncio.create_task(obtain(sidecar, call))
    with pytest.raises(SidecarError) as caught:
        await obtain(sidecar, Call("/test/Test", deadline=after(0.05)))
    watched.gate.set()
    await patient
    assert (caught.value.reason, watched.asked) == (Reason.DEADLINE_EXCEEDED, ["ensure_data_key"])


async def test_failed_load_is_tried_again(oracle: redis.Redis, watched: WatchedStore, call: Call) -> None:
    """All callers of a load that fails get its error; the next caller begins another."""
    sidecar = start(watched)
    oracle.lpush(RECORD, "in the way")
    outcomes = await asyncio.gather(*[obtain(sidecar, call) for _ in range(3)], return_exceptions=True)
    oracle.delete(RECORD)
    await obtain(sidecar, call)
    assert (sum(isinstance(one, SidecarError) for one in outcomes), len(watched.asked)) == (3, 2)


async def test_hung_store_is_unavailable(
    server: StoreServer, watched: WatchedStore, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load has its own, short deadline, which does not pass for the caller's."""
    monkeypatch.setattr(keyring, "_LOAD_SECONDS", 0.1)
    server.pause()
    with pytest.raises(SidecarError) as caught:
        await obtain(start(watched), call)
    assert Reason.STORE_UNAVAILABLE is caught.value.reason


async def test_random_cancellations(watched: WatchedStore) -> None:
    """Ten thousand callers, most of them cancelled or out of time: each answer is right and nothing is left over."""
    draw = random.Random(7)
    sidecar = start(watched, max_cached_keys=4)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    expected = {epoch: await obtain(start(watched), Call("/test/Test"), epoch) for epoch in range(16)}
    wrong = 0

    async def one(epoch: int) -> None:
        nonlocal wrong
        call = Call("/test/Test", deadline=after(draw.choice((0.0, 0.001, 5.0))))
        try:
            if draw.random() < 0.5:
                key: DataKey | None = await obtain(sidecar, call, epoch)
            else:
                key = await find(sidecar, expected[epoch].id, call, epoch)
        except SidecarError as error:
            wrong += error.reason is not Reason.DEADLINE_EXCEEDED
        else:
            wrong += key != expected[epoch]

    for _ in range(100):
        callers = [asyncio.create_task(one(draw.randrange(16))) for _ in range(100)]
        for caller in draw.sample(callers, 50):
            asyncio.get_running_loop().call_later(draw.random() * 0.002, caller.cancel)
        await asyncio.wait(callers)
    loads = [*sidecar.ring._keeping.values(), *sidecar.ring._looking.values()]
    await asyncio.gather(*loads)
    assert (
        wrong, problems, sidecar.ring._keeping, sidecar.ring._looking, len(sidecar.ring),
    ) == (0, [], {}, {}, 4)  # fmt: skip
