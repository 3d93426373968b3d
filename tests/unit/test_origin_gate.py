"""The gate before an origin: room, time and the breaker, whatever the origin is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.origins import call_within, gate_policy

from sidecar.errors import Reason, SidecarError
from sidecar.origins.breaker import State
from sidecar.origins.failures import AnotherWayError, LostError, bad_answer, refused, unavailable
from sidecar.origins.gate import Exchange, Gate, OriginMetrics
from sidecar.telemetry.metrics import Counter, Gauge, Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Work = Callable[[Exchange], Awaitable[str]]


class Gated:
    """A gate with its metrics."""

    def __init__(self, *, timeout: float = 30.0, max_concurrency: int = 1, failures: int = 3) -> None:
        self.metrics = Metrics()
        policy = gate_policy(timeout=timeout, max_concurrency=max_concurrency, failures=failures)
        self.gate = Gate(policy, OriginMetrics(self.metrics), lambda: 0.0)

    async def reason(self, work: Work, seconds: float | None = None, *, is_change: bool = False) -> Reason | None:
        """Return how a call fails; None if it does not."""
        try:
            await (self.gate.change if is_change else self.gate.load)(work, call_within(seconds))
        except SidecarError as error:
            return error.reason
        return None

    def outcomes(self) -> dict[str, int]:
        """Return what was counted."""
        family = self.metrics.families["sidecar_origin_calls"]
        assert isinstance(family, Counter)
        return {outcome: cell.value for (_, outcome), cell in family.cells.items() if cell.value}

    def gauge(self, name: str) -> float:
        """Return a gauge's reading."""
        family = self.metrics.families[name]
        assert isinstance(family, Gauge)
        return family.read()[("home",)]


async def answers(_exchange: Exchange) -> str:
    """Answer at once."""
    return "v"


async def hangs(_exchange: Exchange) -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return "never"


def failing(error: Exception) -> Work:
    """Return work that fails so."""

    async def work(_exchange: Exchange) -> str:
        raise error

    return work


async def test_an_answer_comes_through() -> None:
    """And is counted, with its time."""
    gated = Gated()
    assert "v" == await gated.gate.load(answers, call_within())
    assert {"ok": 1} == gated.outcomes()


async def test_a_call_waits_for_room_as_long_as_it_has() -> None:
    """Beyond `max_concurrency` callers wait; at their deadline they are told that the origin is busy, and to wait."""
    gated = Gated()
    first = asyncio.ensure_future(gated.gate.load(hangs, call_within()))
    await asyncio.sleep(0)
    with pytest.raises(SidecarError) as caught:
        await gated.gate.load(answers, call_within(0.05))
    assert (Reason.ORIGIN_BUSY, True) == (caught.value.reason, bool(caught.value.retry_after_ms))
    second = asyncio.ensure_future(gated.gate.load(answers, call_within(30)))
    await asyncio.sleep(0)
    assert 1.0 == gated.gauge("sidecar_origin_in_flight")
    first.cancel()
    assert "v" == await second
    assert 0.0 == gated.gauge("sidecar_origin_in_flight")
    assert {"ok": 1, "busy": 1, "cancelled": 1} == gated.outcomes()


async def test_no_more_than_may_be_are_under_way() -> None:
    """Of many callers at once only so many are with the origin."""
    gated, under_way, most = Gated(max_concurrency=3), 0, 0

    async def counted(_exchange: Exchange) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return "v"

    await asyncio.gather(*(gated.gate.load(counted, call_within()) for _ in range(20)))
    assert 3 == most


async def test_the_origins_timeout_ends_a_call() -> None:
    """Without a deadline too."""
    gated = Gated(timeout=0.05)
    assert Reason.ORIGIN_TIMED_OUT is await gated.reason(hangs)


async def test_the_deadline_ends_a_call() -> None:
    """Before the origin's timeout, which is longer."""
    assert Reason.ORIGIN_TIMED_OUT is await Gated().reason(hangs, 0.05)


async def test_a_late_change_that_was_not_sent() -> None:
    """It was not made: the origin is unavailable."""
    assert Reason.ORIGIN_UNAVAILABLE is await Gated(timeout=0.05).reason(hangs, is_change=True)


