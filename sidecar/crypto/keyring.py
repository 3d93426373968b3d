"""The data keys: one for each cache and epoch, shared by all sidecars through the store.

Problem. Every sidecar must seal with a key that every other one can find, without a service to hand keys out; a key
must not outlive its data by much, nor data its key; and a key costs a round trip, which no call should pay twice.

Algorithm. Time, by the store's clock, is cut into epochs. Whoever first seals in an epoch draws a data key, wraps it
and offers the record to a script that keeps the first offer; everybody uses what the script returns. The record's TTL
is an epoch, for values sealed at the epoch's end, the longest life of an entry, and a margin. Key names have a key of
their own in the same way, with no epoch and no TTL. Keys are cached unwrapped, the least recently used goes first;
callers who want the same key at the same time share one load.

Losing records. A store that is flushed, or fails over to a replica that lags, may lose the record of a key that is in
use; values sealed with it would be lost on everyone else. So a cached key is trusted for `revalidate_after` only.
Then a key of the current epoch is offered again as it was wrapped: if the record is gone it is back, if another
sidecar was faster its key is adopted. A key of a past epoch is merely looked for, and forgotten if it is gone: that
is how a destroyed key stops opening anything. It follows that the key of the current epoch cannot be destroyed by
deleting its record while a sidecar uses it.

Cancelling. A load is a task of its own with its own deadline. Callers wait for it, none of them owns it: one who
leaves takes nothing from the others.

Rejected: one key per cache for ever (nothing ever shreds), keys derived from the KEK (destroying one is impossible),
a timer that revalidates in the background (work when idle, and a key may still be stale when it is used).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sidecar.call import Call
from sidecar.clock import MICROS_PER_SECOND, after, remaining
from sidecar.crypto.envelope import frame
from sidecar.errors import Reason, SidecarError, StoreError
from sidecar.store import commands, scripts
from sidecar.store.base import ScriptCall
from sidecar.store.replies import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sidecar.clock import StoreClock
    from sidecar.crypto.envelope import DataKey
    from sidecar.crypto.kek import KeyEncryptionKeys
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace

NAMES = -1
"""The epoch of the key that names entries: none. Its label is `names`, its record has no TTL."""

# A write may be on its way for as long as its deadline, and the clock is an estimate: minutes cover both.
_TTL_MARGIN_MS = 5 * 60 * 1000
# A load is one or two round trips. It must end even if no caller is left to wait for it.
_LOAD_SECONDS = 2.0

_Slot = tuple[str, int]
"""A cache and an epoch."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRingPolicy:
    """How long keys serve, and how many are kept."""

    epoch_seconds: int = 24 * 60 * 60
    max_cached_keys: int = 1024
    revalidate_after: float = 10.0
    """Seconds for which a cached key is used without a look at the store."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A cached key, the record it came in, and when the store was last seen to have that."""

    key: DataKey
    record: bytes
    seen_at: float


