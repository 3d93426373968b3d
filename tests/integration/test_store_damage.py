"""A store whose files are damaged or full: the torn tail alone is lost, and nothing is said to be safe that is not."""

from __future__ import annotations

import asyncio
import resource
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import StoreServer
from support.write_behind import PLAIN, Ledger, make_rig, some_call, until

from sidecar.cache.policy import Outcome
from sidecar.errors import Reason, SidecarError, StartupError
from sidecar.store.address import StoreAddress
from sidecar.store.base import ScriptCall
from sidecar.store.confirmed import ConfirmedWrites, on_disk
from sidecar.store.embedded import EmbeddedPolicy, EmbeddedValkey
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.scripts import load
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WRITES = 10
# Less than the last write has: its transaction ends in the middle.
TORN_BYTES = 9
ROOM_BYTES = 64 * 1024


@asynccontextmanager
async def connected(address: StoreAddress) -> AsyncIterator[Pool]:
    """Return connections to a server."""
    pool = Pool(address, PoolPolicy(connections=1, reply_timeout=10.0), PoolCounters(Metrics()))
    pool.start()
    yield pool
    await pool.close()


class FullDisk(StoreServer):
    """A Valkey with an append-only file that can be given no more room."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("env") is None:
            pytest.skip("no env program")
        super().__init__("valkey", folder, ["--appendonly", "yes", "--appendfsync", "everysec"])
        # As on a full disk a write is then an error, and not the end of the process.
        self._command = ["env", "--ignore-signal=XFSZ", *self._command]

    def limit(self, size: int) -> None:
        """Let its files grow to so many bytes and no more."""
        resource.prlimit(self.process_id, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def lift(self) -> None:
        """Let them grow."""
        self.limit(resource.RLIM_INFINITY)


async def write_with(policy: EmbeddedPolicy) -> Path:
    """Have an embedded store take WRITES writes and end; return the file that it has appended them to."""
    embedded = EmbeddedValkey(policy)
    await embedded.start()
    async with connected(embedded.address) as pool:
        rig = make_rig(StandaloneStore(pool), Ledger())
        for number in range(WRITES):
            await rig.values.set(f"k{number}", b"v", PLAIN, some_call())
    await embedded.stop()
    (written,) = (policy.directory / "appendonlydir").glob("*.incr.aof")
    return written


async def test_a_torn_tail_costs_the_last_write_alone(tmp_path: Path) -> None:
    """Entry and change together; all that came before is there, and reaches the origin."""
    policy = EmbeddedPolicy(directory=tmp_path / "state")
    written = await write_with(policy)
    with written.open("r+b") as file:
        file.truncate(written.stat().st_size - TORN_BYTES)

    again = EmbeddedValkey(policy)
    await again.start()
    ledger = Ledger()
    async with connected(again.address) as pool:
        rig = make_rig(StandaloneStore(pool), ledger)
        found = [(await rig.values.get(f"k{number}", some_call())).outcome for number in range(WRITES)]
        rig.behind.start()
        await rig.settled()
        await rig.behind.stop()
    await again.stop()
    assert [Outcome.HIT] * (WRITES - 1) + [Outcome.MISS] == found
    assert {f"k{number}" for number in range(WRITES - 1)} == set(ledger.values)


async def test_damage_before_the_tail_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Whatever is wrong with it, what came after is not thrown away: the sidecar does not start, and says why."""
    policy = EmbeddedPolicy(directory=tmp_path / "state")
    written = await write_with(policy)
    content = bytearray(written.read_bytes())
    # Where a command says how many arguments it has.
    content[content.index(b"\r\n*", len(content) // 2) + 2] = ord("x")
    written.write_bytes(content)

    with pytest.raises(StartupError) as refused:
        await EmbeddedValkey(policy).start()
    assert str(refused.value).startswith(
        "the embedded store did not start; it said: Bad file format reading the append"
    )
    assert str(refused.value).endswith(f"; its log is {policy.directory / 'valkey.log'}")
    assert content == written.read_bytes()


async def test_a_full_disk_refuses_writes_and_loses_none_that_it_took(tmp_path: Path) -> None:
    """With a clear reason while there is no room; once there is, all that was acknowledged is on the disk."""
    server = FullDisk(tmp_path)
    server.start()
    acknowledged: list[str] = []
    async with connected(StoreAddress(host="127.0.0.1", port=server.port)) as pool:
        rig = make_rig(StandaloneStore(pool), Ledger())
        server.limit(ROOM_BYTES)
        refused: SidecarError | None = None
        for number in range(1_000):
            try:
                await rig.values.set(f"k{number}", b"v" * 1_000, PLAIN, some_call())
            except SidecarError as error:
                refused = error
                break
            acknowledged.append(f"k{number}")
        assert refused is not None
        assert (Reason.STORE_UNAVAILABLE, "MISCONF") == (refused.reason, refused.metadata["store_code"])
        server.lift()

        async def takes_writes() -> bool:
            try:
                await rig.values.set("last", b"v", PLAIN, some_call())
            except SidecarError:
                return False
            return True

        await until(takes_writes)
        acknowledged.append("last")
        await asyncio.to_thread(wait_for_disk, server)
    server.kill()
    server.start()
    ledger = Ledger()
    async with connected(StoreAddress(host="127.0.0.1", port=server.port)) as pool:
        rig = make_rig(StandaloneStore(pool), ledger)
        rig.behind.start()
        await rig.settled()
        await rig.behind.stop()
    server.stop()
    assert set(acknowledged) <= set(ledger.values)


async def test_a_full_disk_confirms_nothing(tmp_path: Path) -> None:
    """A write that is to be on the disk is not acknowledged while there is no room for it."""
    server = FullDisk(tmp_path)
    server.start()
    async with connected(StoreAddress(host="127.0.0.1", port=server.port)) as pool:
        writes = ConfirmedWrites(pool, on_disk(300))
        script = ScriptCall(load("set_entry"), (b"k", b"k", b"l"), (b"v" * 2_000, 60_000, 0, "", b"", 0), False)
        await writes.run([script], some_call())
        server.limit(1)
        answers = [(await writes.run([script], some_call()))[0] for _ in range(3)]
        await writes.close()
    server.stop()
    reasons = {answer.reason for answer in answers if isinstance(answer, SidecarError)}
    assert 3 == len([answer for answer in answers if isinstance(answer, SidecarError)])
    assert reasons <= {Reason.WRITE_NOT_CONFIRMED, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN}


def wait_for_disk(server: StoreServer) -> None:
    """Wait until what was written is in the file."""
    oracle: Any = server.oracle()
    oracle.set("marker", "v")
    oracle.execute_command("WAITAOF", 1, 0, 5_000)
