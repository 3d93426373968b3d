"""What a worker is told to take on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from sidecar.config import load
from sidecar.config.envoy.model import EnvoyFile
from sidecar.supervisor.messages import AskTotals, Reload, TotalsAnswer, decode_from_worker, encode
from sidecar.telemetry.snapshot import Gathered
from sidecar.worker import _Supervisor

if TYPE_CHECKING:
    import pytest

    from sidecar.app import App
    from sidecar.config.model import Settings

FILES = (EnvoyFile("a.yaml", "domain: a"),)


class FakeApp:
    """Takes down what it is to take on, and fails when it is told to."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, tuple[EnvoyFile, ...] | None]] = []

    async def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Take it down."""
        if settings.tenant == "bad":
            raise ValueError("password")
        self.taken.append((settings.tenant, envoy_files))


class Told:
    """A stream to the supervisor that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def is_closing(self) -> bool:
        """Say no."""
        return False

    def write(self, line: bytes) -> None:
        """Keep it."""
        self.lines.append(line)


async def test_the_sums_of_all_are_asked_for() -> None:
    """Each question has its own answer, in whatever order they come."""
    reader, told = asyncio.StreamReader(), Told()
    supervisor = _Supervisor(reader, cast("asyncio.StreamWriter", told))
    listening = asyncio.create_task(supervisor.listen(cast("App", FakeApp()), asyncio.Event()))
    asking = [asyncio.create_task(supervisor.gather()) for _ in range(2)]
    await asyncio.sleep(0)
    for line in reversed(told.lines):
        question = decode_from_worker(line)
        assert isinstance(question, AskTotals)
        gathered = Gathered(families=(), since_us=question.number, processes=1, workers=2)
        reader.feed_data(encode(TotalsAnswer(number=question.number, gathered=gathered)))
    answers = await asyncio.gather(*asking)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert [1, 2] == [None if answer is None else answer.since_us for answer in answers]


async def test_a_supervisor_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for no longer than a moment."""
    monkeypatch.setattr("sidecar.worker._TOTALS_SECONDS", 0.01)
    supervisor = _Supervisor(asyncio.StreamReader(), cast("asyncio.StreamWriter", Told()))
    assert await supervisor.gather() is None


async def test_reloads_are_taken_on_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    """One that fails ends the worker, so that another, made of the same from scratch, takes its place."""
    reader = asyncio.StreamReader()
    supervisor = _Supervisor(reader, cast("asyncio.StreamWriter", None))
    app, stop = FakeApp(), asyncio.Event()
    tasks = [
        asyncio.create_task(supervisor.listen(cast("App", app), asyncio.Event())),
        asyncio.create_task(supervisor.take_on(cast("App", app), stop)),
    ]
    for tenant, files in (("one", None), ("two", FILES), ("bad", None)):
        reader.feed_data(encode(Reload(settings=load(None, {}, {"tenant": tenant}), envoy_files=files)))
    async with asyncio.timeout(10):
        await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [("one", None), ("two", FILES)] == app.taken
    assert "ValueError" in caplog.text
    assert "password" not in caplog.text


async def test_what_no_supervisor_says_ends_the_worker() -> None:
    """It could not hear any more that the supervisor is gone, and would serve for ever."""
    reader, stop = asyncio.StreamReader(), asyncio.Event()
    supervisor = _Supervisor(reader, cast("asyncio.StreamWriter", Told()))
    reader.feed_data(b"nonsense\n")
    reader.feed_eof()
    await asyncio.gather(supervisor.listen(cast("App", FakeApp()), stop), return_exceptions=True)
    assert stop.is_set()