class KeyRing:
    """The data keys of one tenant. Not thread-safe: it belongs to one event loop."""

    def __init__(
        self,
        *,
        store: Store,
        keys: KeySpace,
        tenant: str,
        keks: KeyEncryptionKeys,
        clock: StoreClock,
        policy: KeyRingPolicy,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._keys = keys
        self.tenant = tenant
        self._keks = keks
        self._clock = clock
        self._policy = policy
        self._monotonic = monotonic
        self._epoch_us = policy.epoch_seconds * MICROS_PER_SECOND
        self._held: OrderedDict[_Slot, _Held] = OrderedDict()
        self._keeping: dict[_Slot, asyncio.Task[_Held]] = {}
        self._looking: dict[_Slot, asyncio.Task[_Held | None]] = {}
        self._ensure = scripts.load("ensure_data_key")

    def __len__(self) -> int:
        """Return how many unwrapped keys are cached."""
        return len(self._held)

    def current_epoch(self) -> int:
        """Return the number of the epoch that the store's time lies in."""
        return self._clock.micros() // self._epoch_us

    def cached(self, cache: str, epoch: int) -> DataKey | None:
        """Return the key if it is at hand and may be used without a look at the store."""
        slot = (cache, epoch)
        held = self._held.get(slot)
        if held is None or self._monotonic() - held.seen_at >= self._policy.revalidate_after:
            return None
        self._held.move_to_end(slot)
        return held.key

    async def obtain(self, cache: str, epoch: int, max_life_ms: int, call: Call) -> DataKey:
        """Return the key to seal with in `epoch`, the current one or `NAMES`; create it if there is none.

        `max_life_ms` is the longest time that an entry of the cache stays in the store. Raises `SidecarError`.
        """
        key = self.cached(cache, epoch)
        if key is not None:
            return key
        return (await _wait(self._begin_keeping((cache, epoch), max_life_ms, call), call)).key

    async def find(self, cache: str, epoch: int, key_id: bytes, max_life_ms: int, call: Call) -> DataKey | None:
        """Return the key with this id that values of `epoch` were sealed with, or None if it is gone.

        Never creates a key, but puts the current one back if its record is lost. Raises `SidecarError`.
        """
        slot = (cache, epoch)
        key = self.cached(cache, epoch)
        if key is None and slot in self._held and epoch == self.current_epoch():
            key = (await _wait(self._begin_keeping(slot, max_life_ms, call), call)).key
        if key is not None and key.id == key_id:
            return key
        # A look that was under way before this call came may have missed a key made since. The next one cannot.
        joined = slot in self._looking
        held = await _wait(self._begin_looking(slot, call), call)
        if joined and (held is None or held.key.id != key_id):
            held = await _wait(self._begin_looking(slot, call), call)
        return held.key if held is not None and held.key.id == key_id else None

    # --- loading ---

    def _begin_keeping(self, slot: _Slot, max_life_ms: int, call: Call) -> asyncio.Task[_Held]:
        return self._keeping.get(slot) or _share(self._keeping, slot, self._keep(slot, max_life_ms, _own_call(call)))

    def _begin_looking(self, slot: _Slot, call: Call) -> asyncio.Task[_Held | None]:
        return self._looking.get(slot) or _share(self._looking, slot, self._look(slot, _own_call(call)))

    async def _keep(self, slot: _Slot, max_life_ms: int, call: Call) -> _Held:
        """Have the store keep the key at hand, or a new one; hold the one that it keeps."""
        asked_at = self._monotonic()
        scope = self._scope(slot)
        held = self._held.get(slot)
        key, record = (held.key, held.record) if held else self._keks.wrap_new(scope)
        offer = ScriptCall(
            self._ensure,
            (self._record_key(slot),),
            (record, self._ttl_ms(slot, max_life_ms)),
            repeatable=True,  # the second time finds what the first one left
        )
        kept = await self._store.run(offer, call)
        if kept != record:
            key = self._keks.unwrap(kept, scope)
        return self._hold(slot, _Held(key, kept, asked_at))

    async def _look(self, slot: _Slot, call: Call) -> _Held | None:
        """Hold the key that the store has, if any."""
        asked_at = self._monotonic()
        record = await self._store.call(commands.get(self._record_key(slot)), call)
        held = self._held.get(slot)
        if record is None:
            # The current key, if it is at hand, stays there: it is about to be put back.
            if held is not None and slot[1] != self.current_epoch():
                del self._held[slot]
            return None
        if held is not None and held.record == record:
            return self._hold(slot, _Held(held.key, record, asked_at))
        key = self._keks.unwrap(record, self._scope(slot))
        return self._hold(slot, _Held(key, record, asked_at))

    def _hold(self, slot: _Slot, held: _Held) -> _Held:
        self._held[slot] = held
        self._held.move_to_end(slot)
        if len(self._held) > self._policy.max_cached_keys:
            self._held.popitem(last=False)
        return held

    # --- what a slot is called ---

    def _record_key(self, slot: _Slot) -> bytes:
        return self._keys.data_key(slot[0], _label(slot[1]))

    def _scope(self, slot: _Slot) -> bytes:
        return frame(self.tenant.encode(), slot[0].encode(), _label(slot[1]).encode())

    def _ttl_ms(self, slot: _Slot, max_life_ms: int) -> int:
        if slot[1] == NAMES:
            return 0
        return self._policy.epoch_seconds * 1000 + max_life_ms + _TTL_MARGIN_MS


def _label(epoch: int) -> str:
    return "names" if epoch == NAMES else str(epoch)


def _own_call(first: Call) -> Call:
    """Return the call that a load is made under: traced with the caller who began it, bound by no caller."""
    own = Call("crypto.keyring", deadline=after(_LOAD_SECONDS))
    own.span = first.span
    return own


def _share(loads: dict[_Slot, asyncio.Task[T]], slot: _Slot, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Make a load of `work` that others find in `loads` until it has ended."""

    def end(load: asyncio.Task[T]) -> None:
        del loads[slot]
        if not load.cancelled():
            load.exception()  # seen, also when every caller has left

    load = loads[slot] = asyncio.create_task(work, name="data-key-load")
    load.add_done_callback(end)
    return load


async def _wait(load: asyncio.Task[T], call: Call) -> T:
    """Wait for a load until the call's deadline; a caller who is cancelled leaves the load alone."""
    left = remaining(call.deadline)
    await asyncio.wait((load,), timeout=None if left == math.inf else max(left, 0.0))
    if not load.done():
        raise SidecarError(
            Reason.DEADLINE_EXCEEDED,
            "the deadline passed before the data key was there; nothing was changed",
        )
    try:
        return load.result()
    except StoreError as error:
        if error.reason is Reason.DEADLINE_EXCEEDED:  # the load's, not this call's
            raise unavailable("it did not answer for a data key") from None
        raise
