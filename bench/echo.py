"""The yardstick: an engine that serves one bare endpoint, with no store and no interceptor behind it.

It takes the messages of `CacheService/Get`, decodes the small request, and encodes an answer of 100 bytes, so the very
call that measures Get measures it too. What Get costs beyond it is the sidecar's own; the rest is the transport's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
from typing import TYPE_CHECKING

import uvloop

from bench.profiles import ECHO, VALUE
from sidecar.call import Code, Endpoint, MethodTable, StatusError
from sidecar.gen.sidecar.v1 import cache_pb2, common_pb2
from sidecar.server.engine import EnginePolicy, Listener
from sidecar.server.fast_engine import FastEngine
from sidecar.server.grpcio_engine import GrpcioEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sidecar.call import Call
    from sidecar.server.engine import Engine

ENGINES: Mapping[str, Callable[[MethodTable, Sequence[Listener], EnginePolicy], Engine]] = {
    "grpcio": GrpcioEngine,
    "fast": FastEngine,
}
# As in `sidecar/app.py`: the yardstick must not pay for a habit that the sidecar has dropped.
_GC_YOUNG = 10_000


async def _echo(message: bytes, call: Call) -> bytes:  # noqa: ARG001 (an endpoint's signature)
    cache_pb2.GetRequest.FromString(message)
    answer = cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_HIT, value=VALUE)
    return answer.SerializeToString()


async def _serve(address: str, engine_name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    path = f"/{ECHO.request.method}"
    table = MethodTable(
        endpoints={path: Endpoint(path=path, unary=_echo)}, unknown=StatusError(Code.UNIMPLEMENTED, "no such method")
    )
    engine = ENGINES[engine_name](table, [Listener(address=address)], EnginePolicy())
    await engine.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG)
    await stop.wait()
    await engine.stop(1.0)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.echo", description=__doc__)
    parser.add_argument("address", metavar="ADDR", help="where to listen, host:port")
    parser.add_argument("--engine", choices=ENGINES, default="fast")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options.address, options.engine))


if __name__ == "__main__":
    main()
