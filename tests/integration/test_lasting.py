"""What goes on for as long as a process does survives what nobody has foreseen, and says what has happened."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.write_behind import PLAIN, Ledger, running, some_call

from sidecar.clock import StoreClock
from sidecar.events.counters import EventCounters, EventMetrics
from sidecar.events.handling import EventPolicy, Handling
from sidecar.events.rules import Effect, Reach
from sidecar.lasting import lasting
from sidecar.store.address import StoreAddress
from sidecar.store.probe import StoreProbe
from sidecar.store.subscription import Subscription, SubscriptionPolicy
from sidecar.telemetry.log import TextFormatter
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from support.servers import StoreServer

    from sidecar.cache.origin import Change
    from sidecar.call import Call
    from sidecar.errors import SidecarError
    from sidecar.store.standalone import StandaloneStore

SECRET = "patient-4711"
PATIENCE_SECONDS = 30.0


def said(caplog: pytest.LogCaptureFixture) -> str:
    """Return the log as it is printed."""
    return "\n".join(map(TextFormatter().format, caplog.records))


async def test_work_begins_anew_after_a_defect(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the type of what has happened and nothing of its text; work that ends by itself has ended."""
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)
        if attempts < 3:
            raise KeyError(SECRET)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await lasting(work, "the work", first=0.001)
    assert attempts == 3
    assert said(caplog).count("the work was interrupted by a defect, and begins anew (KeyError)") == 2
    assert SECRET not in said(caplog)


async def test_work_that_is_cancelled_ends() -> None:
    """And begins no more."""
    begun = asyncio.Event()
    times = 0

    async def work() -> None:
        nonlocal times
        times += 1
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(lasting(work, "the work"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert times == 1


def handling_of(invalidate: Callable[[Effect], Awaitable[None]]) -> Handling:
    """Return what handles events whose effects are given to it."""
    policy = EventPolicy(name="e", rules=(), gap_caches=())
    return Handling(policy, invalidate, EventCounters(EventMetrics(Metrics()), "e"))


class TestEvents:
    """The handling of events."""

    async def test_an_invalidation_is_tried_again(self, caplog: pytest.LogCaptureFixture) -> None:
        """Whatever it has failed of; it is counted."""
        done: list[tuple[str, ...]] = []
        attempts = 0

        async def invalidate(effect: Effect) -> None:
            nonlocal attempts
            attempts += 1
            await asyncio.sleep(0)
            if attempts == 1:
                raise KeyError(SECRET)
            done.append(effect.values)

        handling = handling_of(invalidate)
        handling.start()
        handling.gather([Effect("c", Reach.KEYS, (SECRET,))])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await handling.idle()
        await handling.close()
        assert [(SECRET,)] == done
        assert handling.counters.failed.value == 1
        assert "KeyError" in said(caplog)
        assert SECRET not in said(caplog)

    async def test_one_that_always_fails_holds_up_nothing(self) -> None:
        """It is given up in the end, and counted as lost."""
        done: list[str] = []

        async def invalidate(effect: Effect) -> None:
            await asyncio.sleep(0)
            if effect.cache == "bad":
                raise KeyError(SECRET)
            done.append(effect.cache)

        handling = handling_of(invalidate)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await handling.carry_out([Effect("bad", Reach.KEYS, ("k",)), Effect("good", Reach.KEYS, ("k",))])
        assert ["good"] == done
        assert handling.counters.lost.value == 1

    async def test_an_event_that_cannot_be_read_is_unfit(self) -> None:
        """It is not told again and again to who reads a stream."""

        def read() -> Any:
            raise AttributeError(SECRET)

        handling = handling_of(lambda _effect: asyncio.sleep(0))
        assert [] == handling.effects_of(read)
        assert handling.counters.unfit.value == 1


async def test_a_subscription_comes_back(server: StoreServer, caplog: pytest.LogCaptureFixture) -> None:
    """Who has subscribed hears that it was gone."""
    heard: list[str] = []
    up = asyncio.Event()
    beats = 0

    def beat(_store_us: int) -> None:
        nonlocal beats
        beats += 1
        if beats == 2:
            raise KeyError(SECRET)
        if beats > 2:
            up.set()

    subscription = Subscription(
        StoreAddress(host="127.0.0.1", port=server.port),
        SubscriptionPolicy(client_name="lasting", beat_interval=0.02),
        name="test",
        silent=[("SUBSCRIBE", "news")],
        on_push=lambda _push: None,
        on_up=lambda: heard.append("up"),
        on_down=lambda: heard.append("down"),
        on_beat=beat,
    )
    subscription.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await up.wait()
    await subscription.close()
    assert ["up", "down", "up"] == heard
    assert "(KeyError)" in said(caplog)
    assert SECRET not in said(caplog)


@dataclass
class Miscounting(Ledger):
    """An origin that answers for too few changes, once."""

    failures: int = 1

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes, or answer for none of them."""
        if self.failures:
            self.failures -= 1
            return []
        return await super().store(changes, call)


class TestWriteBehind:
    """The senders of changes."""

    async def test_a_batch_that_an_origin_miscounts_is_sent_again(
        self, store: StandaloneStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is not under way for ever."""
        ledger = Miscounting()
        with caplog.at_level(logging.ERROR):
            async with running(store, ledger) as rig:
                await rig.values.set("k", b"v", PLAIN, some_call())
                await rig.settled()
        assert {"k": b"v"} == ledger.values
        assert "ValueError" in said(caplog)

    async def test_what_was_answered_is_told_until_it_is_heard(
        self, store: StandaloneStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the telling has failed of."""
        ledger = Ledger()
        async with running(store, ledger) as rig:
            partitions = rig.cache.partitions
            settle, attempts = partitions.settle, 0

            async def failing(*words: Any) -> bool:
                nonlocal attempts
                attempts += 1
                if attempts == 1:
                    raise KeyError(SECRET)
                return await settle(*words)

            monkeypatch.setattr(partitions, "settle", failing)
            await rig.values.set("k", b"v", PLAIN, some_call())
            await rig.settled()
        assert (1, 2) == (len(ledger.told), attempts)


async def test_a_store_that_fails_as_nobody_foresaw_is_not_serving(
    store: StandaloneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And serves again once it answers."""
    told: asyncio.Queue[bool] = asyncio.Queue()
    probe = StoreProbe(store, StoreClock(), interval=0.01)
    probe.on_change(told.put_nowait)
    await probe.start()
    with monkeypatch.context() as patched:
        patched.setattr(store, "call", lambda *_: 1 / 0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert [True, False] == [await told.get(), await told.get()]
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await told.get() is True
    await probe.stop()
