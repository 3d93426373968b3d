"""A TCP proxy that cuts connections at a moment of the test's choice: just before or just after what a client sends."""

from __future__ import annotations

import asyncio
from typing import Self

_READ_BYTES = 64 << 10


class CuttingProxy:
    """Passes on what comes to a port of its own to another, until it is told to cut. Used by `async with`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pattern = b""
        self._cuts = 0
        self._passes_on = False
        self.was_cut = 0
        """How often it has cut."""

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        self.cut_all()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            raise RuntimeError("the proxy was not started")
        return int(self._server.sockets[0].getsockname()[1])

    def cut_at(self, pattern: bytes, *, passes_on: bool, times: int = 1) -> None:
        """Cut the connection of a client that sends this, and pass it on before that or never."""
        self._pattern, self._passes_on, self._cuts = pattern, passes_on, times

    def cut_all(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, forth}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, forth, writer, watched=True))
                group.create_task(self._pass_on(back, writer, forth, watched=False))
        finally:
            self._writers -= {writer, forth}
            for end in (writer, forth):
                end.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: asyncio.StreamWriter, *, watched: bool
    ) -> None:
        try:
            while data := await reader.read(_READ_BYTES):
                if watched and self._cuts and self._pattern in data:
                    self._cuts -= 1
                    self.was_cut += 1
                    if self._passes_on:
                        # The target gets all of it and has the time to do it; its answer goes nowhere.
                        other.transport.abort()
                        writer.write(data)
                        await writer.drain()
                        writer.write_eof()
                        return
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        for end in (writer, other):
            end.transport.abort()
