"""A process that writes to a write-behind cache and sends its changes to a PostgreSQL, to be killed.

Run as a program it writes what its standard input says, a line `KEY VALUE` each, acknowledges each on its standard
output once the cache has, and brings the changes to a ledger in the database. At SIGTERM it sends what waits, as a
sidecar does, and ends.

The ledger is written by `psql`, a process for each batch, which lives on when its parent is killed: just as a
transaction that a dead sidecar has begun may still end well, some time later.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Self

import uvloop

from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError
from sidecar.store.address import StoreAddress
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics
from support.postgres import binary_of
from support.write_behind import PLAIN, Ledger, make_rig, some_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.origin import Change
    from sidecar.call import Call
    from support.postgres import Database

SET_UP = """
CREATE TABLE applied (token text PRIMARY KEY);
CREATE TABLE ledger (id bigserial PRIMARY KEY, key text NOT NULL, value text, token text NOT NULL);
"""
# Of keys and values that are the test's own: letters and digits.
_APPLY = Template(
    "WITH new AS (INSERT INTO applied VALUES ('$token') ON CONFLICT DO NOTHING RETURNING token) "
    "INSERT INTO ledger (key, value, token) SELECT '$key', '$value', token FROM new;"
)
_DRAIN_SECONDS = 10.0


@dataclass
class PsqlLedger(Ledger):
    """An origin that appends each change to a table, once by its token."""

    url: str = ""

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes in one transaction."""
        del call
        statements = "\n".join(
            _APPLY.substitute(token=change.token, key=change.key, value=(change.value or b"").decode())
            for change in changes
        )
        process = await asyncio.create_subprocess_exec(
            binary_of("psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", self.url,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        await process.communicate(statements.encode())
        if process.returncode:
            return [SidecarError(Reason.ORIGIN_OUTCOME_UNKNOWN, "psql failed")] * len(changes)
        return [None] * len(changes)


def tell(line: str) -> None:
    """Write a line for the parent."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _run(port: int, url: str, *, coalesce: bool) -> None:
    pool = Pool(StoreAddress(host="127.0.0.1", port=port), PoolPolicy(connections=2), PoolCounters(Metrics()))
    pool.start()
    policy = BehindPolicy(flush_after_ms=20, lease_ms=1_000, store_timeout_ms=500, retry_cap_ms=200, coalesce=coalesce)
    rig = make_rig(StandaloneStore(pool), PsqlLedger(url=url), policy)
    rig.behind.start()
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def write(line: str) -> None:
        key, value = line.split()
        await rig.values.set(key, value.encode(), PLAIN, some_call())
        tell(line)

    async def serve() -> None:
        tell("ready")
        async with asyncio.TaskGroup() as writes:
            while line := await reader.readline():
                writes.create_task(write(line.decode().strip()))

    serving = asyncio.create_task(serve())
    await stopped.wait()
    serving.cancel()
    await rig.behind.drain(after(_DRAIN_SECONDS))
    await rig.behind.stop()
    await pool.close()


class BehindProcess:
    """One such process, as its parent has it."""

    def __init__(self, store_port: int, database: Database, *, coalesce: bool) -> None:
        self.acknowledged: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.behind_process", str(store_port),
             database.server.socket_url(database.name), str(int(coalesce))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        self.is_ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Wait until it takes writes."""
        if not self.is_ready.wait(30):
            raise TimeoutError("the process is not ready")
        return self

    def __exit__(self, *_: object) -> None:
        """End it if it runs."""
        self.kill()

    def write(self, key: str, value: str) -> None:
        """Have it write; `acknowledged` tells when it has."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{key} {value}\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """End it as a crash would; what it has acknowledged is known then."""
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """End it with SIGTERM, and return its exit code."""
        self._process.terminate()
        return self._end()

    def _end(self) -> int:
        code = self._process.wait(30)
        self._reader.join(30)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        return code

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if line == "ready\n":
                self.is_ready.set()
            elif line.endswith("\n"):
                self.acknowledged.append(line.strip())


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), sys.argv[2], coalesce=sys.argv[3] == "1"))
