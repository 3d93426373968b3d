"""When a configuration is read again, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from sidecar.config.envoy.folder import read_folder
from sidecar.config.loader import load
from sidecar.reload import Reloader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.telemetry.reloads import ReloadOutcome

LOOK_SECONDS = 0.005
LIMITS = "rate_limits: {{calls: {{algorithm: token_bucket, rate: 1/s, burst: {burst}}}}}\n"


class Sidecar:
    """Takes down what a reloader tells it."""

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.envoy_files: tuple[EnvoyFile, ...] | None = None
        self.outcomes: list[ReloadOutcome] = []

    async def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Take down settings, and the files."""
        self.settings.append(settings)
        self.envoy_files = envoy_files

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
        async with asyncio.timeout(30):
            while len(self.sidecar.outcomes) < len(outcomes):
                await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(5 * LOOK_SECONDS)
        assert list(outcomes) == self.sidecar.outcomes

    async def settles(self) -> None:
        """Wait until the file that there is now has been read."""
        reads = self.reads
        async with asyncio.timeout(30):
            while self.reads == reads or len(self.sidecar.outcomes) < self.reads:
                await asyncio.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def at_work(reloader: Reloader) -> AsyncIterator[None]:
    """Have a reloader look at its files meanwhile."""
    keeping = asyncio.create_task(reloader.keep())
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Return a reloader at work."""
    made = Scene(tmp_path / "sidecar.yaml")
    async with at_work(made.reloader):
        yield made


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
    loop = asyncio.get_running_loop()
    stood_still = 0
    for length in range(100):
        scene.write(1, more="#" * length)
        written = loop.time()
        await asyncio.sleep(LOOK_SECONDS / 5)
        stood_still += loop.time() - written > LOOK_SECONDS  # the machine did, and with it the file
    assert scene.reads <= stood_still
    scene.write(1)
    await scene.settles()
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
    keeping = asyncio.create_task(reloader.keep())
    async with asyncio.timeout(30):
        while not sidecar.outcomes:
            await asyncio.sleep(LOOK_SECONDS)
    await asyncio.sleep(20 * LOOK_SECONDS)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    assert ["unchanged"] == sidecar.outcomes


class EnvoyScene(Scene):
    """A folder of Envoy's files beside the settings."""

    def __init__(self, folder: Path) -> None:
        self.rules = folder / "rules"
        self.rules.mkdir()
        (self.rules / "a.yaml").write_text(envoy_file(5))
        super().__init__(folder / "sidecar.yaml")
        self.sidecar.envoy_files = read_folder(self.rules)

    def write(self, burst: int, more: str = "") -> None:
        """Write settings that name the folder."""
        super().write(burst, f"envoy: {{config_dir: {self.rules}}}\n{more}")

    @property
    def texts(self) -> list[str]:
        """What the files hold that are in force."""
        return [file.text for file in self.sidecar.envoy_files or ()]


def envoy_file(requests: int, domain: str = "a") -> str:
    """Return a file of Envoy's limits."""
    limit = f"{{unit: day, requests_per_unit: {requests}}}"
    return f"domain: {domain}\ndescriptors: [{{key: k, rate_limit: {limit}}}]\n"


@pytest.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[EnvoyScene]:
    """Return a reloader at work on both."""
    made = EnvoyScene(tmp_path)
    async with at_work(made.reloader):
        yield made


