"""What a worker is told to take on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from sidecar.config import load
from sidecar.config.envoy.model import EnvoyFile
from sidecar.supervisor.messages import Reload, encode
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
