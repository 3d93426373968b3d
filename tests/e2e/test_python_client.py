"""Every method of the Python client, on a real sidecar over a real store."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sidecar_client
from sidecar_client import (
    BatchError,
    BlockingSidecar,
    InvalidRequestError,
    Item,
    NotConfiguredError,
    Outcome,
    PreconditionError,
    SidecarClient,
    WriteOutcome,
    if_absent,
    if_present,
    if_version,
    new_idempotency_key,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sidecar_client import Cache, Limit, Records, Value

# A busy machine may be slow to answer; the client's own second is tested where the server is played.
_TIMEOUT_S = 10.0

# Of the limit `auth`, which counts it in ten parts: a slot comes free at most one part late.
_WINDOW = timedelta(minutes=1)


@pytest.fixture
async def sidecar(sidecar_address: str) -> AsyncIterator[SidecarClient]:
    """Open a client of the hospital's sidecar."""
    async with SidecarClient(sidecar_address, timeout=_TIMEOUT_S) as client:
        yield client


@pytest.fixture
def default(sidecar: SidecarClient) -> Cache:
    """Return a cache of plain values."""
    return sidecar.cache("default")


@pytest.fixture
def patients(sidecar: SidecarClient) -> Records:
    """Return the cache of protected records."""
    return sidecar.records("patients")


@pytest.fixture
def auth(sidecar: SidecarClient) -> Limit:
    """Return the limit of ten logins a minute."""
    return sidecar.limit("auth")


@pytest.fixture
def key() -> str:
    """Return a key that no other test uses."""
    return f"python:{secrets.token_hex(8)}"


async def test_invalidation(sidecar: SidecarClient, key: str) -> None:
    """By a tag, by a key, by a prefix, and everything; what is loaded has its tags too."""
    wards = sidecar.cache("wards")

    async def load() -> str:
        return "bed 7"

    names = [f"{key}:{number}" for number in range(4)]
    await wards.set(names[0], b"v", tags=[f"{key}7"])
    await wards.get_or_load(names[1], load, tags=lambda value: [f"{key}{str(value).removeprefix('bed ')}"])
    await wards.set_many({names[2]: Item(b"v", tags=[f"{key}8"]), names[3]: b"v"})

    async def left() -> list[bool]:
        return [(await wards.get(name)).hit for name in names]

    removed = [(await wards.invalidate(tags=[f"{key}7"])).removed, (await wards.invalidate(keys=names[1:3])).removed]
    after_both = await left()
    by_prefix = await wards.invalidate(prefix=f"{key}:")
    after_prefix = await left()
    await wards.set(names[0], b"v")
    everything = await wards.invalidate(everything=True)
    assert ([2, 1], [False, False, False, True]) == (removed, after_both)
    assert ([False] * 4, [False] * 4) == (after_prefix, await left())
    assert by_prefix.generation < everything.generation


async def test_many_are_loaded_together(default: Cache, key: str) -> None:
    """What is there is not; what the origin does not have is a miss."""
    names = [f"{key}:{number}" for number in range(4)]
    await default.set(names[0], b"there")
    asked: list[list[str]] = []

    async def load_many(keys: Sequence[str]) -> dict[str, str]:
        asked.append(list(keys))
        return {name: "loaded" for name in keys if name != names[3]}

    for _ in range(2):
        found = await default.get_or_load_many([*names, names[1]], load_many, ttl=60)
        assert names == list(found)
        values = [found[name].value if found[name].hit else None for name in names]
        assert [b"there", b"loaded", b"loaded", None] == values
    assert [names[1:], [names[3]]] == asked


async def test_set_then_get(sidecar: SidecarClient, key: str) -> None:
    """A value comes back byte for byte, with its version, its TTL and its age."""
    balances = sidecar.cache("balances")
    written = await balances.set(key, b"12.50\x00\xff", ttl=timedelta(seconds=20))
    found = await balances.get(key)
    assert (Outcome.HIT, b"12.50\x00\xff", written.version) == (found.outcome, found.value, found.version)
    assert found.ttl is not None
    assert timedelta(0) < found.ttl <= timedelta(seconds=20)
    assert found.age is not None
    assert timedelta(0) <= found.age < timedelta(seconds=20)


