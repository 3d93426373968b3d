"""Slots that are held while a block runs.

A lease ends when nobody renews it, so whoever works under one renews it in time, and stops when it is lost. `Slot` does
the first and says the second:

- It renews at a third of the lease. One renewal may fail, and a second, each with its own retries, before it ends.
- It knows when the lease ends by this machine's monotonic clock, counted from before the request was sent: never later
  than the store does, unless the store's clock jumps forward.
- A lease is lost when the sidecar says so (LEASE_UNKNOWN), or when its end has come without a renewal. The block hears
  of it by `lost`, `wait_until_lost` and `raise_if_lost`; it is not interrupted, because what can be left half done only
  the block knows. Nothing is acquired anew behind its back: others may have had the slots in between.

It acquires under a random name, which makes the call safe to repeat. Waiting for room is asking again, at intervals
that grow and are drawn at random, and at the latest when the sidecar says that a lease ends. There is no queue: who
waits longest is not served first.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from sidecar_client.durations import to_seconds
from sidecar_client.errors import LEASE_UNKNOWN, LeaseLostError, SidecarError

if TYPE_CHECKING:
    from types import TracebackType

    from sidecar_client.durations import Span
    from sidecar_client.limit import Limit
    from sidecar_client.results import Acquired

# Two renewals may fail before the lease ends.
_RENEWALS_PER_LEASE = 3

# Seconds. A released slot is found within that on average at first; a long wait costs a call or two a second.
_FIRST_LOOK_S = 0.05
_LONGEST_LOOK_S = 1.0
_SHORTEST_LOOK_S = 0.005

_NAME_BYTES = 16


class NoSlotError(Exception):
    """No slot was free, or none became free in time. `answer` is the last refusal."""

    def __init__(self, answer: Acquired) -> None:
        super().__init__(f"{answer.in_use} of {answer.limit} slots are in use")
        self.answer = answer


class Slot:
    """Slots for the time of a block. Made by `Limit.slot`; it is entered once."""

    def __init__(
        self,
        limit: Limit,
        key: str,
        *,
        slots: int,
        lease: Span | None,
        holder: str,
        wait: Span,
        timeout: Span | None,
    ) -> None:
        self._limit = limit
        self._key = key
        self._slots = slots
        self._lease = lease
        self._holder = holder or secrets.token_urlsafe(_NAME_BYTES)
        self._wait_s = to_seconds(wait)
        self._timeout = timeout
        self._lost = asyncio.Event()
        self._why_lost: BaseException | None = None
        self._is_leaving = False
        self._ends_at = 0.0
        self._renew_after_s = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self.token = ""
        """What names the lease to the sidecar; empty before the block is entered."""

    @property
    def lost(self) -> bool:
        """Whether the lease has ended while the block ran: another may hold the slots."""
        return self._lost.is_set()

    async def wait_until_lost(self) -> None:
        """Wait until the lease is lost; for a task beside the work, which then stops it."""
        await self._lost.wait()

    def raise_if_lost(self) -> None:
        """Raise LeaseLostError if the lease is lost; for a check between the steps of the work."""
        if self.lost:
            raise LeaseLostError(
                "the lease has ended; another may hold the slots", reason=LEASE_UNKNOWN
            ) from self._why_lost

    async def __aenter__(self) -> Self:
        if self._keeper is not None:
            raise RuntimeError("a slot is entered once: call `limit.slot` for each block")
        wait_ends_at = time.monotonic() + self._wait_s
        looks = 0
        while True:
            asked_at = time.monotonic()
            answer = await self._acquire()
            if answer.acquired:
                break
            looks += 1
            left_s = wait_ends_at - time.monotonic()
            if left_s <= 0:
                raise NoSlotError(answer)
            draw = random.random()  # noqa: S311 (spreads callers, guards nothing)
            pause_s = next_look_s(answer.retry_after.total_seconds(), looks=looks, draw=draw)
            await asyncio.sleep(min(pause_s, left_s))
        self.token = answer.token
        self._lasts(asked_at, answer.expires_after.total_seconds())
        self._keeper = asyncio.create_task(self._keep())
        self._keeper.add_done_callback(self._no_longer_kept)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_leaving = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if not self.lost:
            await self._release(self.token)

    async def _acquire(self) -> Acquired:
        asking = asyncio.ensure_future(
            self._limit.acquire(
                self._key, slots=self._slots, lease=self._lease, holder=self._holder, timeout=self._timeout
            )
        )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # The slots may be leased already, and nobody would release them: the answer is waited for.
            await asyncio.wait([asking])
            if asking.exception() is None and asking.result().acquired:
                await self._release(asking.result().token)
            raise

    async def _release(self, token: str) -> None:
        # What cannot be released comes free when its lease ends; the block's own outcome counts for more.
        with suppress(SidecarError):
            await self._limit.release(self._key, token, timeout=self._timeout)

    async def _keep(self) -> None:
        """Renew the lease until it is lost."""
        with suppress(LeaseLostError):
            while (left_s := self._ends_at - time.monotonic()) > 0:
                await asyncio.sleep(min(left_s, self._renew_after_s))
                await self._renew()

    async def _renew(self) -> None:
        """Renew the lease once; a failure that says nothing of the lease leaves it as it is."""
        asked_at = time.monotonic()
        left_s = self._ends_at - asked_at
        if left_s <= 0:
            return
        try:
            expires_after = await self._limit.renew(
                self._key, self.token, lease=self._lease, timeout=min(left_s, self._renew_after_s)
            )
        except LeaseLostError:
            raise
        except SidecarError:
            return
        self._lasts(asked_at, expires_after.total_seconds())

    def _lasts(self, since: float, expires_after_s: float) -> None:
        self._ends_at = since + expires_after_s
        self._renew_after_s = expires_after_s / _RENEWALS_PER_LEASE

    def _no_longer_kept(self, keeper: asyncio.Task[None]) -> None:
        # Whatever ended it, nobody renews the lease any more: also when the client was closed, which cancels its calls.
        if not keeper.cancelled():
            self._why_lost = keeper.exception()
        if not self._is_leaving:
            self._lost.set()


def next_look_s(retry_after_s: float, *, looks: int, draw: float) -> float:
    """Return the seconds to wait before asking again after `looks` refusals; `draw` is a random number in [0, 1)."""
    ceiling_s = min(_LONGEST_LOOK_S, _FIRST_LOOK_S * 2.0 ** min(looks, 10))
    return max(_SHORTEST_LOOK_S, min(retry_after_s, draw * ceiling_s))
