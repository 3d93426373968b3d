"""Keeps an event loop awake for what is about to come.

Problem. One caller who waits for each answer before asking again lets the loop sleep twice in every call: until the
store's reply, and until the next request. To be woken costs 20 to 40 µs each time, and a processor that has slept
runs the rest of the call at a third of its pace: its caches have gone to others.

Algorithm. Something is expected (`begin`) and comes (`end`), turn by turn. Where it mostly comes within so many
microseconds, the loop looks for it again and again and does not sleep, for that long at most.

What it costs is processor time that would have been idle: for a lone caller of a store on the same host a third more
of it, for a fifth less time. So it is spent only where it buys something. A turn that was soon over counts one point,
one that was not takes sixteen, and without thirty-two there is no vigil: at most one in seventeen may be in vain. A
store in another zone, a caller who thinks, and callers who come as they please never get there. Whoever begins while
somebody else is waited for, or long after the last turn, is not alone or in no hurry, and loses all points.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

# Between a turn's end and the next one's begin a lone caller's call goes the rest of its way, there and back.
_HURRY_SECONDS: Final = 1e-3
_TRUSTED: Final = 32
_MOST: Final = 64
_FINE: Final = 16


class Vigil:
    """Watches over one kind of turn. It belongs to one event loop; moments are those of the monotonic clock.

    `patience` is how many seconds it waits awake; 0 for never.
    """

    __slots__ = ("_began_at", "_ended_at", "_is_looking", "_loop", "_patience", "_points", "_waits")

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._loop = loop
        self._patience = patience
        self._began_at = 0.0
        self._ended_at = 0.0
        self._points = 0
        self._waits = False
        self._is_looking = False

    def begin(self, now: float) -> None:
        """Expect something from now on."""
        if self._waits or now - self._ended_at > _HURRY_SECONDS:
            self._points = 0
        elif self._points >= _TRUSTED and not self._is_looking:
            self._is_looking = True
            self._loop.call_soon(self._look)
        self._waits = True
        self._began_at = now

    def end(self, now: float) -> None:
        """Note that it came, or something did."""
        if not self._waits:
            return
        self._waits = False
        self._ended_at = now
        if now - self._began_at > self._patience:
            self._points = max(0, self._points - _FINE)
        elif self._points < _MOST:
            self._points += 1

    def _look(self) -> None:
        """Look again in the next turn of the loop, to which it goes without sleep."""
        if self._waits and self._points >= _TRUSTED and time.monotonic() - self._began_at <= self._patience:
            self._loop.call_soon(self._look)
        else:
            self._is_looking = False
