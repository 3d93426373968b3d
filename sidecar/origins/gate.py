"""The gate before an origin: how many calls at a time, for how long, and whether at all.

Each exchange with an origin goes through its gate, whatever the kind. The breaker is asked first, so that what would
fail fails at once; then there is a wait for room, in the order of arrival and as long as the call has; then the breaker
is asked again, since it may have opened meanwhile. The exchange has the origin's `timeout` or what is left of the
call's deadline, whichever is less. The wait for room is not part of `timeout`: behind a slow origin the callers wait,
and see it; they do not stop earlier and earlier until none gets through.

When the time is up, the exchange is cancelled; what that means depends on how far it was. An exchange that changes
something says so (`Exchange.is_sent`) just before it does what may have an effect: up to there nothing was changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from sidecar.cache.origin import blames_configuration
from sidecar.clock import remaining
from sidecar.errors import Reason, SidecarError
from sidecar.origins.breaker import Breaker, BreakerPolicy, State
from sidecar.origins.failures import AnotherWayError, LostError, busy, outcome_unknown, timed_out, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from sidecar.call import Call
    from sidecar.telemetry.metrics import Metrics

T = TypeVar("T")
_log = logging.getLogger("sidecar.origins")

# These come from an origin that is there. So does what blames the configuration: what other caches ask may be fine.
_ANSWERED: Final = frozenset({Reason.ORIGIN_REFUSED, Reason.ORIGIN_ANSWER})
# A caller that gives the origin no fair share of its time learns nothing about it.
_FAIR_SHARE: Final = 0.5

_OUTCOMES: Final = {
    Reason.ORIGIN_UNAVAILABLE: "unavailable",
    Reason.ORIGIN_TIMED_OUT: "timed_out",
    Reason.ORIGIN_REFUSED: "refused",
    Reason.ORIGIN_ANSWER: "bad_answer",
    Reason.ORIGIN_BUSY: "busy",
    Reason.ORIGIN_OUTCOME_UNKNOWN: "outcome_unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """The bounds of an origin's calls."""

    name: str
    timeout: float
    """Seconds."""
    max_concurrency: int
    breaker: BreakerPolicy


class OriginMetrics:
    """What is counted of all origins."""

    def __init__(self, metrics: Metrics) -> None:
        self.calls = metrics.counter(
            "sidecar_origin_calls", "Calls of origins, by origin and by how they ended.", "origin", "outcome"
        )
        self.seconds = metrics.histogram(
            "sidecar_origin_call_seconds", "Time that origins take for a call, waits for room left out.", "origin"
        )
        self.gates: list[Gate] = []
        metrics.gauge(
            "sidecar_origin_in_flight",
            "Calls of origins under way.",
            lambda: {(gate.name,): gate.in_flight for gate in self.gates},
            "origin",
        )
        metrics.gauge(
            "sidecar_origin_breakers_open",
            "Processes that leave an origin alone because it failed.",
            lambda: {(gate.name,): gate.state is not State.CLOSED for gate in self.gates},
            "origin",
        )


class Exchange:
    """One exchange with an origin, as far as it has come."""

    __slots__ = ("deadline", "is_sent")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        """The moment, on the monotonic clock, at which it is given up."""
        self.is_sent = False
        """Whether something may have been changed."""


