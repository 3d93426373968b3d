"""When a configuration is read again, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from sidecar.config.loader import load
from sidecar.reload import Reloader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sidecar.config.model import Settings
    from sidecar.telemetry.reloads import ReloadOutcome

LOOK_SECONDS = 0.005
LIMITS = "rate_limits: {{calls: {{algorithm: token_bucket, rate: 1/s, burst: {burst}}}}}\n"


class Sidecar:
    """Takes down what a reloader tells it."""

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.outcomes: list[ReloadOutcome] = []

    def reload(self, settings: Settings) -> None:
        """Take down settings."""
        self.settings.append(settings)

    def count_reload(self, outcome: ReloadOutcome) -> None:
        """Take down an outcome."""
        self.outcomes.append(outcome)


class Scene:
    """A file, a sidecar, and a reloader between them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        self.defect: Exception | None = None
        self.write(1)
        self.sidecar = Sidecar()
        self.reloader = Reloader(self.read, path, load(path, {}), self.sidecar, LOOK_SECONDS)

    def write(self, burst: int, more: str = "") -> None:
        """Write a configuration."""
        self.path.write_text(LIMITS.format(burst=burst) + more)

    def read(self) -> Settings:
        """Read it as the command line does."""
        self.reads += 1
        if self.defect is not None:
            raise self.defect
        return load(self.path, {})

    async def comes_to(self, *outcomes: ReloadOutcome) -> None:
        """Wait until so much has come of it, and see that nothing else does."""
        async with asyncio.timeout(10):
            while len(self.sidecar.outcomes) < len(outcomes):
                await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(5 * LOOK_SECONDS)
        assert list(outcomes) == self.sidecar.outcomes


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Return a reloader at work."""
    made = Scene(tmp_path / "sidecar.yaml")
    keeping = asyncio.create_task(made.reloader.keep())
    yield made
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


async def test_a_change_is_taken_in_once(scene: Scene) -> None:
    """However often the file is looked at."""
    scene.write(22)
    await scene.comes_to("applied")
    assert 22 == scene.sidecar.settings[0].rate_limits["calls"].burst  # type: ignore[union-attr] # (as it is written)
    assert 1 == scene.reads


async def test_the_shadow_mode_of_all_can_be_changed(scene: Scene) -> None:
    """Without a start, as the limits themselves."""
    scene.write(1, "rate_limits_shadow: true\n")
    await scene.comes_to("applied")
    assert scene.sidecar.settings[0].rate_limits_shadow


async def test_a_file_that_is_gone_changes_nothing(scene: Scene) -> None:
    """Until there is one again."""
    scene.path.unlink()
    await scene.comes_to()
    scene.write(333)
    await scene.comes_to("applied")


async def test_a_file_that_never_stands_still_is_not_read(scene: Scene) -> None:
    """Somebody is writing it."""
    for length in range(100):
        scene.write(1, more="#" * length)
        await asyncio.sleep(LOOK_SECONDS / 5)
    assert scene.reads <= 1  # none, unless the machine stood still between two of these
    await asyncio.sleep(20 * LOOK_SECONDS)
    assert ["unchanged"] == scene.sidecar.outcomes[-1:]


async def test_a_defect_ends_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """The file is read again when it changes again; the log quotes nothing of it."""
    scene.defect = RuntimeError("password")
    scene.write(22)
    await scene.comes_to("refused")
    assert "RuntimeError" in caplog.text
    assert "password" not in caplog.text
    scene.defect = None
    scene.write(333)
    await scene.comes_to("refused", "applied")


async def test_who_asks_is_answered(scene: Scene) -> None:
    """Whether or not anything has changed."""
    scene.reloader.ask()
    await scene.comes_to("unchanged")


async def test_there_need_be_no_file() -> None:
    """The environment alone may hold the settings; it does not change."""
    sidecar = Sidecar()
    settings = load(None, {})
    reloader = Reloader(lambda: settings, None, settings, sidecar, LOOK_SECONDS)
    reloader.ask()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reloader.keep(), 20 * LOOK_SECONDS)
    assert ["unchanged"] == sidecar.outcomes