async def test_get_of_nothing_is_a_miss(default: Cache, key: str) -> None:
    """A miss is an answer with no value."""
    found = await default.get(key)
    assert (False, None) == (found.found, found.value)


async def test_a_raw_cache_has_no_versions(sidecar: SidecarClient, key: str) -> None:
    """Plain Redis strings carry a TTL and nothing else."""
    shared = sidecar.cache("shared")
    await shared.set(key, "text", ttl=60)
    found = await shared.get(key)
    assert ("text", 0, None) == (found.text, found.version, found.age)


async def test_a_sealed_value_comes_back(sidecar: SidecarClient, key: str) -> None:
    """What is encrypted on the way to the store is read in clear."""
    sealed = sidecar.cache("patients")
    await sealed.set(key, "secret")
    assert (await sealed.get(key)).text == "secret"


async def test_delete(default: Cache, key: str) -> None:
    """The second time there is nothing to delete."""
    await default.set(key, "v")
    outcomes = [(await default.delete(key)).outcome, (await default.delete(key)).outcome]
    assert [WriteOutcome.APPLIED, WriteOutcome.NOT_FOUND] == outcomes


async def test_if_absent_and_if_present(default: Cache, key: str) -> None:
    """Each holds in one state of the key only."""
    applied = [
        (await default.set(key, "1", condition=if_present())).applied,
        (await default.set(key, "2", condition=if_absent())).applied,
        (await default.set(key, "3", condition=if_absent())).applied,
        (await default.set(key, "4", condition=if_present())).applied,
    ]
    assert [False, True, False, True] == applied


async def test_compare_and_set(default: Cache, key: str) -> None:
    """Of two writers who read the same version, the second is told."""
    read = await default.set(key, "1")
    first = await default.set(key, "2", condition=if_version(read.version))
    second = await default.set(key, "3", condition=if_version(read.version))
    assert [True, False] == [first.applied, second.applied]
    assert (await default.get(key)).text == "2"


async def test_delete_under_a_condition(default: Cache, key: str) -> None:
    """Nothing is deleted that has changed since."""
    read = await default.set(key, "1")
    await default.set(key, "2")
    deleted = await default.delete(key, condition=if_version(read.version))
    assert deleted.outcome is WriteOutcome.CONDITION_NOT_MET


async def test_an_idempotency_key_makes_one_write_of_two(default: Cache, key: str) -> None:
    """The second call gets the first one's answer and adds nothing."""
    once = new_idempotency_key()
    first = await default.increment(key, 5, idempotency_key=once)
    second = await default.increment(key, 5, idempotency_key=once)
    assert [(5, first.version)] * 2 == [(counted.value, counted.version) for counted in (first, second)]


async def test_touch(default: Cache, key: str) -> None:
    """The TTL is new, the version is not."""
    written = await default.set(key, "v", ttl=300)
    touched = await default.touch(key, ttl=10)
    found = await default.get(key)
    assert (True, written.version) == (touched.applied, touched.version)
    assert found.ttl is not None
    assert found.ttl <= timedelta(seconds=10)


async def test_increment(default: Cache, key: str) -> None:
    """A counter begins at `initial`, goes up and down, and has a TTL."""
    counts = [
        await default.increment(key, initial=10, ttl=60),
        await default.increment(key, 5),
        await default.increment(key, -20),
    ]
    assert [11, 16, -4] == [counted.value for counted in counts]
    ttl = counts[2].ttl
    assert ttl is not None
    assert ttl <= timedelta(seconds=60)


async def test_increment_of_a_text_is_refused(default: Cache, key: str) -> None:
    """The value is no number, and stays as it is."""
    await default.set(key, "text")
    with pytest.raises(PreconditionError) as caught:
        await default.increment(key)
    assert caught.value.reason == "VALUE_NOT_INTEGER"


