"""Watching a cache: whoever keeps entries in his own memory is told what changes, by whichever sidecar.

The store itself tells: a connection with `CLIENT TRACKING ON BCAST` for the names of the cache's entries gets each that
is written, removed, expired or evicted. So a write costs nothing more than it did, and programs that write a raw cache
past the sidecar are seen too. There is one such connection for each cache that somebody watches, shared by all who do.

Prefixes and whole caches go out of date by a number (`generations.py`): on a push about that key the sidecar asks what
was passed since, and no beat is told meanwhile. If the answer does not come, it tells that the whole cache has gone.

A watcher is told READY once the connection is there. When it is lost, a reset at once, and READY again later: between
the two nothing may be kept. Names of PHI caches are keyed hashes, which tell a watcher nothing; those are refused.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.cache.generations import Generations
from sidecar.cache.mailbox import Mailbox, News
from sidecar.cache.policy import CachePolicy, DataClass
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import InvalidArgumentError, Reason, SidecarError, unknown_name
from sidecar.store.keys import ENTRY_TAIL, behind_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from sidecar.cache.policy import Limits
    from sidecar.clock import StoreClock
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Metrics

_log = logging.getLogger("sidecar.cache")

# Each watcher holds at most so many names of 512 bytes: 5 MB, if it reads nothing at all.
_MOST_UNTOLD = 10_000
# A process has one for each application beside it, or for each of its workers.
_MOST_WATCHERS = 1_000
_MOST_PREFIXES = 100
_ASK_SECONDS = 1.0


class Subscribed(Protocol):
    """What a hub needs of a subscription."""

    def start(self) -> None:
        """Begin."""

    async def close(self) -> None:
        """End."""


class Subscribe(Protocol):
    """Makes a subscription to changed keys, which is not started yet."""

    def __call__(
        self,
        name: str,
        prefixes: Sequence[bytes],
        *,
        on_push: Callable[[list[Any]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
        on_beat: Callable[[int], None],
    ) -> Subscribed:
        """Make one for keys with these prefixes."""
        ...


class Watcher:
    """One who watches: a mailbox, and what wakes its reader."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self.mailbox = Mailbox(prefixes, _MOST_UNTOLD)
        self.changed = asyncio.Event()


class _Hub:
    """All who watch one cache, and the subscription that they share."""

    def __init__(
        self, policy: CachePolicy, subscribe: Subscribe, store: Store, keys: KeySpace, clock: StoreClock
    ) -> None:
        self.watchers: set[Watcher] = set()
        self._clock = clock
        raw = policy.raw_prefix
        self._head = keys.entry_head(policy.name) if raw is None else raw.encode()
        self._tail = ENTRY_TAIL if raw is None else b""
        self._is_behind = policy.behind is not None
        if self._is_behind:
            self._head, self._tail = keys.behind_head(policy.name), b""
        prefixes = [self._head]
        self._generations: Generations | None = None
        self._generations_key = b""
        if policy.generations:
            self._generations = Generations(policy.name, store, keys, prefixes=True)
            self._generations_key = keys.generations(policy.name)[0]
            prefixes.append(self._generations_key)
        self._position = 0
        self._wanted = 0
        self._looked = 0
        self._beat_us = 0
        self._looking: asyncio.Task[None] | None = None
        self._is_up = False
        self._subscription = subscribe(
            policy.name,
            prefixes,
            on_push=self._on_push,
            on_up=self._on_up,
            on_down=self._on_down,
            on_beat=self._on_beat,
        )

    def start(self) -> None:
        self._subscription.start()

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._subscription.close()

    def join(self, watcher: Watcher) -> None:
        self.watchers.add(watcher)
        if self._is_up:
            watcher.mailbox.put_ready(self._clock.micros())
            watcher.changed.set()

    # --- what the subscription tells ---

    def _on_up(self) -> None:
        if self._generations is None:
            self._ready()
        else:
            # What is passed from here on is pushed, and looked at after this.
            self._look()

    def _ready(self) -> None:
        self._is_up = True
        as_of_us = self._clock.micros()
        self._tell(lambda mailbox: mailbox.put_ready(as_of_us))

    def _on_down(self) -> None:
        self._is_up = False
        self._beat_us = 0
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._tell(lambda mailbox: mailbox.put_reset())

    def _on_beat(self, store_us: int) -> None:
        if self._looking is not None:
            self._beat_us = store_us
        elif self._is_up:
            self._tell(lambda mailbox: mailbox.put_beat(store_us))

    def _on_push(self, push: list[Any]) -> None:
        if push[:1] != [b"invalidate"]:
            return
        names: list[bytes] | None = push[1]
        if names is None:  # the whole store was emptied
            self._tell(lambda mailbox: mailbox.put_all())
            return
        keys: list[str] = []
        for name in names:
            if name == self._generations_key:
                self._look()
            elif name.startswith(self._head) and name.endswith(self._tail):
                own = name[len(self._head) : len(name) - len(self._tail)]
                if self._is_behind:
                    own = behind_name(own)
                try:
                    keys.append(own.decode())
                except UnicodeDecodeError:  # in a raw cache, by others: no caller can ask for it
                    continue
        if keys:
            self._tell(lambda mailbox: mailbox.put_keys(keys))

    # --- generations ---

    def _look(self) -> None:
        self._wanted += 1
        if self._looking is None and self._generations is not None:
            self._looking = asyncio.create_task(self._look_until_done(self._generations), name="passed-generations")

    async def _look_until_done(self, generations: Generations) -> None:
        while self._looked != self._wanted:
            wanted = self._wanted
            await self._look_once(generations)
            self._looked = wanted
        self._looking = None
        if self._beat_us:
            beat_us, self._beat_us = self._beat_us, 0
            self._tell(lambda mailbox: mailbox.put_beat(beat_us))

    async def _look_once(self, generations: Generations) -> None:
        call = Call("cache.watch", deadline=after(_ASK_SECONDS))
        try:
            if not self._is_up:
                # Where the cache stands; if it stands nowhere yet, it begins now and not with its first write.
                self._position = (await generations.look((), (), call)).position
                self._ready()
                return
            passed = await generations.passed_since(self._position, call)
        except Exception as error:  # noqa: BLE001 (it is logged, and the work goes on)
            if not isinstance(error, SidecarError):
                _log.exception("what has changed in a watched cache cannot be told; its watchers drop all")
            self._tell(lambda mailbox: mailbox.put_all())
            if not self._is_up:
                self._ready()
            return
        self._position = passed.position
        if passed.whole:
            self._tell(lambda mailbox: mailbox.put_all())
        else:
            for prefix in passed.prefixes:
                self._tell_prefix(prefix.decode())

    def _tell_prefix(self, prefix: str) -> None:
        self._tell(lambda mailbox: mailbox.put_prefix(prefix))

    def _tell(self, put: Callable[[Mailbox], None]) -> None:
        for watcher in self.watchers:
            put(watcher.mailbox)
            if not watcher.mailbox.is_empty:
                watcher.changed.set()


