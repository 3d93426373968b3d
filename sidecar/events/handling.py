"""What becomes of events: judged by the rules, gathered, invalidated, and tried again until that has worked.

An event that does not fit stops nothing: it is counted, and said in the log without what it holds, once a minute. A
failure of the store is no reason to forget what is out of date: it waits in the backlog, and a gap is a reason to take
everything for out of date, in the caches for which the settings say so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.events.backlog import Backlog
from sidecar.events.payload import MisfitError
from sidecar.events.rules import Effect, Reach, judge
from sidecar.lasting import lasting
from sidecar.store.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from sidecar.events.counters import EventCounters
    from sidecar.events.payload import Fields
    from sidecar.events.rules import Rule

_log = logging.getLogger("sidecar.events")

_BACKOFF = Backoff(base_ms=20, cap_ms=2_000)
# A publisher with a defect may send thousands of events a second.
_SAY_AGAIN_SECONDS = 60.0
# What no store is to blame for most likely fails for ever, and all that follows in a stream would wait for it.
_MOST_REPEATS_OF_A_DEFECT = 5
# To try these again is in vain: the rule is wrong, or what lies under the key is no entry, and is never served.
_PERMANENT = frozenset({Reason.UNSUPPORTED_BY_CACHE, Reason.CACHE_UNKNOWN, Reason.WRONG_TYPE, Reason.ENTRY_MALFORMED})


def is_permanent(error: SidecarError) -> bool:
    """Say whether an invalidation that ends so would do so again."""
    return isinstance(error, InvalidArgumentError) or error.reason in _PERMANENT


class Source(Protocol):
    """Where events come from."""

    up: asyncio.Event
    """Set once it has been listened to."""

    def start(self) -> None:
        """Begin to listen; returns at once."""

    async def close(self) -> None:
        """Listen no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPolicy:
    """What an event invalidates."""

    name: str
    rules: tuple[Rule, ...]
    gap_caches: tuple[str, ...]
    """The caches that are invalidated as a whole when events may have been missed."""
    ignored_caches: tuple[str, ...] = ()
    """Those that are not, although nobody has said so: they cannot be."""
    whole_caches: tuple[str, ...] = ()
    """The caches that can be invalidated as a whole."""


class Handling:
    """Handles the events of one source; `invalidate` does an effect, or raises `SidecarError`."""

    def __init__(
        self, policy: EventPolicy, invalidate: Callable[[Effect], Awaitable[None]], counters: EventCounters
    ) -> None:
        self._policy = policy
        self._invalidate = invalidate
        self.counters = counters
        self._backlog = Backlog(policy.whole_caches)
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._said_at = -_SAY_AGAIN_SECONDS

    @property
    def name(self) -> str:
        """The event's name in the settings."""
        return self._policy.name

    def start(self) -> None:
        """Begin to invalidate what is gathered."""
        self._task = asyncio.create_task(
            lasting(self._run, f"the handling of event {self.name!r}"), name=f"events-{self.name}"
        )

    async def close(self) -> None:
        """End that; what is not done stays undone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until nothing is left to do."""
        await self._idle.wait()

    # --- what sources tell ---

    def effects_of(self, read: Callable[[], Fields]) -> list[Effect]:
        """Return what an event means, whose fields `read` returns; counted, and never raises for what it holds."""
        try:
            judged = judge(self._policy.rules, read())
        except MisfitError as error:
            self._misfit(str(error))
            return []
        except RecursionError:  # what the parser just bears may be too deep for the rules
            self._misfit("it nests too deep")
            return []
        except Exception as error:  # noqa: BLE001 (it is said, and one event must not hold up all that follow)
            self._misfit(f"its handling failed ({type(error).__qualname__})")
            return []
        for misfit in judged.misfits:
            self._misfit(misfit)
        if not judged.matched:
            self.counters.ignored.value += 1
        elif not judged.misfits:
            self.counters.handled.value += 1
        return [*judged.effects, *self._whole(judged.unnamed)]

    def take(self, read: Callable[[], Fields]) -> None:
        """Handle an event; what it concerns is invalidated in the background."""
        self.gather(self.effects_of(read))

    def gap(self) -> None:
        """Take it that events were missed."""
        self.gather(self.gap_effects())

    def gap_effects(self) -> list[Effect]:
        """Return what is invalidated when events may have been missed."""
        self.counters.gaps.value += 1
        policy = self._policy
        if policy.ignored_caches:
            _log.warning(
                "events of %r may have been missed; these caches have no generations and may be stale until their "
                "entries expire: %s",
                policy.name,
                ", ".join(policy.ignored_caches),
            )
        return [Effect(cache, Reach.ALL) for cache in policy.gap_caches]

    def gather(self, effects: Iterable[Effect]) -> None:
        """Have this invalidated in the background."""
        self._backlog.add(effects)
        if self._backlog:
            self._idle.clear()
            self._changed.set()

    async def carry_out(self, effects: Sequence[Effect]) -> None:
        """Invalidate, and return once it has been done, however long that takes."""
        backlog = Backlog(self._policy.whole_caches)
        backlog.add(effects)
        await self._drain(backlog)

    # --- inside ---

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._drain(self._backlog)
            if not self._backlog:
                self._idle.set()

    async def _drain(self, backlog: Backlog) -> None:
        attempt = 0
        while backlog:
            failed = [effect for effect in backlog.take() if not await self._done(effect, attempt)]
            self.counters.lost.value += backlog.lost
            backlog.lost = 0
            if failed:
                backlog.add(failed)
                await asyncio.sleep(_BACKOFF.delay_seconds(attempt))
                attempt += 1

    async def _done(self, effect: Effect, attempt: int) -> bool:
        """Invalidate; return False if it is to be tried again."""
        try:
            await self._invalidate(effect)
        except SidecarError as error:
            if is_permanent(error):
                self._misfit(f"it gives what cannot be invalidated ({error.reason.name})")
                return True
            self.counters.failed.value += 1
            return False
        except Exception:  # noqa: BLE001 (it is logged, and the work goes on)
            _log.exception("an invalidation of cache %r by event %r failed", effect.cache, self.name)
            self.counters.failed.value += 1
            is_given_up = attempt >= _MOST_REPEATS_OF_A_DEFECT
            self.counters.lost.value += is_given_up
            return is_given_up
        self.counters.invalidated(effect.cache, effect.reach, max(1, len(effect.values)))
        return True

    def _whole(self, caches: Iterable[str]) -> list[Effect]:
        """Return what is invalidated where an event names no entries although it concerns some."""
        wanted = [cache for cache in caches if cache in self._policy.gap_caches]
        return [Effect(cache, Reach.ALL) for cache in wanted]

    def _misfit(self, why: str) -> None:
        self.counters.unfit.value += 1
        now = time.monotonic()
        if now - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = now
            _log.warning("an event of %r does not fit its rules: %s", self.name, why)
