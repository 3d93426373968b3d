"""Tells the store which entries copies have answered, so that it keeps what is used.

Problem. A store that is full evicts what it takes for cold, and of what a copy answers it sees nothing: the keys that
are asked for most look as if nobody wanted them. They are evicted, which takes their copies along, and are read or
loaded once more.

Algorithm. The first use of a copy in an interval puts its key down; later ones find that noted, and do nothing. After
the interval the keys that were put down are named to the store with TOUCH, which counts as a read for LFU and LRU and
brings nothing back. So each process counts a key once a second at the most, however often it is read. That is enough:
the store's counters grow with the logarithm of the reads and lose one a minute, and a key at the edge of what there is
room for is read far less often than once a second.

A process names as many keys as `StoreShare` allows. Where more copies are used, those count whose use comes first in an
interval, which is a draw by how often they are read, as the store's own counting is.

It goes by the ordinary connections: on the tracked one the store would remember the keys as read there, also those of
which there is no copy any more. What fails is not repeated; the keys that matter are used again.

Rejected: to read a hot key from the store now and then in place of its copy, which has a caller wait, and brings a
value of which nobody has need; to sample hits, which names the hottest key a thousand times a second and others never;
to count the hits of each copy, which costs each hit, and TOUCH takes no count; to ask first whether the store evicts by
use at all, since `max_memory` goes by use in any store.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError
from sidecar.store import commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.cache.near.copies import Copy
    from sidecar.cache.near.sieve import Item
    from sidecar.cache.near.store_share import StoreShare
    from sidecar.store.base import Store
    from sidecar.telemetry.metrics import Metrics

_log = logging.getLogger("sidecar.cache")

INTERVAL_SECONDS = 1.0
"""A key is named so often at the most."""

# In one command; then others have their turn.
_KEYS_AT_ONCE = 128
_REPLY_SECONDS = 1.0

_PASSING = frozenset({Reason.STORE_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.OVERLOADED, Reason.OUTCOME_UNKNOWN})


class Uses:
    """The copies of a process that were used of late."""

    def __init__(
        self,
        items: Mapping[bytes, Item[Copy]],
        *,
        store: Store,
        share: StoreShare,
        metrics: Metrics,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._items = items
        self._store = store
        self._share = share
        self._interval = interval
        self._used: list[bytes] = []
        self._telling: asyncio.Task[None] | None = None
        self._denied = False
        self._told = metrics.counter(
            "sidecar_l1_touched", "Keys of which the store was told that copies answer them."
        ).cell()

    def note(self, item: Item[Copy]) -> None:
        """Note that a copy was used; who finds it `noted` need not ask."""
        item.marked = True
        used = self._used
        if len(used) >= self._share.part.touches:
            return
        item.noted = True
        if not used:
            asyncio.get_running_loop().call_later(self._interval, self._begin)
        used.append(item.key)

    def _begin(self) -> None:
        used, self._used = self._used, []
        self._telling = asyncio.create_task(self._tell(used), name="tell the store what copies answer")

    async def _tell(self, used: Sequence[bytes]) -> None:
        """Name the keys to the store, as far as it can be reached; from then on their next use is noted again."""
        self._share.renew()
        call = Call("cache.uses", deadline=after(_REPLY_SECONDS))
        reached = True
        for start in range(0, len(used), _KEYS_AT_ONCE):
            keys = used[start : start + _KEYS_AT_ONCE]
            for key in keys:
                item = self._items.get(key)
                if item is not None:
                    item.noted = False
            if reached:
                reached = await self._touch(keys, call)

    async def _touch(self, keys: Sequence[bytes], call: Call) -> bool:
        """Name some keys; return whether the store has heard."""
        try:
            await self._store.call(commands.touch(keys), call)
        except SidecarError as error:
            if error.reason not in _PASSING and not self._denied:
                self._denied = True
                _log.warning("the store does not hear what copies answer, and may evict it: TOUCH: %s", error.message)
            return False
        self._told.value += len(keys)
        return True