class TestEnvoyFiles:
    """The files of Envoy's limits."""

    async def test_a_change_is_taken_in(self, envoy: EnvoyScene) -> None:
        """The files as they are now, with the settings as they were."""
        (envoy.rules / "a.yaml").write_text(envoy_file(66))
        await envoy.comes_to("applied")
        assert [envoy_file(66)] == envoy.texts
        assert 1 == envoy.sidecar.settings[0].rate_limits["calls"].burst  # type: ignore[union-attr] # (as it is written)

    async def test_files_come_and_go(self, envoy: EnvoyScene) -> None:
        """Whichever there are, they are all that count."""
        (envoy.rules / "b.yaml").write_text(envoy_file(5, "b"))
        await envoy.comes_to("applied")
        assert [envoy_file(5), envoy_file(5, "b")] == envoy.texts
        (envoy.rules / "a.yaml").unlink()
        await envoy.comes_to("applied", "applied")
        assert [envoy_file(5, "b")] == envoy.texts

    async def test_other_files_of_the_folder_are_nothing(self, envoy: EnvoyScene) -> None:
        """They are not even looked at."""
        for name in ("notes.txt", ".hidden.yaml"):
            (envoy.rules / name).write_text("x")
        await envoy.comes_to()
        assert 0 == envoy.reads

    async def test_a_folder_that_a_link_leads_to(self, envoy: EnvoyScene, tmp_path: Path) -> None:
        """As Kubernetes has it: the names stay, and what they lead to is put elsewhere."""
        for number in (1, 2):
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / "a.yaml").write_text(envoy_file(number))
        (tmp_path / "data").symlink_to("1")
        (envoy.rules / "new").symlink_to(tmp_path / "data" / "a.yaml")
        (envoy.rules / "new").rename(envoy.rules / "a.yaml")
        await envoy.comes_to("applied")
        assert [envoy_file(1)] == envoy.texts
        (tmp_path / "new").symlink_to("2")
        (tmp_path / "new").rename(tmp_path / "data")
        await envoy.comes_to("applied", "applied")
        assert [envoy_file(2)] == envoy.texts

    async def test_nothing_is_taken_in_if_anything_is_wrong(
        self, envoy: EnvoyScene, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither settings nor files, and each problem of both is logged with its place."""
        envoy.write(22, "no_such: 1\n")
        (envoy.rules / "a.yaml").write_text("domain: a\ndescriptors: [{value: v}, {key: k, rate_limit: {unit: dya}}]\n")
        (envoy.rules / "b.yaml").write_text(envoy_file(66, "b"))
        await envoy.comes_to("refused")
        assert ([], [envoy_file(5)]) == (envoy.sidecar.settings, envoy.texts)
        for said in ("sidecar.yaml:3: ", "a.yaml:2: descriptors[0].key", "a.yaml:2: descriptors[1].rate_limit.unit"):
            assert said in caplog.text
        (envoy.rules / "a.yaml").write_text(envoy_file(66))
        await envoy.comes_to("refused", "refused")
        envoy.write(333)
        await envoy.comes_to("refused", "refused", "applied")
        assert [envoy_file(66), envoy_file(66, "b")] == envoy.texts

    async def test_what_has_no_effect_is_said(self, envoy: EnvoyScene, caplog: pytest.LogCaptureFixture) -> None:
        """As at the start."""
        (envoy.rules / "a.yaml").write_text("domain: a\ndescriptors: [{key: k, unit: day}]\n")
        await envoy.comes_to("applied")
        assert "a.yaml:2: descriptors[0]: `unit` means nothing here (without effect)" in caplog.text

    async def test_a_folder_that_is_gone_changes_nothing(self, envoy: EnvoyScene) -> None:
        """Until it is there again, or somebody asks; one without files is refused."""
        envoy.rules.rename(envoy.rules.with_name("elsewhere"))
        await envoy.comes_to()
        envoy.reloader.ask()
        await envoy.comes_to("refused")
        envoy.rules.with_name("elsewhere").rename(envoy.rules)
        await envoy.comes_to("refused", "unchanged")
        (envoy.rules / "a.yaml").unlink()
        await envoy.comes_to("refused", "unchanged", "refused")
        assert [envoy_file(5)] == envoy.texts

    async def test_settings_of_envoy_change_too(self, envoy: EnvoyScene) -> None:
        """And the files are read by what they say now."""
        (envoy.rules / "b.yaml").write_text(envoy_file(66).replace("key: k", "key: l"))
        await envoy.comes_to("refused")
        Scene.write(envoy, 1, f"envoy: {{config_dir: {envoy.rules}, merge_domains: true, shadow_mode: true}}\n")
        await envoy.comes_to("refused", "applied")
        assert envoy.sidecar.settings[0].envoy.shadow_mode
        assert 2 == len(envoy.texts)

    async def test_the_folder_does_not_change(
        self, envoy: EnvoyScene, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        """Another one takes effect at the next start, and until then the files of this one count."""
        Scene.write(envoy, 22, f"envoy: {{config_dir: {tmp_path}, shadow_mode: true}}\n")
        await envoy.comes_to("applied")
        assert "envoy.config_dir has changed in the configuration; that takes effect at the next start" in caplog.text
        took = envoy.sidecar.settings[0].envoy
        assert (str(envoy.rules), True) == (took.config_dir, took.shadow_mode)
        (envoy.rules / "a.yaml").write_text(envoy_file(66))
        await envoy.comes_to("applied", "applied")
        assert [envoy_file(66)] == envoy.texts
