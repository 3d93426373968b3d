"""A future whose awaiter goes on at once.

`asyncio.Future.set_result` asks the event loop to wake the awaiter in its next turn. For a reply that comes straight
from the socket, while nobody else runs, that turn is waste, and a lone caller waits for it. `deliver` runs the
callbacks then and there. Everything else (a failure, a cancellation, which may come from within another task) goes
through the loop as it does for any future.

It follows the protocol between futures and tasks (`_asyncio_future_blocking`), so tasks, `asyncio.wait` and the like
take it as one of theirs.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context

_PENDING, _RETURNED, _RAISED, _CANCELLED = 0, 1, 2, 3


class ReplyFuture:
    """The reply to come."""

    __slots__ = ("_asyncio_future_blocking", "_callbacks", "_loop", "_outcome", "_state")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._state = _PENDING
        self._outcome: Any = None
        self._callbacks: list[tuple[Callable[[Any], object], Context]] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        if self._state == _PENDING:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def deliver(self, reply: Any) -> None:
        """Set the result and let whoever awaits it go on now. Only for callbacks of the event loop: no task may run."""
        if self._state != _PENDING:
            return
        self._state = _RETURNED
        self._outcome = reply
        callbacks = self._callbacks
        if callbacks is not None:
            self._callbacks = None
            for callback, context in callbacks:
                try:
                    context.run(callback, self)
                except Exception as error:  # noqa: BLE001 (as a future's callbacks: one must not harm the others)
                    self._loop.call_exception_handler(
                        {"message": "a callback of a reply failed", "exception": error, "future": self}
                    )

    # --- as asyncio.Future has them ---

    def set_result(self, result: Any) -> None:
        """Set the result; whoever awaits it goes on in the loop's next turn."""
        self._end(_RETURNED, result)

    def set_exception(self, exception: BaseException) -> None:
        """Set the exception."""
        self._end(_RAISED, exception)

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002 (the signature of futures)
        """Cancel; return False if it is too late."""
        if self._state != _PENDING:
            return False
        self._end(_CANCELLED, None)
        return True

    def done(self) -> bool:
        """Return whether there is a result, an exception or a cancellation."""
        return self._state != _PENDING

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self._state == _CANCELLED

    def result(self) -> Any:
        """Return the result, or raise what there is instead."""
        if self._state == _RETURNED:
            return self._outcome
        if self._state == _RAISED:
            raise self._outcome
        if self._state == _CANCELLED:
            raise asyncio.CancelledError
        raise asyncio.InvalidStateError("no reply has come")

    def exception(self) -> BaseException | None:
        """Return the exception, None where there is a result."""
        if self._state == _RAISED:
            failure: BaseException = self._outcome
            return failure
        self.result()
        return None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Have a callback called with this future once it is done."""
        entry = (callback, copy_context() if context is None else context)
        if self._state != _PENDING:
            self._loop.call_soon(callback, self, context=entry[1])
        elif self._callbacks is None:
            self._callbacks = [entry]
        else:
            self._callbacks.append(entry)

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Forget a callback; return how often it was there."""
        before = self._callbacks or []
        self._callbacks = [entry for entry in before if entry[0] != callback]
        return len(before) - len(self._callbacks)

    # --- inside ---

    def _end(self, state: int, outcome: Any) -> None:
        if self._state != _PENDING:
            raise asyncio.InvalidStateError("the future is done already")
        self._state = state
        self._outcome = outcome
        callbacks, self._callbacks = self._callbacks, None
        for callback, context in callbacks or ():
            self._loop.call_soon(callback, self, context=context)
