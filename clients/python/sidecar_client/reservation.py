"""A cost that is reserved while a block finds out what it is.

    async with sidecar.limit("exports").reserve("clinic:7", cost=5_000) as reservation:
        rows = await export()
        await reservation.commit(len(rows))

What is reserved is kept from others until the block commits what it came to, or leaves. A block that is left without a
commit, by an error most often, has its reservation cancelled. One that tried to commit and could not has not: whether
the commit was made is then unknown, or the work was done and not charged, so what was held stays held until its time is
over, and the block may try again meanwhile.

It reserves under a random name, which makes the call safe to repeat. A commit is not repeated: when its answer is lost
(OutcomeUnknownError), a second one would be told that there is no such reservation, whether or not the first was made.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from sidecar_client.durations import to_seconds
from sidecar_client.errors import SidecarError
from sidecar_client.slot import next_look_s

if TYPE_CHECKING:
    from types import TracebackType

    from sidecar_client.durations import Span
    from sidecar_client.limit import Limit
    from sidecar_client.results import Committed, Reserved

_NAME_BYTES = 16


class NotReservedError(Exception):
    """There was no room, or none came in time. `answer` is the last refusal."""

    def __init__(self, answer: Reserved) -> None:
        super().__init__(f"{answer.remaining} of {answer.limit} are left")
        self.answer = answer


class Reservation:
    """A reservation for the time of a block. Made by `Limit.reserve`; it is entered once."""

    def __init__(
        self,
        limit: Limit,
        key: str,
        *,
        cost: int,
        ttl: Span | None,
        tier: str,
        reservation_id: str,
        wait: Span,
        timeout: Span | None,
    ) -> None:
        self._limit = limit
        self._key = key
        self._cost = cost
        self._ttl = ttl
        self._tier = tier
        self._name = reservation_id or secrets.token_urlsafe(_NAME_BYTES)
        self._wait_s = to_seconds(wait)
        self._timeout = timeout
        self._is_entered = False
        self._is_settled = False
        self.token = ""
        """What names the reservation to the sidecar; empty before the block is entered."""
        self.answer: Reserved | None = None
        """What the sidecar said to it; None before the block is entered."""

    async def commit(self, cost: int | None = None) -> Committed:
        """Charge what it came to, or what was reserved if that is None; the rest is free again.

        Raises ReservationLostError if its time is over, and SidecarError.
        """
        self._is_settled = True
        return await self._limit.commit(self._key, self.token, cost, tier=self._tier, timeout=self._timeout)

    async def cancel(self) -> bool:
        """Give it back before the block is left; return False if its time is over, or it was committed."""
        self._is_settled = True
        return await self._limit.cancel(self._key, self.token, timeout=self._timeout)

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise RuntimeError("a reservation is entered once: call `limit.reserve` for each block")
        self._is_entered = True
        wait_ends_at = time.monotonic() + self._wait_s
        looks = 0
        while not (answer := await self._reserve()).reserved:
            looks += 1
            left_s = wait_ends_at - time.monotonic()
            if left_s <= 0:
                raise NotReservedError(answer)
            draw = random.random()  # noqa: S311 (spreads callers, guards nothing)
            pause_s = next_look_s(answer.retry_after.total_seconds(), looks=looks, draw=draw)
            await asyncio.sleep(min(pause_s, left_s))
        self.token = answer.token
        self.answer = answer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_settled:
            await self._let_go(self.token)

    async def _reserve(self) -> Reserved:
        asking = asyncio.ensure_future(
            self._limit.hold(
                self._key,
                cost=self._cost,
                ttl=self._ttl,
                tier=self._tier,
                reservation_id=self._name,
                timeout=self._timeout,
            )
        )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # It may be held already, and nobody would cancel it: the answer is waited for.
            await asyncio.wait([asking])
            if asking.exception() is None and asking.result().reserved:
                await self._let_go(asking.result().token)
            raise

    async def _let_go(self, token: str) -> None:
        # What cannot be cancelled ends by itself; the block's own outcome counts for more.
        with suppress(SidecarError):
            await self._limit.cancel(self._key, token, timeout=self._timeout)
