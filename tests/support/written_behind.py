"""What callers write to a write-behind cache, and find there.

Versions do not say how old a find is: what was loaded has one of its own, whatever the origin had by then. So no value
is written twice, and a find is as old as its value, which is of the version that its writer was told.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.staleness import Read


class WrittenBehind:
    """The values of one cache, and the reads that have found them."""

    def __init__(self) -> None:
        self._made = 0
        self._versions: dict[bytes, int] = {}
        self._found: list[tuple[Read, bytes]] = []
        self._writers = 0
        self._closed = False
        self._changed = asyncio.Condition()

    def new_value(self) -> bytes:
        """Return a value that nobody has written."""
        self._made += 1
        return b"%d" % self._made

    def written(self, value: bytes, version: int) -> None:
        """Note which version a value was written as."""
        self._versions[value] = version

    def found(self, read: Read, value: bytes) -> None:
        """Note a read, whatever version it was told; the writer of its value may not have been answered yet."""
        self._found.append((read, value))

    def reads(self) -> list[Read]:
        """Return the reads with the versions of what they have found; raises KeyError if one was never told."""
        return [read._replace(version=self._versions[value]) for read, value in self._found]

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write within `async with`."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._writers += 1
        try:
            yield
        finally:
            async with self._changed:
                self._writers -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Have nobody write within `async with`."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._closed = True
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._writers)
            yield
        finally:
            async with self._changed:
                self._closed = False
                self._changed.notify_all()
