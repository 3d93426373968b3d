"""The future of a reply: as asyncio's own in all but when its awaiter goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sidecar.store.reply_future import ReplyFuture

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
async def future() -> ReplyFuture:
    """Return a future of the running loop."""
    return ReplyFuture(asyncio.get_running_loop())


async def in_a_callback(work: Callable[[], object]) -> None:
    """Do something where the event loop's callbacks run, with no task under way."""
    done = asyncio.Event()

    def call() -> None:
        work()
        done.set()

    asyncio.get_running_loop().call_soon(call)
    await done.wait()


async def awaiting(future: ReplyFuture, log: list[Any]) -> Any:
    """Note a result as soon as it is there."""
    reply = await future
    log.append(reply)
    return reply


async def test_its_awaiter_goes_on_at_once(future: ReplyFuture) -> None:
    """Before `deliver` returns."""
    log: list[Any] = []
    task = asyncio.create_task(awaiting(future, log))
    await asyncio.sleep(0)

    def deliver() -> None:
        future.deliver(b"reply")
        log.append("delivered")

    await in_a_callback(deliver)
    assert [b"reply", "delivered"] == log
    assert b"reply" == await task


async def test_all_awaiters_get_the_reply(future: ReplyFuture) -> None:
    """There may be more than one."""
    log: list[Any] = []
    tasks = [asyncio.create_task(awaiting(future, log)) for _ in range(3)]
    await asyncio.sleep(0)
    await in_a_callback(lambda: future.deliver(1))
    assert [1, 1, 1] == await asyncio.gather(*tasks)


async def test_a_reply_that_is_there_needs_no_waiting(future: ReplyFuture) -> None:
    """It is returned at once."""
    future.deliver(1)
    assert (1, True) == (await future, future.done())


async def test_a_result_may_come_from_within_a_task(future: ReplyFuture) -> None:
    """Then its awaiter goes on in the loop's next turn."""
    log: list[Any] = []
    task = asyncio.create_task(awaiting(future, log))
    await asyncio.sleep(0)
    future.set_result(1)
    assert [] == log
    assert 1 == await task


async def test_an_exception_is_raised(future: ReplyFuture) -> None:
    """To every awaiter."""
    task = asyncio.create_task(awaiting(future, []))
    await asyncio.sleep(0)
    future.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await task
    assert isinstance(future.exception(), ValueError)


async def test_a_cancelled_awaiter_cancels_it(future: ReplyFuture) -> None:
    """And what comes later is thrown away."""
    task = asyncio.create_task(awaiting(future, []))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    future.deliver(b"late")
    assert (True, False) == (future.cancelled(), future.cancel())


async def test_asyncio_takes_it_as_a_future(future: ReplyFuture) -> None:
    """`isfuture`, `wait`, `shield` and `timeout`."""
    assert asyncio.isfuture(future)
    await asyncio.wait([future], timeout=0.001)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.shield(future)
    assert not future.done()
    await in_a_callback(lambda: future.deliver(2))
    assert 2 == await asyncio.shield(future)


async def test_callbacks_can_be_removed(future: ReplyFuture) -> None:
    """As from any future."""
    log: list[Any] = []
    future.add_done_callback(log.append)
    assert 1 == future.remove_done_callback(log.append)
    future.deliver(1)
    assert [] == log


async def test_a_callback_that_comes_too_late_is_called_all_the_same(future: ReplyFuture) -> None:
    """In the loop's next turn."""
    future.deliver(1)
    log: list[Any] = []
    future.add_done_callback(log.append)
    await asyncio.sleep(0)
    assert [future] == log


async def test_a_callback_that_fails_harms_no_other(future: ReplyFuture) -> None:
    """The event loop is told, as of any callback that fails."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    log: list[Any] = []

    def fail(_: object) -> None:
        raise ValueError("no")

    future.add_done_callback(fail)
    future.add_done_callback(log.append)
    await in_a_callback(lambda: future.deliver(1))
    assert ([future], ["ValueError"]) == (log, [type(context["exception"]).__name__ for context in told])


async def test_it_ends_once(future: ReplyFuture) -> None:
    """A second result is a defect, and the first stays."""
    future.set_result(1)
    with pytest.raises(asyncio.InvalidStateError):
        future.set_result(2)
    assert 1 == future.result()


async def test_there_is_no_result_before_the_end(future: ReplyFuture) -> None:
    """Nor an exception."""
    with pytest.raises(asyncio.InvalidStateError):
        future.result()
    with pytest.raises(asyncio.InvalidStateError):
        future.exception()
