"""Every failure leaves as a status that the protocol knows, and says nothing that must not be said.

An exception that nobody meant to raise is a defect. Its text may quote a value, so neither the caller nor the log
gets it: the log has the exception's type and where it was raised.
"""

from __future__ import annotations

import logging
import traceback
from contextlib import aclosing
from typing import TYPE_CHECKING

from sidecar.call import StatusError
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from sidecar.call import Call, StreamEndpoint, UnaryEndpoint

_log = logging.getLogger("sidecar.calls")


class ErrorInterceptor:
    """Turns exceptions into `StatusError`s, by the one map that it is given."""

    def __init__(self, to_status: Callable[[SidecarError], StatusError]) -> None:
        self._to_status = to_status

    def around_unary(self, path: str, proceed: UnaryEndpoint) -> UnaryEndpoint:
        """Return an endpoint that raises nothing but `StatusError` and cancellation."""

        async def guarded(message: bytes, call: Call) -> bytes:
            try:
                return await proceed(message, call)
            except SidecarError as error:
                raise self._to_status(error) from None
            except StatusError:
                raise
            except Exception as error:  # noqa: BLE001 (this is where defects end)
                raise self._defect(path, error, call) from None

        return guarded

    def around_stream(self, path: str, proceed: StreamEndpoint) -> StreamEndpoint:
        """Return a stream endpoint that raises nothing but `StatusError` and cancellation."""

        async def guarded(messages: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
            try:
                async with aclosing(proceed(messages, call)) as answers:
                    async for answer in answers:
                        yield answer
            except SidecarError as error:
                raise self._to_status(error) from None
            except StatusError:
                raise
            except Exception as error:  # noqa: BLE001 (as above)
                raise self._defect(path, error, call) from None

        return guarded

    def _defect(self, path: str, error: Exception, call: Call) -> StatusError:
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        extra = {} if call.span is None else {"trace_id": format(call.span.get_span_context().trace_id, "032x")}
        _log.error("%s failed with %s at %s", path, type(error).__qualname__, where, extra=extra)
        return self._to_status(
            SidecarError(Reason.INTERNAL, "the sidecar failed; its log says where, under the call's trace id")
        )
