"""Work that goes on for as long as its owner does: a defect in it may interrupt it, and must not end it.

A task that dies of an exception that nobody has foreseen dies silently: what it did is done no more, and nothing says
so until its owner stops. So it begins anew after a while, and the log says what has happened, by the exception's type
(`telemetry.log` prints no more of it than that). Failures that are part of its business it handles itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger("sidecar")

# What is wrong for a moment is soon over; what stays wrong is not to fill the log.
_FIRST_SECONDS = 0.1
_LAST_SECONDS = 30.0
# Whoever has worked for so long has recovered.
_STEADY_SECONDS = 60.0


async def lasting(
    work: Callable[[], Awaitable[None]], what: str, *, first: float = _FIRST_SECONDS, last: float = _LAST_SECONDS
) -> None:
    """Do some work until it ends by itself or is cancelled, and begin it anew whenever it fails.

    `what` is its name in the log; the pause before it begins anew grows from `first` to `last` seconds.
    """
    pause = first
    while True:
        begun = time.monotonic()
        try:
            await work()
        except Exception:  # noqa: BLE001 (it is logged, and the work goes on)
            _log.exception("%s was interrupted by a defect, and begins anew", what)
        else:
            return
        if time.monotonic() - begun > _STEADY_SECONDS:
            pause = first
        await asyncio.sleep(pause)
        pause = min(2 * pause, last)