async def test_batches(default: Cache, key: str) -> None:
    """Several keys are written, read and removed in a call each."""
    first, second, third = (f"{key}:{number}" for number in range(3))
    written = await default.set_many({first: "1", second: Item(b"2", ttl=5)}, ttl=60)
    found = await default.get_many([first, second, third])
    deleted = await default.delete_many([first, third])
    assert {first: True, second: True} == {name: result.applied for name, result in written.items()}
    assert {first: "1", second: "2", third: None} == {name: lookup.text for name, lookup in found.items()}
    ttl = found[second].ttl
    assert ttl is not None
    assert ttl <= timedelta(seconds=5)
    assert {first: True, third: False} == {name: result.applied for name, result in deleted.items()}


async def test_a_batch_reports_its_failed_items(sidecar: SidecarClient, key: str) -> None:
    """A record where a value is wanted fails alone; the other key is read."""
    default = sidecar.cache("default")
    record, value = f"{key}:record", f"{key}:value"
    await sidecar.records("default").put(record, {"a": 1})
    await default.set(value, "v")
    with pytest.raises(BatchError) as caught:
        await default.get_many([record, value])
    assert {record: "WRONG_TYPE"} == {name: error.reason for name, error in caught.value.failures.items()}
    assert caught.value.results[value].text == "v"


async def test_a_record_keeps_the_types_of_its_fields(patients: Records, key: str) -> None:
    """Each value comes back as it was put, sealed or clear."""
    fields: dict[str, Value] = {
        "name": "Test Patient",
        "birth_date": datetime(1990, 5, 1, 12, 30, tzinfo=UTC),
        "notes": b"\x00\xff",
        "ward": 4,
        "weight": 70.5,
        "insured": True,
    }
    written = await patients.put(key, fields, ttl=60)
    found = await patients.get(key)
    assert (True, fields, written.version) == (found.hit, found.fields, found.version)
    assert {name: type(value) for name, value in fields.items()} == {
        name: type(value) for name, value in found.fields.items()
    }


async def test_some_fields_of_a_record(patients: Records, key: str) -> None:
    """A field that the record has not is left out."""
    await patients.put(key, {"name": "Test Patient", "ward": 4})
    found = await patients.get(key, fields=["ward", "phone"])
    assert {"ward": 4} == found.fields


async def test_patch(patients: Records, key: str) -> None:
    """Fields are set and removed; the rest and the TTL stay."""
    await patients.put(key, {"name": "Test Patient", "ward": 4, "notes": "none"}, ttl=60)
    patched = await patients.patch(key, {"ward": 5}, remove=["notes"])
    found = await patients.get(key)
    assert (True, {"name": "Test Patient", "ward": 5}) == (patched.applied, found.fields)
    assert found.ttl is not None
    assert found.ttl <= timedelta(seconds=60)


async def test_patch_of_nothing(patients: Records, key: str) -> None:
    """A patch creates no record."""
    assert (await patients.patch(key, {"ward": 5})).outcome is WriteOutcome.NOT_FOUND


async def test_delete_record(patients: Records, key: str) -> None:
    """Deleted, it is a miss without fields."""
    await patients.put(key, {"ward": 4})
    deleted = await patients.delete(key)
    found = await patients.get(key)
    assert (True, Outcome.MISS, {}) == (deleted.applied, found.outcome, dict(found.fields))


async def test_the_eleventh_login_is_refused(auth: Limit, key: str) -> None:
    """Ten are allowed; the refusal says when to come again."""
    decisions = [await auth.check(key) for _ in range(11)]
    assert [True] * 10 + [False] == [decision.allowed for decision in decisions]
    assert [*range(9, -1, -1), 0] == [decision.remaining for decision in decisions]
    assert timedelta(0) < decisions[10].retry_after <= _WINDOW + _WINDOW / 10


async def test_peek_takes_nothing(auth: Limit, key: str) -> None:
    """It says what a check would, and the allowance stays."""
    await auth.check(key, cost=4)
    peeked = [await auth.peek(key, cost=6), await auth.peek(key, cost=7)]
    assert [(True, 6), (False, 6)] == [(decision.allowed, decision.remaining) for decision in peeked]


