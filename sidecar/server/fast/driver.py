"""Runs a coroutine without a task.

Problem. A task costs a callback of the event loop before its coroutine's first line and one after its last, and most
calls wait once, for the store, or not at all. That was a fifth of a call's whole cost.

Algorithm. `Driver.start` runs the coroutine at once, until it waits; then the driver is a callback of the future that
it waits for, and so on. To the coroutine the driver is its task: `asyncio.current_task()` returns it, so
`asyncio.timeout` and whatever else asks for a task's own methods work as ever. Every call of a connection runs in the
same context: context variables are not for handlers to set.

Differences from `asyncio.Task`: nobody can await it; `start` runs in the caller's turn; it is not in `all_tasks()`, so
a loop's end does not wait for it (the engine does).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from asyncio import tasks
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

_enter: Callable[[asyncio.AbstractEventLoop, Any], None] = tasks._enter_task  # noqa: SLF001 (made for other implementations of tasks)
_leave: Callable[[asyncio.AbstractEventLoop, Any], None] = tasks._leave_task  # noqa: SLF001 (as above)


class Driver(ABC):
    """One coroutine on its way. A subclass says what becomes of its end."""

    __slots__ = ("_cancelling", "_context", "_coroutine", "_fault", "_loop", "_must_cancel", "_waiting", "running")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._waiting: Any = None
        self._must_cancel = False
        self._fault: RuntimeError | None = None
        self._cancelling = 0
        self.running = False
        """Whether the coroutine has begun and not ended."""

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine until it first waits."""
        self._coroutine = coroutine
        self.running = True
        self._context.run(self._step)

    @abstractmethod
    def returned(self, value: Any) -> None:
        """Take the coroutine's result."""

    @abstractmethod
    def raised(self, error: BaseException) -> None:
        """Take the exception that ended it; `CancelledError` where it was cancelled."""

    # --- as a task has them ---

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002 (the signature of tasks)
        """Have `CancelledError` raised where the coroutine waits."""
        if not self.running:
            return False
        self._cancelling += 1
        if self._waiting is not None and self._waiting.cancel():
            return True
        self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """Return how many cancellations are under way."""
        return self._cancelling

    def uncancel(self) -> int:
        """Note that a cancellation was dealt with; return how many are left."""
        if self._cancelling:
            self._cancelling -= 1
            if not self._cancelling:
                self._must_cancel = False
        return self._cancelling

    def done(self) -> bool:
        """Return whether the coroutine has ended."""
        return not self.running

    def get_name(self) -> str:
        """Return a name for log lines."""
        return "call"

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    # --- inside ---

    def _step(self, waited: Any = None) -> None:  # noqa: ARG002 (a future's callback gets the future)
        """Go on until the coroutine waits again or ends."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        loop = self._loop
        self._waiting = None
        _enter(loop, self)
        try:
            if self._fault is not None:
                fault, self._fault = self._fault, None
                yielded = coroutine.throw(fault)
            elif self._must_cancel:
                self._must_cancel = False
                yielded = coroutine.throw(asyncio.CancelledError())
            else:
                yielded = coroutine.send(None)
        except StopIteration as stop:
            _leave(loop, self)
            self._coroutine = None
            self.running = False
            self.returned(stop.value)
            return
        except (KeyboardInterrupt, SystemExit):
            _leave(loop, self)
            self._coroutine = None
            self.running = False
            raise
        except BaseException as error:  # noqa: BLE001 (handed on)
            _leave(loop, self)
            self._coroutine = None
            self.running = False
            self.raised(error)
            return
        _leave(loop, self)
        if yielded is None:  # asyncio.sleep(0)
            loop.call_soon(self._step, context=self._context)
            return
        # What a future yields of itself (asyncio.Future.__await__).
        if getattr(yielded, "_asyncio_future_blocking", None) is not True:
            self._fault = RuntimeError(f"a coroutine of a call waits for what is no future: {type(yielded).__name__}")
            loop.call_soon(self._step, context=self._context)
            return
        yielded._asyncio_future_blocking = False  # noqa: SLF001 (the protocol between futures and tasks)
        yielded.add_done_callback(self._step, context=self._context)
        self._waiting = yielded
        if self._must_cancel and yielded.cancel():
            self._must_cancel = False
