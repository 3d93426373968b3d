"""A program run beside an engine in this process: suites and clients are programs of their own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from support.engines import MAKERS

from sidecar.server.engine import EnginePolicy, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sidecar.call import MethodTable

POLICY = EnginePolicy(max_message_bytes=8 * 1024 * 1024)


class Finished(NamedTuple):
    """How a program ended."""

    code: int | None
    output: str


async def run(command: Sequence[str], seconds: float, **environ: str) -> Finished:
    """Run a program to its end, or end it when its time is over; the code is None then."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ or None,
    )
    assert process.stdout is not None
    reading = asyncio.create_task(process.stdout.read())
    try:
        async with asyncio.timeout(seconds):
            code: int | None = await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        code = None
    output = await reading
    return Finished(code, output.decode(errors="replace"))


@asynccontextmanager
async def serving(engine: str, table: MethodTable, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serve a table on an engine, and yield where."""
    served = MAKERS[engine](table, [Listener(address=address)], POLICY)
    await served.start()
    try:
        yield served.addresses[0]
    finally:
        await served.stop(0)