async def test_reset(auth: Limit, key: str) -> None:
    """The allowance is whole again; the second time there was nothing to forget."""
    await auth.check(key, cost=10)
    existed = [await auth.reset(key), await auth.reset(key)]
    decision = await auth.check(key)
    assert ([True, False], True, 9) == (existed, decision.allowed, decision.remaining)


async def test_threads_share_the_limit(sidecar_address: str, key: str) -> None:
    """A client without an event loop counts on the same key, and fails with the same errors."""

    def eleven() -> tuple[list[bool], str]:
        with BlockingSidecar(sidecar_address, timeout=_TIMEOUT_S) as blocking:
            allowed = [blocking.limit("auth").check(key).allowed for _ in range(11)]
            with pytest.raises(NotConfiguredError) as caught:
                blocking.limit("auht").check(key)
        return allowed, caught.value.metadata["nearest"]

    assert ([True] * 10 + [False], "auth") == await asyncio.to_thread(eleven)


async def test_an_unknown_cache_names_the_nearest(sidecar: SidecarClient, key: str) -> None:
    """A slip of the pen is answered with the name that was meant."""
    with pytest.raises(NotConfiguredError) as caught:
        await sidecar.cache("balance").get(key)
    assert ("CACHE_UNKNOWN", "balances") == (caught.value.reason, caught.value.metadata["nearest"])


async def test_a_ttl_above_the_bound_names_the_field(patients: Records, key: str) -> None:
    """Protected data is not kept longer than the policy says."""
    with pytest.raises(InvalidRequestError) as caught:
        await patients.put(key, {"ward": 4}, ttl=timedelta(hours=1))
    assert ("TTL_TOO_LONG", "ttl") == (caught.value.reason, caught.value.field)


async def _shell(address: str, *arguments: str) -> tuple[int | None, list[str], str]:
    """Run the client's command line; return its exit code, its lines and its complaint."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar_client", *arguments),
        env={
            **os.environ,
            "SIDECAR_ADDRESS": address,
            "PYTHONPATH": str(Path(sidecar_client.__file__).parents[1]),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    return process.returncode, output.decode().splitlines(), complaint.decode()


async def test_the_command_line_lists_the_services(sidecar_address: str) -> None:
    """By reflection, one a line."""
    code, services, _ = await _shell(sidecar_address, "list")
    assert code == 0
    assert {
        "grpc.health.v1.Health",
        "sidecar.v1.CacheService",
        "sidecar.v1.RateLimitService",
        "sidecar.v1.RecordService",
    } <= set(services)


async def test_the_command_line_writes_and_reads(sidecar_address: str, key: str) -> None:
    """A value and a record, each there and back."""
    await _shell(sidecar_address, "set", "balances", key, "12.50")
    await _shell(sidecar_address, "put-record", "patients", key, "name=Test Patient", "ward=4")
    _, value, _ = await _shell(sidecar_address, "get", "balances", key)
    _, record, _ = await _shell(sidecar_address, "record", "patients", key)
    assert (["12.50"], ["  name  Test Patient", "  ward  4"]) == (value[1:], record[1:])


async def test_the_command_line_checks_a_limit(sidecar_address: str, key: str) -> None:
    """A refusal is an answer too: exit code 0."""
    allowed = await _shell(sidecar_address, "check", "auth", key, "--cost", "10")
    refused = await _shell(sidecar_address, "check", "auth", key)
    assert [(0, "ALLOWED"), (0, "REFUSED")] == [(code, lines[0].split()[0]) for code, lines, _ in (allowed, refused)]


async def test_the_command_line_reports_an_error(sidecar_address: str, key: str) -> None:
    """One line, nothing on standard output, exit code 1."""
    code, lines, complaint = await _shell(sidecar_address, "get", "nowhere", key)
    assert (1, [], 1) == (code, lines, len(complaint.splitlines()))
    assert complaint.startswith("error: CACHE_UNKNOWN: ")