async def test_a_late_change_that_was_sent() -> None:
    """Nobody knows whether it was made."""

    async def sends(exchange: Exchange) -> str:
        exchange.is_sent = True
        return await hangs(exchange)

    assert Reason.ORIGIN_OUTCOME_UNKNOWN is await Gated(timeout=0.05).reason(sends, is_change=True)


async def test_a_lost_connection_is_tried_once_more() -> None:
    """Twice lost, the origin is unavailable."""
    gated, attempts = Gated(), 0

    async def loses(_exchange: Exchange) -> str:
        nonlocal attempts
        attempts += 1
        if attempts in {1, 3, 4}:
            raise LostError
        return "v"

    assert await gated.reason(loses) is None
    assert Reason.ORIGIN_UNAVAILABLE is await gated.reason(loses)
    assert 4 == attempts


async def test_failures_open_the_breaker() -> None:
    """Then calls fail at once, with the time until another one may pass; after it, one succeeds and all may again."""
    gated = Gated()
    for _ in range(3):
        await gated.reason(failing(unavailable("home", "is down")))
    assert (State.OPEN, 1.0) == (gated.gate.state, gated.gauge("sidecar_origin_breakers_open"))
    with pytest.raises(SidecarError) as caught:
        await gated.gate.load(answers, call_within())
    assert Reason.ORIGIN_UNAVAILABLE is caught.value.reason
    assert 0 < (caught.value.retry_after_ms or 0) <= 50
    await asyncio.sleep(0.06)
    assert await gated.reason(answers) is None
    assert 0.0 == gated.gauge("sidecar_origin_breakers_open")
    assert {"unavailable": 3, "breaker_open": 1, "ok": 1} == gated.outcomes()


async def test_while_one_call_tries_others_do_not() -> None:
    """Half-open, the second caller is told to come back soon."""
    gated = Gated(max_concurrency=2)
    for _ in range(3):
        await gated.reason(failing(unavailable("home", "is down")))
    await asyncio.sleep(0.06)
    probe = asyncio.ensure_future(gated.gate.load(hangs, call_within()))
    await asyncio.sleep(0)
    assert Reason.ORIGIN_UNAVAILABLE is await gated.reason(answers)
    probe.cancel()
    await asyncio.wait([probe])
    assert await gated.reason(answers) is None


async def test_who_waits_for_room_is_not_let_to_an_origin_that_fails_meanwhile() -> None:
    """The breaker is asked again once there is room."""
    gated, released = Gated(failures=1), asyncio.Event()

    async def fails_later(_exchange: Exchange) -> str:
        await released.wait()
        raise unavailable("home", "is down")

    first = asyncio.ensure_future(gated.reason(fails_later))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(gated.reason(answers))
    await asyncio.sleep(0)
    released.set()
    assert {Reason.ORIGIN_UNAVAILABLE} == {await first, await second}
    assert {"unavailable": 1, "breaker_open": 1} == gated.outcomes()


@pytest.mark.parametrize(
    "error", [refused("home", "404"), bad_answer("home", "answers nonsense"), AnotherWayError()], ids=repr
)
async def test_what_answers_is_there(error: Exception) -> None:
    """Refusals and wrong answers do not open the breaker."""
    gated = Gated()
    for _ in range(10):
        with pytest.raises(type(error)):
            await gated.gate.load(failing(error), call_within())
    assert State.CLOSED is gated.gate.state


async def test_a_caller_in_a_hurry_says_nothing_about_the_origin() -> None:
    """Calls that had less than half of the origin's time do not open the breaker; those that had more do."""
    gated = Gated(timeout=0.2)
    for _ in range(5):
        await gated.reason(hangs, 0.01)
    seen = [gated.gate.state]
    for _ in range(3):
        await gated.reason(hangs, 0.15)
    assert [State.CLOSED, State.OPEN] == [*seen, gated.gate.state]


async def test_a_defect_is_passed_on() -> None:
    """It counts as a failure, and its place is free again."""
    gated = Gated()
    with pytest.raises(ZeroDivisionError):
        await gated.gate.load(failing(ZeroDivisionError()), call_within())
    assert await gated.reason(answers) is None