class Gate:
    """The gate of one origin; all caches that have their values there share it."""

    def __init__(self, policy: GatePolicy, metrics: OriginMetrics, draw: Callable[[], float]) -> None:
        self.name = policy.name
        self.in_flight = 0
        self._policy = policy
        self._breaker = Breaker(policy.breaker, draw)
        self._room = asyncio.Semaphore(policy.max_concurrency)
        self._cells = {outcome: metrics.calls.cell(policy.name, outcome) for outcome in ("ok", *_OUTCOMES.values())}
        self._left = metrics.calls.cell(policy.name, "breaker_open")
        self._cancelled = metrics.calls.cell(policy.name, "cancelled")
        self._seconds = metrics.seconds.cell(policy.name)
        metrics.gates.append(self)

    @property
    def state(self) -> State:
        """What its breaker does with calls."""
        return self._breaker.state

    async def load(self, work: Callable[[Exchange], Awaitable[T]], call: Call, seconds: float | None = None) -> T:
        """Have an origin asked for something. After a lost connection it is asked once more, over another.

        It may take `seconds`, or the origin's `timeout`. Raises `SidecarError` with one of the reasons ORIGIN_...
        """
        return await self._pass(work, call, seconds or self._policy.timeout, is_change=False)

    async def change(self, work: Callable[[Exchange], Awaitable[T]], call: Call) -> T:
        """Have something changed, within the same bounds and with the same errors.

        What ends before `Exchange.is_sent` is set changed nothing, and is repeated once after a lost connection.
        """
        return await self._pass(work, call, self._policy.timeout, is_change=True)

    async def _pass(
        self, work: Callable[[Exchange], Awaitable[T]], call: Call, most_seconds: float, *, is_change: bool
    ) -> T:
        wait = self._breaker.wait(time.monotonic())
        if wait > 0:
            raise self._left_alone(wait)
        async with self._slot(call):
            now = time.monotonic()
            leave = self._breaker.begin(now)
            if leave is None:
                raise self._left_alone(self._breaker.wait(now))
            return await self._timed(work, call, leave, most_seconds, is_change=is_change)

    def _left_alone(self, wait: float) -> SidecarError:
        self._left.value += 1
        return unavailable(self.name, "has failed again and again, and is left alone for a while", int(wait * 1000))

    @asynccontextmanager
    async def _slot(self, call: Call) -> AsyncGenerator[None, None]:
        """Wait for room as long as the call has."""
        try:
            if self._room.locked():
                async with asyncio.timeout(_bounded(remaining(call.deadline))):
                    await self._room.acquire()
            else:
                await self._room.acquire()
        except TimeoutError:
            self._cells["busy"].value += 1
            raise busy(self.name, self._policy.max_concurrency) from None
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._room.release()

    async def _timed(
        self,
        work: Callable[[Exchange], Awaitable[T]],
        call: Call,
        leave: int,
        most_seconds: float,
        *,
        is_change: bool,
    ) -> T:
        begun = time.monotonic()
        seconds = min(most_seconds, remaining(call.deadline))
        exchange = Exchange(begun + seconds)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._attempted(work, exchange)
        except TimeoutError:
            if seconds >= self._policy.timeout * _FAIR_SHARE:
                self._fail(leave)
            else:
                self._breaker.abandon(leave)
            raise self._counted(self._late(exchange, is_change=is_change)) from None
        except SidecarError as error:
            if error.reason in _ANSWERED or blames_configuration(error):
                self._succeed(leave)
            else:
                self._fail(leave)
            raise self._counted(error) from None
        except AnotherWayError:
            self._succeed(leave)
            raise
        except asyncio.CancelledError:
            self._breaker.abandon(leave)
            self._cancelled.value += 1
            raise
        except BaseException:
            self._fail(leave)
            raise
        finally:
            self._seconds.observe(time.monotonic() - begun)
        self._succeed(leave)
        self._cells["ok"].value += 1
        return answer

    async def _attempted(self, work: Callable[[Exchange], Awaitable[T]], exchange: Exchange) -> T:
        try:
            return await work(exchange)
        except LostError:
            pass
        try:
            return await work(exchange)
        except LostError as lost:
            raise unavailable(self.name, lost.what) from None

    def _late(self, exchange: Exchange, *, is_change: bool) -> SidecarError:
        if not is_change:
            return timed_out(self.name)
        return (
            outcome_unknown(self.name) if exchange.is_sent else unavailable(self.name, "has not answered in its time")
        )

    def _succeed(self, leave: int) -> None:
        before = self._breaker.state
        self._breaker.succeed(leave)
        if self._breaker.state is not before:
            _log.info("the origin %s answers again", self.name)

    def _fail(self, leave: int) -> None:
        before = self._breaker.state
        self._breaker.fail(leave, time.monotonic())
        if before is State.CLOSED and self._breaker.state is State.OPEN:
            _log.warning("the origin %s has failed again and again, and is left alone for a while", self.name)

    def _counted(self, error: SidecarError) -> SidecarError:
        outcome = _OUTCOMES.get(error.reason)
        if outcome is not None:
            self._cells[outcome].value += 1
        return error


def _bounded(seconds: float) -> float | None:
    """Return the seconds for a timer; None for no bound."""
    return None if seconds == float("inf") else seconds
