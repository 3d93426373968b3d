"""What becomes of writes that wait for a confirmation when one that went before fails by a defect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, StoreError
from sidecar.store.base import ScriptCall
from sidecar.store.confirmed import ConfirmedWrites, on_disk
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from sidecar.store.pool import Pool


class DefectivePool:
    """Fails at the first request as no pool should, then as one without a connection."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def request(self, *_: object, **__: object) -> object:
        """Fail."""
        if self.asked.is_set():
            raise StoreError(Reason.STORE_UNAVAILABLE, "it is away")
        self.asked.set()
        await self.go_on.wait()
        raise TypeError


async def test_a_defect_keeps_nobody_waiting_who_came_later() -> None:
    """Those it struck have an unknown outcome, and the others go on at once."""
    pool = DefectivePool()
    writes = ConfirmedWrites(cast("Pool", pool), on_disk(100))
    script = ScriptCall(load("forget_entry"), (b"a", b"b"), (), True)

    async def reason() -> Reason:
        (reply,) = await writes.run([script], Call("test", deadline=after(20)))
        assert isinstance(reply, StoreError)
        return reply.reason

    struck = asyncio.create_task(reason())
    await pool.asked.wait()
    later = asyncio.create_task(reason())
    await asyncio.sleep(0)
    pool.go_on.set()
    assert (Reason.OUTCOME_UNKNOWN, Reason.STORE_UNAVAILABLE) == (await struck, await later)
