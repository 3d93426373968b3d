"""A program that serves endpoints of the tests' own on one engine, to be attacked: `python -m support.victim ENGINE`.

A process of its own, so that its memory can be measured and its event loop is nobody else's. It prints its address,
and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import uvloop

from sidecar.call import Code, Endpoint, MethodTable, StatusError, UnaryMethod
from sidecar.interceptors.admission import AdmissionPolicy
from sidecar.interceptors.chain import build_endpoint
from sidecar.interceptors.errors import ErrorInterceptor
from sidecar.interceptors.shedding import Admission, SheddingInterceptor
from sidecar.rpc.status import to_status
from sidecar.server.engine import EnginePolicy, Listener
from support.engines import MAKERS
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sidecar.call import Call

ECHO = "/test.Service/Echo"
SLOW = "/test.Service/Slow"
LARGE = "/test.Service/Large"
FLOW = "/test.Service/Flow"
EACH = "/test.Service/Each"
WORK = "/test.Service/Work"
COUNTS = "/test.Service/Counts"

_FLOW_BYTES = 64 * 1024
# A resource that serves 160 calls a second, however many come: as a slow store does.
WORK_SLOTS = 8
WORK_SECONDS = 0.05


class Victim:
    """The endpoints, and how many calls are where."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(WORK_SLOTS)
        self._counts = {"entered": 0, "running": 0, "most_running": 0, "flowed": 0}

    async def echo(self, message: bytes, _call: Call) -> bytes:
        """Answer with the message."""
        return message

    async def slow(self, message: bytes, _call: Call) -> bytes:
        """Answer when the caller has had enough, which is never."""
        counts = self._counts
        counts["entered"] += 1
        counts["running"] += 1
        counts["most_running"] = max(counts["most_running"], counts["running"])
        try:
            await asyncio.Event().wait()
        finally:
            counts["running"] -= 1
        return message

    async def large(self, message: bytes, _call: Call) -> bytes:
        """Answer with as many bytes as the message says."""
        return bytes(int(message))

    async def flow(self, _messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        """Answer without end."""
        answer = bytes(_FLOW_BYTES)
        while True:
            self._counts["flowed"] += 1
            yield answer
            await asyncio.sleep(0)

    async def each(self, messages: AsyncIterator[bytes], _call: Call) -> AsyncGenerator[bytes, None]:
        """Answer each message with itself."""
        async for message in messages:
            yield message

    async def work(self, message: bytes, _call: Call) -> bytes:
        """Answer once a slot was free, and held for its time."""
        async with self._slots:
            await asyncio.sleep(WORK_SECONDS)
        return message

    async def counts(self, _message: bytes, _call: Call) -> bytes:
        """Say how many calls of `slow` came, run now and ran at once, and how many messages flowed."""
        return json.dumps(self._counts).encode()

    def table(self) -> MethodTable:
        """Return what is served."""
        unary = {ECHO: self.echo, SLOW: self.slow, LARGE: self.large, COUNTS: self.counts}
        work = build_endpoint(
            UnaryMethod(path=WORK, decode=bytes, encode=bytes, handle=self.work),
            [
                ErrorInterceptor(to_status),
                SheddingInterceptor(admission=Admission(AdmissionPolicy(most=1000)), exempt=()),
            ],
        )
        return MethodTable(
            endpoints={
                WORK: work,
                **{path: Endpoint(path=path, unary=serve) for path, serve in unary.items()},
                FLOW: Endpoint(path=FLOW, stream=self.flow, server_streams=True),
                EACH: Endpoint(path=EACH, stream=self.each, client_streams=True, server_streams=True),
            },
            unknown=StatusError(Code.UNIMPLEMENTED, "no such method"),
        )


async def _serve(engine_name: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    engine = MAKERS[engine_name](Victim().table(), [Listener(address=address)], EnginePolicy())
    await engine.start()
    print(address, flush=True)  # noqa: T201 (this is how the test learns it)
    await asyncio.to_thread(sys.stdin.read)
    await engine.stop(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1]))