class Watches:
    """Lets callers watch caches."""

    def __init__(
        self,
        policies: Sequence[CachePolicy],
        *,
        limits: Limits,
        subscribe: Subscribe,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        metrics: Metrics,
    ) -> None:
        self._policies: Mapping[str, CachePolicy] = {policy.name: policy for policy in policies}
        self._max_key_bytes = limits.max_key_bytes
        self._subscribe = subscribe
        self._store = store
        self._keys = keys
        self._clock = clock
        self._hubs: dict[str, _Hub] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._overflows = metrics.counter(
            "sidecar_cache_watch_overflows", "How often a watcher read so slowly that it was told to drop all.", "cache"
        )
        metrics.gauge(
            "sidecar_cache_watchers",
            "Who watches, by cache.",
            lambda: {(name,): len(hub.watchers) for name, hub in self._hubs.items()},
            "cache",
        )

    def check(self, cache: str, prefixes: Sequence[str]) -> None:
        """Raise what a watch of these would end with: CACHE_UNKNOWN, UNSUPPORTED_BY_CACHE and the like."""
        policy = self._policies.get(cache)
        if policy is None:
            metadata = unknown_name("cache", cache, self._policies)
            raise InvalidArgumentError(
                Reason.CACHE_UNKNOWN, "no cache of that name is configured", field="cache", metadata=metadata
            )
        if policy.data_class is DataClass.PHI:
            raise SidecarError(
                Reason.UNSUPPORTED_BY_CACHE,
                f"cache {cache!r} holds PHI: the store knows no keys of it that could be told",
                field="cache",
            )
        if len(prefixes) > _MOST_PREFIXES:
            raise InvalidArgumentError(
                Reason.BATCH_SIZE, f"there are {len(prefixes)} prefixes; at most {_MOST_PREFIXES}", field="prefixes"
            )
        for number, prefix in enumerate(prefixes):
            if not 0 < len(prefix.encode()) <= self._max_key_bytes:
                raise InvalidArgumentError(
                    Reason.PREFIX_UNSUITABLE,
                    f"a prefix has 1 to {self._max_key_bytes} bytes; for the whole cache name none",
                    field=f"prefixes[{number}]",
                )
        if sum(len(hub.watchers) for hub in self._hubs.values()) >= _MOST_WATCHERS:
            raise SidecarError(Reason.OVERLOADED, f"there are {_MOST_WATCHERS} watchers already", retry_after_ms=1000)

    async def watch(self, cache: str, prefixes: Sequence[str]) -> AsyncGenerator[list[News], None]:
        """Tell what changes, until the caller leaves or the sidecar stops; raises as `check`."""
        self.check(cache, prefixes)
        with self._joined(cache, Watcher(tuple(prefixes))) as watcher:
            while not self._stopping:
                await watcher.changed.wait()
                watcher.changed.clear()
                news = watcher.mailbox.take()
                if news:
                    yield news

    def stop(self) -> None:
        """End every watch."""
        self._stopping = True
        for hub in self._hubs.values():
            for watcher in hub.watchers:
                watcher.changed.set()

    async def close(self) -> None:
        """Wait until all connections are closed."""
        self.stop()
        for cache in list(self._hubs):
            self._leave_hub(cache)
        await asyncio.gather(*self._closing, return_exceptions=True)

    @contextmanager
    def _joined(self, cache: str, watcher: Watcher) -> Iterator[Watcher]:
        hub = self._hubs.get(cache)
        if hub is None:
            hub = self._hubs[cache] = _Hub(self._policies[cache], self._subscribe, self._store, self._keys, self._clock)
            hub.start()
        hub.join(watcher)
        try:
            yield watcher
        finally:
            hub.watchers.discard(watcher)
            self._overflows.cell(cache).value += watcher.mailbox.overflows
            if not hub.watchers and self._hubs.get(cache) is hub:
                self._leave_hub(cache)

    def _leave_hub(self, cache: str) -> None:
        closing = asyncio.create_task(self._hubs.pop(cache).close(), name="close-watch")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
