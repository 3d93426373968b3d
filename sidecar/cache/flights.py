"""Loads that the sidecar makes itself: one for each key in this process, whoever waits for it.

A *flight* is one attempt to have an entry. It asks for the leave to load it (`leases`), so that of all processes one
loads; where another has the leave it waits for that one's end, and asks again. What begins in one turn of the event
loop sets off together: one trip for the leases, one call of the origin for all that were granted. A flight runs in a
task of its own, so a caller who leaves takes nothing from those who stay.

Who may have what a flight brings? It must not be older than the call that it is given to: what was read before an
invalidation was acknowledged must not be served to a call that came after it. So a flight counts its looks, at the
store and at the origin, and each passenger remembers how many had begun when it came. What a later look brought is
for it; of what an earlier one brought it only knows that there may be something now, and looks itself. An error is for
all: it is about the origin, not about a value.

So nothing has to be asked again when what was loaded is refused as late: those who were there before the origin was
asked have an answer that is young enough, nothing is left in the cache, and who comes next loads anew.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.background import Background
from sidecar.cache.leases import ANYWAY, IF_NOT_FRESH, LeaseState, Wanted
from sidecar.cache.origin import backstop
from sidecar.cache.policy import MISS, FromOrigin, Lookup, Outcome
from sidecar.cache.refresh import mean_after
from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import InvalidArgumentError, Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.leases import Asked
    from sidecar.cache.loads import Loads
    from sidecar.cache.origin import Origin, OriginValue
    from sidecar.cache.policy import CachePolicy
    from sidecar.cache.values import ValueCache
    from sidecar.cache.waits import Waits
    from sidecar.telemetry.metrics import Metrics

# What is asked of the store in the background, by nobody's deadline.
STORE_SECONDS = 5.0

# After a load has failed, the entry is not loaded ahead of its time for so long, nor is the origin asked first where
# fail-safe has something to serve: many an origin is back in that time, and to be asked once a second is no load.
_REST_SECONDS = 1.0
_MOST_RESTS = 10_000

# Loads in the background, of one cache in one process; beyond that entries are loaded anew a little later.
_MOST_REFRESHES = 64


class Landing(NamedTuple):
    """What a flight has brought."""

    lookup: Lookup
    """An entry, or a miss: the origin has none."""
    look: int
    """Which of its looks brought it; 0 if none did, and nobody waited any more."""
    left_ms: int = 0
    """For how long it is known that the origin has none."""


_NOWHERE = Landing(MISS, 0)


class Flight:
    """One attempt to have an entry."""

    __slots__ = ("also", "ended", "key", "looks", "name", "passengers", "slow")

    def __init__(self, key: str, also: str) -> None:
        self.key = key
        self.name = b""
        self.also = also
        self.looks = 0
        """How many looks at the store or the origin have begun."""
        self.passengers = 0
        """How many wait for it."""
        self.slow = False
        """Whether the origin was asked, here or by another process."""
        self.ended: asyncio.Future[Landing | SidecarError] = asyncio.get_running_loop().create_future()


class Ticket(NamedTuple):
    """A place in a flight."""

    flight: Flight
    looks: int
    """How many of its looks had begun."""

    def is_for(self, landing: Landing) -> bool:
        """Say whether what it has brought is young enough."""
        return landing.look > self.looks


class LoadMetrics:
    """What is counted of the loads of all caches."""

    def __init__(self, metrics: Metrics) -> None:
        self.loads = metrics.counter(
            "sidecar_cache_origin_loads", "What the origin answered to loads, by cache and outcome.", "cache", "outcome"
        )
        self.seconds = metrics.histogram(
            "sidecar_cache_origin_load_seconds", "How long the origin took to answer loads, by cache.", "cache"
        )
        self.waits = metrics.counter(
            "sidecar_cache_origin_waits", "Reads that waited for the origin to be asked, by cache.", "cache"
        )
        self.refreshes = metrics.counter(
            "sidecar_cache_refreshes", "Loads that were begun in the background, by cache and by why.", "cache", "why"
        )
        self.stale = metrics.counter(
            "sidecar_cache_stale_served", "Stale entries that were served, by cache and by why.", "cache", "why"
        )


class Flights:
    """The loads of one cache."""

    def __init__(
        self,
        *,
        policy: CachePolicy,
        origin: Origin,
        entries: ValueCache,
        loads: Loads,
        waits: Waits,
        metrics: LoadMetrics,
        most_keys: int,
    ) -> None:
        self._policy = policy
        self._origin = origin
        self._entries = entries
        self._loads = loads
        self._leases = loads.leases
        self._waits = waits
        self._most_keys = most_keys
        self._hard_seconds = policy.hard_timeout_ms / 1_000
        self._flights: dict[str, Flight] = {}
        self._setting_off: list[Flight] = []
        self._background = Background(f"loads of {policy.name}")
        self._refreshing = 0
        self._rests: dict[str, float] = {}
        self._cells = {
            outcome: metrics.loads.cell(policy.name, outcome) for outcome in ("loaded", "absent", "failed", "late")
        }
        self._seconds = metrics.seconds.cell(policy.name)
        self.mean_ms = 0.0
        """How long the last loads took; 0 before the first."""

    def begin(self, key: str, also: str = IF_NOT_FRESH) -> Ticket:
        """Return a place in the flight for a key, which sets off after this turn of the event loop if it is new."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(key, also)
            self._queue(flight)
        return Ticket(flight, flight.looks)

    def refresh(self, key: str, also: str = IF_NOT_FRESH) -> bool:
        """Begin to load an entry in the background, and say so.

        It is not begun if it is under way, has failed a moment ago, or too many are.
        """
        if key in self._flights or self._refreshing >= _MOST_REFRESHES or self.rests(key):
            return False
        self._refreshing += 1
        self.begin(key, also).flight.ended.add_done_callback(self._refreshed)
        return True

    def _refreshed(self, _ended: object) -> None:
        self._refreshing -= 1

    def rests(self, key: str) -> bool:
        """Say whether a load of this key has failed a moment ago."""
        until = self._rests.get(key)
        return until is not None and time.monotonic() < until

    @staticmethod
    async def wait(flight: Flight, seconds: float) -> Landing | SidecarError | None:
        """Return what a flight has come to; None if that takes longer."""
        if not flight.ended.done():
            flight.passengers += 1
            try:
                await asyncio.wait((flight.ended,), timeout=seconds)
            finally:
                flight.passengers -= 1
        return flight.ended.result() if flight.ended.done() else None

    async def drain(self, seconds: float) -> None:
        """Let what is under way end, and end it after that time."""
        await self._background.drain(seconds)

    # --- on the way ---

    def _queue(self, flight: Flight) -> None:
        self._setting_off.append(flight)
        if len(self._setting_off) == 1:
            self._background.start(self._set_off())

    async def _set_off(self) -> None:
        flights, self._setting_off = self._setting_off, []
        for begin in range(0, len(flights), self._most_keys):
            self._background.start(self._go(flights[begin : begin + self._most_keys]))

    async def _go(self, flights: Sequence[Flight]) -> None:
        going = list(flights)
        try:
            await self._ask(going)
        except SidecarError as error:
            for flight in going:
                self._end(flight, error)
        except BaseException:
            defect = SidecarError(Reason.INTERNAL, "the load was given up: the sidecar is stopping, or has a defect")
            for flight in going:
                self._end(flight, defect)
            raise

    async def _ask(self, going: list[Flight]) -> None:
        """Ask for the leases, and do what follows; `going` is left with those that are to end with an error."""
        call = Call("cache.load", deadline=after(STORE_SECONDS))
        await self._name(going, call)
        if not going:
            return
        for flight in going:
            flight.looks += 1
        answers = await self._leases.ask([Wanted(flight.name, flight.also) for flight in going], call)
        granted: list[tuple[Flight, Asked]] = []
        for flight, asked in zip(tuple(going), answers, strict=True):
            if not isinstance(asked, SidecarError) and asked.state is LeaseState.GRANTED:
                granted.append((flight, asked))
            else:
                await self._without_lease(flight, asked, call)
                going.remove(flight)
        if granted:
            await self._load(granted)

    async def _name(self, going: list[Flight], call: Call) -> None:
        for flight in tuple(going):
            try:
                flight.name = await self._entries.name(flight.key, call)
            except SidecarError as error:
                going.remove(flight)
                self._end(flight, error)

    async def _without_lease(self, flight: Flight, asked: Asked | SidecarError, call: Call) -> None:
        if isinstance(asked, SidecarError):
            self._end(flight, asked)
        elif asked.state is LeaseState.TAKEN:
            flight.slow = True
            self._background.start(self._follow(flight, asked.left_ms))
        elif asked.state is LeaseState.ABSENT:
            self._end(flight, Landing(MISS, flight.looks, asked.left_ms))
        else:
            await self._read(flight, asked.entry, call)

    async def _read(self, flight: Flight, entry: bytes | None, call: Call) -> None:
        """End with the entry that is there and fresh, if it can be read.

        What has turned stale on the way is asked for once more, as that version: only what cannot be read is loaded
        although a change of it is pending, of which the origin does not know.
        """
        look = flight.looks
        try:
            lookup = await self._entries.judged(flight.name, entry, call)
        except SidecarError as error:
            self._end(flight, error)
            return
        if lookup.outcome is Outcome.HIT:
            self._end(flight, Landing(lookup, look))
        else:
            version = self._entries.stale_version(entry)
            flight.also = ANYWAY if version is None else str(version)
            self._queue(flight)

    async def _follow(self, flight: Flight, left_ms: int) -> None:
        """Wait for who loads the entry, for as long as somebody waits for it here."""
        try:
            await self._waits.wait(self._leases.load_key(flight.name), left_ms / 1_000)
        except BaseException:
            self._end(flight, _NOWHERE)
            raise
        if flight.passengers:
            flight.also = IF_NOT_FRESH
            self._queue(flight)
        else:
            self._end(flight, _NOWHERE)

    async def _load(self, granted: Sequence[tuple[Flight, Asked]]) -> None:
        for flight, _ in granted:
            flight.looks += 1
            flight.slow = True
        call = Call("cache.load", deadline=after(self._hard_seconds))
        began = time.monotonic()
        results: Sequence[OriginValue | SidecarError | None]
        try:
            async with asyncio.timeout(backstop(self._hard_seconds)):
                results = await self._origin.load([flight.key for flight, _ in granted], call)
        except TimeoutError:
            results = [timed_out(self._origin.name)] * len(granted)
        except SidecarError as error:
            results = [error] * len(granted)
        seconds = time.monotonic() - began
        self._seconds.observe(seconds)
        self.mean_ms = mean_after(self.mean_ms, seconds * 1_000)
        await asyncio.gather(
            *(self._settle(flight, asked, result) for (flight, asked), result in zip(granted, results, strict=True))
        )

    async def _settle(self, flight: Flight, asked: Asked, result: OriginValue | SidecarError | None) -> None:
        """Keep what the origin has answered for one key, and end its flight."""
        call = Call("cache.load", deadline=after(STORE_SECONDS))
        look, token = flight.looks, asked.token
        if isinstance(result, SidecarError):
            await self._fail(flight, token, result, call)
            return
        self._rests.pop(flight.key, None)
        if result is None:
            self._cells["absent"].value += 1
            with suppress(SidecarError):  # it is right all the same for who has asked
                await self._loads.end(flight.key, token, call, absent=True)
            self._end(flight, Landing(MISS, look, self._policy.negative_ttl_ms))
            return
        ttl_ms = None if result.ttl_ms is None else min(result.ttl_ms, self._policy.max_ttl_ms)
        lookup = FromOrigin(Outcome.HIT, result.value, 0, 0, 0)
        try:
            filled = await self._loads.fill(flight.key, token, result.value, ttl_ms, call, tags=result.tags)
            lookup = lookup._replace(version=filled.version, ttl_ms=filled.ttl_ms)
            self._cells["loaded"].value += 1
        except SidecarError as error:
            if isinstance(error, InvalidArgumentError) or error.reason is Reason.UNSUPPORTED_BY_CACHE:
                text = f"the origin's answer cannot be kept: {error.message}"
                wrong = SidecarError(Reason.ORIGIN_ANSWER, text, metadata={"origin": self._origin.name})
                await self._fail(flight, token, wrong, call)
                return
            self._cells["late"].value += 1  # or the store is gone; who has asked has a right answer
        self._end(flight, Landing(lookup, look))

    async def _fail(self, flight: Flight, token: str, error: SidecarError, call: Call) -> None:
        self._cells["failed"].value += 1
        self._rest(flight.key)
        with suppress(SidecarError):  # then the lease ends by itself
            await self._loads.end(flight.key, token, call, absent=False)
        self._end(flight, error)

    def _rest(self, key: str) -> None:
        self._rests.pop(key, None)
        if len(self._rests) >= _MOST_RESTS:
            del self._rests[next(iter(self._rests))]
        self._rests[key] = time.monotonic() + _REST_SECONDS

    def _end(self, flight: Flight, end: Landing | SidecarError) -> None:
        if not flight.ended.done():
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            flight.ended.set_result(end)


def timed_out(origin: str) -> SidecarError:
    """Return the error of an origin that has not answered in its time."""
    return SidecarError(Reason.ORIGIN_TIMED_OUT, "the origin has not answered in its time", metadata={"origin": origin})
