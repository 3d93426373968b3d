"""The log: on standard error, a line for each event, as text for people or JSON for machines.

What is protected must not get in. The project's own messages hold none, but an exception's text quotes what it tripped
over, and libraries log exceptions of ours. So both formatters name an exception by its type alone; a filter would have
to know what to look for. A line break in a message is escaped: nobody can forge another line of the log.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import asyncio

_log = logging.getLogger("sidecar")


class TextFormatter(logging.Formatter):
    """Time in UTC, level, logger, worker, message, and an exception's type and the trace's id where there are any."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._source = "" if worker is None else f"worker {worker}: "

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = f"{_time_of(record)} {record.levelname:<7} {record.name}: {self._source}{record.getMessage()}"
        if exception := _exception_of(record):
            line = f"{line} ({exception})"
        if trace_id := getattr(record, "trace_id", None):
            line = f"{line} [trace {trace_id}]"
        return line.replace("\r", "\\r").replace("\n", "\\n")


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, logger, message, and the worker and the trace's id where there are any."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, str | int] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        trace_id = getattr(record, "trace_id", None)
        if trace_id is not None:
            line["trace_id"] = trace_id
        if exception := _exception_of(record):
            line["exception"] = exception
        return json.dumps(line)


def _time_of(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _exception_of(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return record.exc_info[0].__qualname__
    return ""


def log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task caught; for `loop.set_exception_handler`.

    The loop's own handler puts the reprs of tasks into its message, and with them exceptions' texts and results.
    """
    error = context.get("exception")
    kind = f": {type(error).__qualname__}" if error is not None else ""
    _log.error("in the event loop: %s%s", context.get("message", "an error"), kind)


def set_up_logging(
    level: Literal["debug", "info", "warning", "error"], style: Literal["text", "json"], worker: int | None = None
) -> None:
    """Send the sidecar's log, and the warnings of libraries, to standard error; a worker's with its number."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(worker) if style == "json" else TextFormatter(worker))
    # Else a line that cannot be formatted is printed raw, with its arguments.
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sidecar").setLevel(level.upper())
