"""Events by the store's channels: whoever listens is told, and nobody else.

Each sidecar listens. What is published while a connection is away is gone, so each time that one is there anew, the
first included, events may have been missed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.store.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.events.handling import Handling
    from sidecar.events.payload import Fields
    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Arg
    from sidecar.store.subscription import SubscriptionPolicy


class PubSubSource:
    """Listens to channels, and to all whose names match patterns."""

    def __init__(
        self,
        handling: Handling,
        address: StoreAddress,
        policy: SubscriptionPolicy,
        *,
        channels: Sequence[str],
        patterns: Sequence[str],
        read: Callable[[bytes, str], Fields],
    ) -> None:
        self.up = asyncio.Event()
        self._handling = handling
        self._read = read
        silent: list[tuple[Arg, ...]] = []
        if channels:
            silent.append(("SUBSCRIBE", *channels))
        if patterns:
            silent.append(("PSUBSCRIBE", *patterns))
        self._subscription = Subscription(
            address,
            policy,
            name=f"to the channels of event {handling.name!r}",
            silent=silent,
            on_push=self._on_push,
            on_up=self._on_up,
            on_down=partial(handling.counters.set_up, is_up=False),
        )

    def start(self) -> None:
        """Begin to listen."""
        self._subscription.start()

    async def close(self) -> None:
        """Listen no more."""
        await self._subscription.close()

    def _on_up(self) -> None:
        self._handling.counters.set_up(is_up=True)
        self._handling.gap()
        self.up.set()

    def _on_push(self, push: list[Any]) -> None:
        if push[0] in {b"message", b"pmessage"}:
            channel, payload = push[-2], push[-1]
            self._handling.take(partial(self._read, payload, channel.decode(errors="replace")))
