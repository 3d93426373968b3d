"""A program run beside an engine in this process: suites and clients are programs of their own."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from support.engines import MAKERS

from sidecar.server.engine import EnginePolicy, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sidecar.call import MethodTable

_MOST_BYTES = 1 << 20
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
async def gathering(address: str, seconds: float) -> AsyncIterator[str]:
    """Relay to an address what comes, in one piece whatever comes within some time; yield where."""

    async def upwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_MOST_BYTES):
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(seconds):
                        more = await reader.read(_MOST_BYTES)
                    if not more:
                        break
                    data += more
            writer.write(data)

    async def downwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_MOST_BYTES):
            writer.write(data)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = address.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        ways = {asyncio.create_task(upwards(reader, far_writer)), asyncio.create_task(downwards(far_reader, writer))}
        # Either side may close; the other has then nothing more to say.
        done, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in left:
            way.cancel()
        await asyncio.gather(*done, *left, return_exceptions=True)
        for each in (writer, far_writer):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def serving(engine: str, table: MethodTable, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serve a table on an engine, and yield where."""
    served = MAKERS[engine](table, [Listener(address=address)], POLICY)
    await served.start()
    try:
        yield served.addresses[0]
    finally:
        await served.stop(0)
