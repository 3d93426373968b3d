"""The program that the conformance suite starts: it reads what to serve, serves it, and ends with SIGTERM.

Usage: python -m conformance.connect_server ENGINE DESCRIPTORS. Standard input and output carry one message each, with
its size in four bytes before it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import uvloop
from conformance.connect_service import ConnectService, Messages, policy
from support.engines import MAKERS

from sidecar.server.engine import Listener

_NO_LIMIT = 64 * 1024 * 1024


def read(stream: BinaryIO) -> bytes:
    """Return the next message."""
    return stream.read(int.from_bytes(stream.read(4), "big"))


def write(stream: BinaryIO, message: bytes) -> None:
    """Send a message."""
    stream.write(len(message).to_bytes(4, "big") + message)
    stream.flush()


async def main(engine: str, descriptors: str) -> None:
    """Serve until SIGTERM comes."""
    messages = Messages(Path(descriptors))
    request = messages.ServerCompatRequest.FromString(read(sys.stdin.buffer))
    limit = request.message_receive_limit or _NO_LIMIT
    served = MAKERS[engine](ConnectService(messages).table(), [Listener(address="127.0.0.1:0")], policy(limit))
    await served.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    port = int(served.addresses[0].rpartition(":")[2])
    write(sys.stdout.buffer, messages.ServerCompatResponse(host="127.0.0.1", port=port).SerializeToString())
    await stop.wait()
    await served.stop(1)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
