"""The store's connection against redis-py's asyncio client: CPU time for each GET, by 50 callers at once.

`python -m bench.store`, or `make bench`. Each client lives in an event loop of its own, all in one process; they take
turns, so that a drift of the machine's speed meets them all. Time is the process's CPU time, kernel and threads
included. Every reply is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import redis.asyncio as redis_py
import uvloop

from bench.processes import Failure, Server, accepts_tcp, free_port
from bench.report import table
from sidecar.call import Call
from sidecar.clock import after
from sidecar.config.addresses import parse_url
from sidecar.store import commands
from sidecar.store.address import StoreAddress
from sidecar.store.embedded import binary_path
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Get = Callable[[], Awaitable[bytes | None]]
    Connect = Callable[[], Awaitable[Get]]

_CALLERS = 50
_KEY = b"sidecar-bench"
_VALUE = b"v" * 100
_TARGET = 10.0
_WARM_UP_SECONDS = 0.3
# A caller's deadline lies behind the end of any round.
_DEADLINE_SECONDS = 600.0
_MICROS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a client did in one of its turns."""

    gets_per_second: float
    cpu_us: float


@dataclass(slots=True, kw_only=True)
class Contender:
    """A client with its event loop."""

    name: str
    runner: asyncio.Runner
    get: Get
    rounds: list[Round] = field(default_factory=list)

    def take_turn(self, seconds: float) -> Round:
        """Let all callers read for that long."""
        gc.collect()
        return self.runner.run(_read(self.get, seconds))

    def median_cpu_us(self) -> float:
        """Return the CPU time for each GET."""
        return median(round_.cpu_us for round_ in self.rounds)


async def _read(get: Get, seconds: float) -> Round:
    over = asyncio.Event()
    is_over = over.is_set

    async def caller() -> int:
        done = 0
        while not is_over():
            if await get() != _VALUE:
                raise Failure("a client returned something other than the value")
            done += 1
        return done

    asyncio.get_running_loop().call_later(seconds, over.set)
    begun, used = time.perf_counter(), time.process_time()
    done = sum(await asyncio.gather(*(caller() for _ in range(_CALLERS))))
    wall, cpu = time.perf_counter() - begun, time.process_time() - used
    return Round(gets_per_second=done / wall, cpu_us=cpu / done * _MICROS)


def _sidecar(address: StoreAddress) -> Connect:
    """Return how to connect by way of the sidecar's own store, as the caches use it."""

    async def connect() -> Get:
        pool = Pool(address, PoolPolicy(), PoolCounters(Metrics()))
        pool.start()
        store = StandaloneStore(pool)
        call = Call("bench", deadline=after(_DEADLINE_SECONDS))

        def get() -> Awaitable[bytes | None]:
            return store.call(commands.get(_KEY), call)

        await get()
        return get

    return connect


def _redis_py(client: Any) -> Connect:
    async def connect() -> Get:
        await client.set(_KEY, _VALUE, ex=3600)

        def get() -> Awaitable[bytes | None]:
            got: Awaitable[bytes | None] = client.get(_KEY)
            return got

        return get

    return connect


def _contenders(url: str, stack: ExitStack) -> list[Contender]:
    """Connect the clients, redis-py's first: it also sets the key that all read."""
    parts = parse_url(url)
    if parts.tls:
        raise Failure("this benchmark speaks no TLS; give a redis:// or unix:// URL")
    address = StoreAddress(
        host=parts.host,
        port=parts.port,
        path=parts.path,
        username=parts.username,
        password=parts.password,
        database=parts.database,
    )
    blocking = redis_py.BlockingConnectionPool.from_url(url, max_connections=16, timeout=_DEADLINE_SECONDS)
    ways = {
        "redis-py, its own pool": _redis_py(redis_py.Redis.from_url(url)),
        "redis-py, BlockingConnectionPool of 16": _redis_py(redis_py.Redis(connection_pool=blocking)),
        "sidecar, StandaloneStore over Pool": _sidecar(address),
    }
    contenders = []
    for name, connect in ways.items():
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        contenders.append(Contender(name=name, runner=runner, get=runner.run(_connected(connect))))
    return contenders


async def _connected(connect: Connect) -> Get:
    return await connect()


def _start_valkey(stack: ExitStack) -> str:
    """Start a Valkey and return its URL: over TCP, as most stores are reached."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-")))
    port = free_port()
    command = [str(binary_path()), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    stack.enter_context(Server("Valkey", command, log=folder / "valkey.log", is_ready=accepts_tcp(port)))
    return f"redis://127.0.0.1:{port}"


def run(options: argparse.Namespace) -> None:
    """Measure and print the table."""
    with ExitStack() as stack:
        url = options.redis or _start_valkey(stack)
        contenders = _contenders(url, stack)
        for contender in contenders:
            contender.take_turn(_WARM_UP_SECONDS)
        for _ in range(options.repeats):
            for contender in contenders:
                contender.rounds.append(contender.take_turn(options.seconds))
    own = contenders[-1].median_cpu_us()
    rows = []
    for contender in contenders:
        cpu = [round_.cpu_us for round_ in contender.rounds]
        rows.append(
            [
                contender.name,
                f"{median(round_.gets_per_second for round_ in contender.rounds):,.0f}",
                f"{contender.median_cpu_us():.1f} ({min(cpu):.1f}-{max(cpu):.1f})",
                f"{contender.median_cpu_us() / own:.1f}",
            ]
        )
    print(f"{_CALLERS} callers; {os.cpu_count()} cores; redis-py {version('redis')} with hiredis {version('hiredis')}")
    print(f"median of {options.repeats} rounds of {options.seconds:g} s\n")
    print(table(("client", "GET/s", "CPU µs/GET", "x sidecar's"), rows))
    best = min(contender.median_cpu_us() for contender in contenders[:-1]) / own
    verdict = "met" if best >= _TARGET else "missed"
    print(f"\nredis-py takes at least {best:.1f} x the store's CPU; the target of {_TARGET:g} is {verdict}.")
    if options.json:
        content = {
            contender.name: [[round_.gets_per_second, round_.cpu_us] for round_ in contender.rounds]
            for contender in contenders
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Run, and say in a sentence why it cannot."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description="Measure the store's connection.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each round (default: 1)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of each client (default: 7)")
    parser.add_argument("--redis", metavar="URL", help="the store (default: a Valkey on loopback)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds there")
    try:
        run(parser.parse_args())
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
