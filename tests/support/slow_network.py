"""A network that is slow between a sidecar and its store: `python -m support.slow_network PORT TARGET SEED`.

Whatever comes is passed on in its order, each piece after a while of its own, both ways: most often a moment, now and
then a long one. So what was sent first on one connection may arrive long after what was sent last on another.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

USUAL_SECONDS = 0.002
LONG_SECONDS = 0.4
# One piece in so many takes long.
RARELY = 40

_TESTS = Path(__file__).parents[1]


async def _pass_on(draw: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what is read, in its order."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    sending = asyncio.create_task(_send(pieces, writer))
    arrives = loop.time()
    try:
        while data := await reader.read(65536):
            late = draw.random() * (LONG_SECONDS if draw.randrange(RARELY) == 0 else USUAL_SECONDS)
            arrives = max(arrives, loop.time() + late)
            pieces.put_nowait((arrives, data))
    except ConnectionError:
        pass  # as one end of it goes, so does the other
    finally:
        pieces.put_nowait((arrives, b""))
        await sending


async def _send(pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    """Write each piece when it is due, and close behind the last, which is empty."""
    loop = asyncio.get_running_loop()
    while True:
        due, data = await pieces.get()
        await asyncio.sleep(max(0.0, due - loop.time()))
        if not data:
            break
        writer.write(data)
    writer.close()


async def _serve(port: int, target: int, seed: int) -> None:
    draw = random.Random(seed)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_pass_on(draw, reader, back), _pass_on(draw, there, writer))

    async with await asyncio.start_server(connect, "127.0.0.1", port) as server:
        print("ready", flush=True)  # noqa: T201 (who started it waits for that)
        await server.serve_forever()


@contextmanager
def slow_network(target: int, seed: int) -> Iterator[int]:
    """Yield a port that leads to another, slowly."""
    port = free_port()
    command = [sys.executable, "-m", "support.slow_network", str(port), str(target), str(seed)]
    process = subprocess.Popen(command, cwd=_TESTS, stdout=subprocess.PIPE)
    try:
        until = time.monotonic() + 30
        if process.stdout is None or process.stdout.readline() != b"ready\n" or time.monotonic() > until:
            raise RuntimeError("the slow network did not start")
        yield port
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    uvloop.run(_serve(*map(int, sys.argv[1:])))
