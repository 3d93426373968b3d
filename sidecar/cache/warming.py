"""Loading entries before anybody asks for them: after a start with an empty store, or because somebody says so.

Warming reads keys as any caller would, in batches, from a cache that loads what it misses; so all that holds for loads
holds here: one load for all who ask at that time, leases, the origin's own bounds. It is paced, so that an origin that
serves callers too does not see all keys at once, and has few batches under way at a time.

A key that cannot be loaded is counted, and the rest go on. If batch after batch fails as a whole, the origin or the
store is gone, and warming ends with that error: it may be begun anew, and what was loaded is there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.cache.near.policy import Freshness
from sidecar.cache.policy import FromOrigin, Outcome, Strategy
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

    from sidecar.cache.policy import CachePolicy, Found, Limits
    from sidecar.cache.served import Values

# A question to the origin: large enough for one trip to bring much, small enough to be paced.
_BATCH_KEYS = 100
_BATCHES_AT_ONCE = 4

# Then it is no single key that is wrong.
_FAILED_BATCHES = 3

# Named in the answer; more are only counted.
_MOST_FAILURES = 20

# A batch may wait for its turn at the origin, and for other loads of the same keys.
_BATCH_SECONDS = 60.0

# A copy in this process says nothing of what the store has.
_OF_THE_STORE = Freshness(max_staleness=0.0)


@dataclass(slots=True)
class Progress:
    """How far a warming is."""

    total: int
    loaded: int = 0
    present: int = 0
    """Those that were there already."""
    absent: int = 0
    """Those that the origin has not."""
    failed: int = 0
    failures: list[tuple[str, SidecarError]] = field(default_factory=list)
    """The first of these."""

    @property
    def done(self) -> int:
        """How many keys are through with."""
        return self.loaded + self.present + self.absent + self.failed

    def count(self, key: str, found: Found | SidecarError) -> None:
        """Take in what became of a key."""
        if isinstance(found, SidecarError):
            self.failed += 1
            if len(self.failures) < _MOST_FAILURES:
                self.failures.append((key, found))
        elif found[0] is Outcome.MISS:
            self.absent += 1
        elif type(found) is FromOrigin:
            self.loaded += 1
        else:
            self.present += 1


class Health:
    """Whether it is worth going on: batches that failed as a whole, one after the other."""

    def __init__(self) -> None:
        self._failed_batches = 0

    def take_in(self, results: Sequence[Found | SidecarError]) -> SidecarError | None:
        """Take in what became of a batch; return why to end, if it is time."""
        errors = [found for found in results if isinstance(found, SidecarError)]
        if len(errors) < len(results):
            self._failed_batches = 0
            return None
        self._failed_batches += 1
        return errors[-1] if self._failed_batches >= _FAILED_BATCHES else None


def batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    """Return keys, each once and in their order, in batches of at most so many."""
    listed = list(dict.fromkeys(keys))
    for start in range(0, len(listed), size):
        yield listed[start : start + size]


def due_seconds(begun_keys: int, per_second: float) -> float:
    """Return how long after the start the next batch may begin, when so many keys have been begun."""
    return begun_keys / per_second


class Warming:
    """Warms one cache."""

    def __init__(self, policy: CachePolicy, limits: Limits, values: Values) -> None:
        self._policy = policy
        self._batch_keys = min(_BATCH_KEYS, limits.max_batch_keys)
        self._values = values

    def check(self) -> None:
        """Raise UNSUPPORTED_BY_CACHE if there is nowhere to load from."""
        if self._policy.strategy is Strategy.CACHE_ASIDE:
            raise SidecarError(
                Reason.UNSUPPORTED_BY_CACHE,
                f"cache {self._policy.name!r} has no origin to be loaded from (caches.<name>.origin)",
                field="cache",
            )

    async def warm(self, keys: Sequence[str], per_second: float) -> AsyncGenerator[Progress, None]:
        """Load entries, and say how far it is after each batch; raises UNSUPPORTED_BY_CACHE, and what ends it."""
        self.check()
        waiting = list(batches(keys, self._batch_keys))
        progress = Progress(sum(map(len, waiting)))
        health, begun, loop = Health(), 0, asyncio.get_running_loop()
        start = loop.time()
        under_way: dict[asyncio.Task[list[Found | SidecarError]], list[str]] = {}
        try:
            while waiting or under_way:
                pause = start + due_seconds(begun, per_second) - loop.time()
                if waiting and pause <= 0 and len(under_way) < _BATCHES_AT_ONCE:
                    batch = waiting.pop(0)
                    begun += len(batch)
                    under_way[asyncio.create_task(self._load(batch), name="warming")] = batch
                    continue
                if not under_way:
                    await asyncio.sleep(pause)
                    continue
                full = not waiting or len(under_way) == _BATCHES_AT_ONCE
                ended, _ = await asyncio.wait(
                    under_way, timeout=None if full else pause, return_when=asyncio.FIRST_COMPLETED
                )
                for task in ended:
                    results, batch = task.result(), under_way.pop(task)
                    for key, found in zip(batch, results, strict=True):
                        progress.count(key, found)
                    why = health.take_in(results)
                    yield progress
                    if why is not None:
                        raise why
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _load(self, batch: Sequence[str]) -> list[Found | SidecarError]:
        """Read a batch; an error of the whole is one of each."""
        try:
            found = list(await self._values.get_many(batch, _a_call(), _OF_THE_STORE))
        except SidecarError as error:
            if len(batch) == 1:
                return [error]
            if error.reason not in _OF_A_KEY:
                return [error] * len(batch)
            found = [error] * len(batch)
        # A key that is no key fails all that are read with it, and values may not fit into one answer: each by itself.
        for place, one in enumerate(found):
            if len(batch) > 1 and isinstance(one, SidecarError) and one.reason in _OF_A_KEY:
                found[place] = (await self._load([batch[place]]))[0]
        return found


_OF_A_KEY = frozenset({Reason.KEY_EMPTY, Reason.KEY_TOO_LONG, Reason.ANSWER_TOO_LARGE})


def _a_call() -> Call:
    return Call("cache.warm", deadline=after(_BATCH_SECONDS))
