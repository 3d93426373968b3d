"""Subscriptions: in force or not, and everybody knows which."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sidecar.errors import Reason, StoreError
from sidecar.store.address import StoreAddress
from sidecar.store.subscription import Subscription, SubscriptionPolicy, open_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.servers import StoreServer

POLICY = SubscriptionPolicy(client_name="subscriber", reply_timeout=0.3, beat_interval=0.05)


class Heard:
    """What a subscription has told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self._changed = asyncio.Event()

    def tell(self, what: Any) -> None:
        """Note it."""
        self.told.append(what)
        self._changed.set()

    async def until(self, what: Any) -> None:
        """Wait until it has been told."""
        async with asyncio.timeout(20):
            while what not in self.told:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def heard() -> Heard:
    """Return what was told."""
    return Heard()


def address_of(server: StoreServer, password: str = "") -> StoreAddress:
    """Return where the server is."""
    return StoreAddress(host="127.0.0.1", port=server.port, password=password)


@pytest.fixture
async def subscription(server: StoreServer, heard: Heard) -> AsyncIterator[Subscription]:
    """Return a subscription to a channel that is in force."""
    made = Subscription(
        address_of(server),
        POLICY,
        name="test",
        silent=[("SUBSCRIBE", "news")],
        on_push=lambda push: heard.tell((push[0], push[-1])),
        on_up=lambda: heard.tell("up"),
        on_down=lambda: heard.tell("down"),
        on_beat=lambda _: heard.tell("beat"),
    )
    made.start()
    await heard.until("up")
    yield made
    await made.close()


async def test_messages_come(server: StoreServer, subscription: Subscription, heard: Heard) -> None:
    """Once it is up, each is told."""
    assert subscription.is_up
    await asyncio.to_thread(server.oracle().publish, "news", "one")
    await heard.until((b"message", b"one"))


async def test_beats_come_while_nothing_is_told(subscription: Subscription, heard: Heard) -> None:
    """They prove that the connection lives."""
    assert subscription.is_up
    heard.told.clear()
    await heard.until("beat")


async def test_a_killed_connection_is_down_and_up_again(
    server: StoreServer, subscription: Subscription, heard: Heard
) -> None:
    """And what is told afterwards comes."""
    heard.told.clear()
    await asyncio.to_thread(server.oracle().client_kill_filter, _type="pubsub")
    await heard.until("up")
    await asyncio.to_thread(server.oracle().publish, "news", "two")
    await heard.until((b"message", b"two"))
    assert (True, "down") == (subscription.is_up, heard.told[0] if heard.told[0] != "beat" else "down")


async def test_a_server_that_hangs_is_noticed(server: StoreServer, subscription: Subscription, heard: Heard) -> None:
    """Its connection stays open, but no beat comes."""
    server.pause()
    await heard.until("down")
    assert not subscription.is_up
    server.resume()
    heard.told.clear()
    await heard.until("up")


async def test_a_server_that_died_and_came_back(server: StoreServer, subscription: Subscription, heard: Heard) -> None:
    """It is subscribed to again."""
    server.kill()
    await heard.until("down")
    heard.told.clear()
    server.start()
    await heard.until("up")
    await asyncio.to_thread(server.oracle().publish, "news", "three")
    await heard.until((b"message", b"three"))
    assert subscription.is_up


async def test_a_refused_set_up_is_never_up(server: StoreServer, heard: Heard) -> None:
    """Neither up nor down; it is tried again."""
    made = Subscription(
        address_of(server),
        POLICY,
        name="refused",
        set_up=[("CLIENT", "TRACKING", "PERHAPS")],
        on_push=heard.tell,
        on_up=lambda: heard.tell("up"),
        on_down=lambda: heard.tell("down"),
    )
    made.start()
    await asyncio.sleep(0.2)
    await made.close()
    assert ([], False) == (heard.told, made.is_up)


async def test_a_line_keeps_its_order_when_who_asked_has_left(server: StoreServer) -> None:
    """The connection goes with him: nobody gets another's answer."""
    line = await open_line(address_of(server), POLICY, lambda _: None)
    waiting = asyncio.create_task(line.ask(("BLPOP", "nothing", 5), patience=10))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    with pytest.raises(StoreError) as raised:
        await line.ask(("PING",), patience=1)
    assert (Reason.STORE_UNAVAILABLE, True) == (raised.value.reason, line.lost.done())


async def test_a_line_waits_no_longer_than_its_patience(server: StoreServer) -> None:
    """However long the command would."""
    line = await open_line(address_of(server), POLICY, lambda _: None)
    with pytest.raises(StoreError) as raised:
        await line.ask(("BLPOP", "nothing", 5), patience=0.05)
    assert Reason.STORE_UNAVAILABLE is raised.value.reason


async def test_a_wrong_password_is_said(server: StoreServer) -> None:
    """As the pool's connections say it."""
    await asyncio.to_thread(server.oracle().config_set, "requirepass", "right")
    with pytest.raises(StoreError) as raised:
        await open_line(address_of(server, "wrong"), POLICY, lambda _: None)
    assert Reason.STORE_DENIED is raised.value.reason
