"""Coroutines without tasks: to the coroutine the driver is its task."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import pytest

from sidecar.server.fast.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Recorder(Driver):
    """A driver that remembers its end."""

    __slots__ = ("ended", "error", "value")

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop(), contextvars.copy_context())
        self.ended = asyncio.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def returned(self, value: Any) -> None:
        """Remember a result."""
        self.value = value
        self.ended.set()

    def raised(self, error: BaseException) -> None:
        """Remember an exception."""
        self.error = error
        self.ended.set()


async def drive(make: Callable[[], Coroutine[Any, Any, Any]]) -> Recorder:
    """Start a coroutine where the event loop's callbacks run, and return its driver."""
    driver = Recorder()
    asyncio.get_running_loop().call_soon(lambda: driver.start(make()))
    await asyncio.sleep(0)
    return driver


async def test_a_coroutine_that_waits_for_nothing_ends_at_once() -> None:
    """Within `start`."""

    async def work() -> int:
        return 7

    driver = await drive(work)
    assert (True, 7, False) == (driver.ended.is_set(), driver.value, driver.running)


async def test_it_waits_for_futures_sleeps_and_tasks() -> None:
    """Whatever a task could wait for."""

    async def work() -> list[int]:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return await asyncio.gather(*(asyncio.sleep(0.001, number) for number in range(3)))

    driver = await drive(work)
    await driver.ended.wait()
    assert [0, 1, 2] == driver.value


async def test_an_exception_is_handed_on() -> None:
    """Also one that is raised after a wait."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    driver = await drive(work)
    await driver.ended.wait()
    assert isinstance(driver.error, ValueError)


async def test_it_is_the_current_task() -> None:
    """While the coroutine runs, and only then."""
    seen: list[Any] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    driver = await drive(work)
    await driver.ended.wait()
    assert ([driver, driver], False) == (seen, isinstance(asyncio.current_task(), Recorder))


async def test_time_outs_work() -> None:
    """`asyncio.timeout` cancels the task that entered it, and takes the cancellation back."""

    async def work() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(10)
        except TimeoutError:
            await asyncio.sleep(0)
            return "late"
        return "in time"

    driver = await drive(work)
    await driver.ended.wait()
    assert ("late", 0) == (driver.value, driver.cancelling())


async def test_a_cancellation_is_raised_where_it_waits() -> None:
    """And may be dealt with on the way."""
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    driver = await drive(work)
    assert driver.cancel()
    await driver.ended.wait()
    assert (True, True) == (cleaned.is_set(), isinstance(driver.error, asyncio.CancelledError))


async def test_a_cancellation_from_within_waits_for_the_next_wait() -> None:
    """As with tasks."""

    async def work() -> str:
        task: Any = asyncio.current_task()
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "cancelled"
        return "went on"

    driver = await drive(work)
    await driver.ended.wait()
    assert "cancelled" == driver.value


async def test_what_has_ended_cannot_be_cancelled() -> None:
    """Nothing happens."""
    driver = await drive(_nothing)
    assert (True, False) == (driver.done(), driver.cancel())


async def test_waiting_for_what_is_no_future_is_an_error() -> None:
    """It is raised in the coroutine, as a task would."""

    class Bad:
        def __await__(self) -> Any:
            yield "not a future"

    async def work() -> None:
        await Bad()

    driver = await drive(work)
    await driver.ended.wait()
    assert isinstance(driver.error, RuntimeError)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
async def test_an_end_of_the_program_goes_through(stop: type[BaseException]) -> None:
    """To whoever started it."""

    async def work() -> None:
        raise stop

    driver = Recorder()
    caught: list[type[BaseException]] = []

    def start() -> None:
        try:
            driver.start(work())
        except (KeyboardInterrupt, SystemExit) as error:
            caught.append(type(error))

    asyncio.get_running_loop().call_soon(start)
    await asyncio.sleep(0)
    assert ([stop], False) == (caught, driver.running)


async def _nothing() -> None:
    return
