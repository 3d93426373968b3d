"""The auto-batching Python client against the same client without it: Gets per second, 200 callers, one event loop.

`python -m bench.client_batch`. A sidecar of the hospital example is started on an embedded Valkey; two clients, alike
but for `auto_batch`, take turns, so that a drift of the machine's speed meets both. Every answer is checked. The ratio
of the medians is the result; the rates themselves belong to the machine, which client, sidecar and store share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sidecar_client import SidecarClient

from bench.processes import Failure, Server, free_port
from bench.report import table

if TYPE_CHECKING:
    from sidecar_client import Cache

_ROOT = Path(__file__).resolve().parent.parent
_CALLERS = 200
_KEYS = 200
_VALUE = b"v" * 100
_TARGET = 5.0
_WARM_UP_SECONDS = 0.5
# Saturated on purpose: no call may end for want of patience.
_TIMEOUT_SECONDS = 30.0


async def _turn(cache: Cache, seconds: float) -> tuple[float, float]:
    """Let all callers read for that long; return Gets per second and the client's CPU µs for each."""
    gc.collect()
    over = asyncio.Event()

    async def caller(number: int) -> int:
        done = 0
        while not over.is_set():
            if (await cache.get(f"client-batch-{number % _KEYS}")).value != _VALUE:
                raise Failure("a client returned something other than the value")
            done += 1
        return done

    asyncio.get_running_loop().call_later(seconds, over.set)
    begun, used = time.perf_counter(), time.process_time()
    done = sum(await asyncio.gather(*(caller(number) for number in range(_CALLERS))))
    wall, cpu = time.perf_counter() - begun, time.process_time() - used
    return done / wall, cpu / done * 1e6


async def _measure(address: str, options: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    async with AsyncExitStack() as stack:
        caches = {}
        for name, batching in (("unary", False), ("auto_batch", True)):
            client = SidecarClient(address, timeout=_TIMEOUT_SECONDS, auto_batch=batching)
            caches[name] = (await stack.enter_async_context(client)).cache("default")
        for number in range(_KEYS):
            await caches["unary"].set(f"client-batch-{number}", _VALUE, ttl=3600)
        for cache in caches.values():
            await _turn(cache, _WARM_UP_SECONDS)
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in caches}
        for _ in range(options.repeats):
            for name, cache in caches.items():
                rounds[name].append(await _turn(cache, options.seconds))
        return rounds


def _is_serving(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _start_sidecar(stack: ExitStack, address: str) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-")))
    config = _ROOT / "examples" / "hospital" / "sidecar.yaml"
    command = [
        str(Path(sys.executable).parent / "sidecar"), "serve", "--config", str(config), "--listen", address,
    ]  # fmt: skip
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")},
        "XDG_STATE_HOME": str(folder),
        "SIDECAR_TELEMETRY__METRICS__ADDRESS": f"127.0.0.1:{free_port()}",
    }
    server = Server(
        "sidecar", command, log=folder / "sidecar.log", is_ready=lambda: _is_serving(address), environ=environ
    )
    stack.enter_context(server)


def run(options: argparse.Namespace) -> None:
    """Measure, and print the table and the ratio."""
    with ExitStack() as stack:
        address = options.address
        if address is None:
            address = f"127.0.0.1:{free_port()}"
            _start_sidecar(stack, address)
        rounds = uvloop.run(_measure(address, options))
    rates = {name: [rate for rate, _ in turns] for name, turns in rounds.items()}
    rows = [
        [
            name,
            f"{median(rates[name]):,.0f} ({min(rates[name]):,.0f}-{max(rates[name]):,.0f})",
            f"{median(cpu for _, cpu in turns):.0f}",
        ]
        for name, turns in rounds.items()
    ]
    print(f"{_CALLERS} callers on one event loop; {os.cpu_count()} cores; median of {options.repeats} turns each\n")
    print(table(("client", "Get/s", "client CPU µs/Get"), rows))
    ratio = median(rates["auto_batch"]) / median(rates["unary"])
    verdict = "met" if ratio >= _TARGET else "missed"
    print(f"\nauto_batch does {ratio:.1f} x the unary calls' rate; the target of {_TARGET:g} is {verdict}.")


def main() -> int:
    """Run, and say in a sentence why it cannot."""
    parser = argparse.ArgumentParser(prog="python -m bench.client_batch", description="Measure the batching client.")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each turn (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each client (default: 5)")
    parser.add_argument("--address", help="a sidecar with a cache named default (default: one is started)")
    try:
        run(parser.parse_args())
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
