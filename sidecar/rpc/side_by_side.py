"""Answers to the messages of a stream, worked out side by side and given out as they finish.

One task reads, one works on each message, and the generator gives out what is done. A message holds its slot from when
it is read until its answer has been taken, so a caller who does not read his answers is soon not read from either, and
one who sends faster than the store works fills the transport's window and waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


async def side_by_side(
    requests: AsyncIterator[RequestT], answer: Callable[[RequestT], Coroutine[Any, Any, AnswerT]], *, most: int
) -> AsyncGenerator[AnswerT, None]:
    """Yield the answer to each request when it is there; at most `most` requests are held at a time.

    Ends once all requests have been answered. What reading or answering raises ends it at once; what is under way then,
    or when the generator is closed, is cancelled.
    """
    done: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
    slots = asyncio.Semaphore(most)
    under_way: set[asyncio.Task[Any]] = set()

    def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        under_way.add(task)
        task.add_done_callback(done.put_nowait)
        return task

    async def read() -> None:
        await slots.acquire()
        async for request in requests:
            start(answer(request))
            await slots.acquire()

    reader = start(read())
    try:
        while under_way:
            task = await done.get()
            under_way.discard(task)
            result = task.result()
            if task is not reader:
                yield result
                slots.release()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
