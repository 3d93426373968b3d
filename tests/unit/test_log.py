"""What the log's lines hold, and what they never do."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

import pytest

from sidecar.telemetry.log import JsonFormatter, TextFormatter, log_loop_error

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTECTED = "ssn 123-45-6789"


@pytest.fixture(params=[TextFormatter, JsonFormatter])
def formatter(request: pytest.FixtureRequest) -> logging.Formatter:
    """Return each style's formatter."""
    made: logging.Formatter = request.param()
    return made


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Return the lines that the sidecar's loggers write meanwhile."""
    written: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: written.append(TextFormatter().format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("sidecar")
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)


def a_record(message: str) -> logging.LogRecord:
    """Return a record of a library that logs one of our exceptions."""
    record = logging.LogRecord("library", logging.ERROR, "f", 1, message, (), None)
    record.exc_info = (ValueError, ValueError(PROTECTED), None)
    return record


def test_an_exceptions_text_is_left_out(formatter: logging.Formatter) -> None:
    """Its type is enough to find it by."""
    line = formatter.format(a_record("it failed"))
    assert (True, False) == ("ValueError" in line, "123-45" in line)


def test_a_message_stays_on_its_line(formatter: logging.Formatter) -> None:
    """Nobody forges a second one."""
    assert len(formatter.format(a_record("one\r\nERROR two")).splitlines()) == 1


def test_a_trace_id_is_shown(formatter: logging.Formatter) -> None:
    """The way from a line to its trace."""
    record = a_record("it failed")
    record.trace_id = "0af7651916cd43dd"
    assert "0af7651916cd43dd" in formatter.format(record)


async def test_a_forgotten_task_tells_its_exceptions_type_alone(lines: list[str]) -> None:
    """The loop's own handler would print the task's repr, text and all."""

    async def fail() -> None:
        raise ValueError(PROTECTED)

    asyncio.get_running_loop().set_exception_handler(log_loop_error)
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    (line,) = lines
    assert (True, False) == (line.endswith("Task exception was never retrieved: ValueError"), "123-45" in line)
