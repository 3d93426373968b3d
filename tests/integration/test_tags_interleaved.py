"""Tags are exact in whatever order the steps of a write, a load and an invalidation meet: each order is tried.

A step is one request to the store, which is a real one. Two callers, each with a store of its own that waits for its
turn, are led through every order of their steps; also with the one who invalidates dying after any of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from sidecar.cache.catalog import build_caches
from sidecar.cache.loads import LoadOutcome
from sidecar.cache.policy import CachePolicy, Limits, Outcome
from sidecar.cache.request import WriteOptions
from sidecar.cache.values import NewValue
from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import SidecarError
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from sidecar.cache.catalog import Caches
    from sidecar.store.base import Command, Reply, ScriptCall, Store
    from sidecar.store.standalone import StandaloneStore

# No caller takes more steps: a write reads a fence, enters, looks and writes; an invalidation stamps, takes, looks,
# visits and forgets.
MOST_STEPS = 5
NAME = "k"
TAGGED = WriteOptions(tags=("t",))


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(60.0))


class SteppedStore:
    """A store that sends nothing before it is let."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leave = asyncio.Semaphore(0)
        self.waiting = asyncio.Event()

    def let(self) -> None:
        """Let one request go."""
        self.waiting.clear()
        self._leave.release()

    async def _turn(self) -> None:
        self.waiting.set()
        await self._leave.acquire()

    async def call(self, command: Command, call: Call) -> Reply:
        """Send one command, in its turn."""
        await self._turn()
        return await self._store.call(command, call)

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Any]:
        """Send commands, in their turn."""
        await self._turn()
        return await self._store.call_many(commands, call)

    async def get_many(self, keys: Sequence[bytes], call: Call) -> list[Any]:
        """Read, in its turn."""
        await self._turn()
        return await self._store.get_many(keys, call)

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Run a script, in its turn."""
        await self._turn()
        return await self._store.run(script_call, call)


def caches_over(store: Store, *, generations: bool) -> Caches:
    """Return a cache `c` with tags over a store."""
    return build_caches(
        [CachePolicy(name="c", ttl_ms=60_000, negative_ttl_ms=60_000, tags=True, generations=generations)],
        limits=Limits(),
        store=store,
        keys=KeySpace("test"),
        clock=StoreClock(),
        sealer_for=lambda _policy: None,
        metrics=Metrics(),
    )


class Caller:
    """One who does one thing, step by step."""

    def __init__(self, store: Store, do: Callable[[Caches], Coroutine[Any, Any, Any]], *, generations: bool) -> None:
        self._store = SteppedStore(store)
        self._task = asyncio.create_task(do(caches_over(self._store, generations=generations)))
        self.steps = 0

    async def step(self) -> None:
        """Take the next step, if there is one."""
        await self._settle()
        if not self._task.done():
            self.steps += 1
            self._store.let()
            await self._settle()

    async def _settle(self) -> None:
        waiting = asyncio.create_task(self._store.waiting.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def die(self) -> None:
        """Be gone, wherever it was."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, SidecarError):
            await self._task

    async def end(self) -> Any:
        """Take all steps that are left, and return what it came to."""
        while not self._task.done():
            await self.step()
        return await self._task


def orders(first: int, second: int) -> Iterator[list[int]]:
    """Return every order of so many steps of caller 0 and of caller 1."""
    for places in itertools.combinations(range(first + second), first):
        yield [0 if place in places else 1 for place in range(first + second)]


async def write(caches: Caches) -> object:
    """Write the entry with its tag."""
    return await caches.values("c").set(NAME, b"v", TAGGED, a_call())


async def write_many(caches: Caches) -> object:
    """Write the entry twice, and once with its tag."""
    values = [NewValue(NAME, b"other", WriteOptions()), NewValue(NAME, b"v", TAGGED)]
    return await caches.values("c").set_many(values, a_call())


async def invalidate(caches: Caches) -> object:
    """Invalidate the tag."""
    return await caches.invalidation("c").by_tags(["t"], a_call())


async def is_there(caches: Caches) -> bool:
    """Say whether the entry can be read."""
    return (await caches.values("c").get(NAME, a_call())).outcome is Outcome.HIT


@pytest.mark.parametrize("kind", ["tags", "tags and generations"])
@pytest.mark.parametrize("writes", [write, write_many])
@pytest.mark.parametrize("before", ["new", "replaced"])
async def test_a_write_never_leaves_its_tag(
    store: StandaloneStore,
    writes: Callable[[Caches], Coroutine[Any, Any, Any]],
    before: str,
    kind: str,
) -> None:
    """Whatever order it was and however far the first invalidation came, the next one removes the entry."""
    generations = kind != "tags"
    caches = caches_over(store, generations=generations)
    for order in orders(4, MOST_STEPS):
        for dies_after in range(MOST_STEPS + 1):
            await invalidate(caches)
            await caches.invalidation("c").by_keys([NAME], a_call())
            if before == "replaced":
                await write(caches)
            callers = [Caller(store, do, generations=generations) for do in (writes, invalidate)]
            for number in order:
                if number == 0 or callers[1].steps < dies_after:
                    await callers[number].step()
            await callers[1].die()
            await callers[0].end()
            await invalidate(caches)
            assert (order, dies_after, False) == (order, dies_after, await is_there(caches))


@pytest.mark.parametrize("kind", ["tags", "tags and generations"])
@pytest.mark.parametrize("what", ["value", "nothing"])
async def test_what_was_to_be_loaded_before_is_not_there_afterwards(
    store: StandaloneStore,
    what: str,
    kind: str,
) -> None:
    """In no order of the steps of a Fill, which alone knows the tag, and of the invalidation."""
    generations = kind != "tags"
    caches = caches_over(store, generations=generations)
    for order in orders(4, MOST_STEPS):
        loaded = await caches.loads("c").get_or_load(NAME, 0, a_call(), waiting=contextlib.nullcontext)

        async def fill(own: Caches, token: str = loaded.token) -> object:
            with contextlib.suppress(SidecarError):
                if what == "nothing":
                    return await own.loads("c").end(NAME, token, a_call(), absent=True, tags=["t"])
                return await own.loads("c").fill(NAME, token, b"old", None, a_call(), tags=["t"])
            return None

        callers = [Caller(store, do, generations=generations) for do in (fill, invalidate)]
        for number in order:
            await callers[number].step()
        for caller in callers:
            await caller.end()
        again = await caches.loads("c").get_or_load(NAME, 0, a_call(), waiting=contextlib.nullcontext)
        assert (order, LoadOutcome.LEASE) == (order, again.outcome)
        await caches.loads("c").end(NAME, again.token, a_call(), absent=False)
