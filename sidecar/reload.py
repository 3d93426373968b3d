"""What changes while the sidecar runs: rate limits, its own and Envoy's, when their files change or on SIGHUP.

The files are looked at once a second, by their identity and not by a watch: what mounts them, such as a Kubernetes
volume, may put others in their place behind a chain of links. A change is taken in once everything has stayed as it is
for one look, so that an editor may finish. The settings are then made from scratch, as at the start, and the files of
Envoy's limits read again, and all of it must be right: with a problem in any of them nothing is taken in, each problem
is logged, and what was in force stays.

What cannot change without new sockets, connections or keys takes effect at the next start, and the log says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sidecar.config.look import Look, Looks, look_at, look_into
from sidecar.errors import StartupError
from sidecar.translate_limits import check_policies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.telemetry.reloads import ReloadOutcome

_log = logging.getLogger("sidecar.reload")

# A change is in force after two looks at most; to look costs a system call for each file.
_LOOK_SECONDS: Final = 1.0
_CHANGEABLE: Final = frozenset({"rate_limits", "rate_limits_shadow", "envoy"})


class Reloadable(Protocol):
    """A sidecar, of one process or of several."""

    @property
    def envoy_files(self) -> tuple[EnvoyFile, ...] | None:
        """What the files of Envoy's limits held that are in force; None where there are none."""
        ...

    async def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None:
        """Have these in force from now on; the settings differ from those before in what can change."""

    def count_reload(self, outcome: ReloadOutcome) -> None:
        """Count an attempt."""


class _Looks(NamedTuple):
    """What all files look like."""

    file: Look | None
    """None where the settings have no file, now or at all."""
    envoy: Looks | None
    """None where Envoy's limits have no folder, now or at all."""


class _Read(NamedTuple):
    """What the files say; it is right."""

    settings: Settings
    """With the folder of Envoy's limits that is looked at."""
    envoy_files: tuple[EnvoyFile, ...] | None
    is_folder_other: bool
    """Whether the settings name another folder."""
    warnings: Sequence[str]
    """What Envoy's files say without effect, a sentence each."""


class Reloader:
    """Keeps a sidecar as its files have it. `load` makes the settings from scratch, in a thread of its own."""

    def __init__(
        self,
        load: Callable[[], Settings],
        path: Path | None,
        settings: Settings,
        sidecar: Reloadable,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._load = load
        self._path = path
        self._folder = None if settings.envoy.config_dir is None else Path(settings.envoy.config_dir)
        self._settings = settings
        self._sidecar = sidecar
        self._look_seconds = look_seconds
        self._asked = asyncio.Event()
        # The files that were loaded at the start; what has become of them since is found with the first look.
        self._loaded = self._look()

    def ask(self) -> None:
        """Reload soon, whether or not a file has changed."""
        self._asked.set()

    async def keep(self) -> None:
        """Reload whenever a file has changed, for ever."""
        last = self._loaded
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), self._look_seconds)
            now = self._look()
            has_changed = now == last and self._is_whole(now) and now != self._loaded
            last = now
            if self._asked.is_set() or has_changed:
                self._asked.clear()
                self._loaded = now
                self._sidecar.count_reload(await self._reload())

    async def _reload(self) -> ReloadOutcome:
        try:
            read = await asyncio.to_thread(self._read)
        except StartupError as error:
            for problem in str(error).splitlines():
                _log.error("the changed configuration is refused: %s", problem)
            return "refused"
        except Exception as error:  # noqa: BLE001 (a defect must not end the looking; its text may quote a secret)
            _log.error("the changed configuration could not be read: %s", type(error).__qualname__)
            return "refused"
        settings = read.settings
        changed = {name for name in type(settings).model_fields if getattr(settings, name) != self._before(name)}
        for name in sorted(changed - _CHANGEABLE):
            _warn_of(name)
        if read.is_folder_other:
            _warn_of("envoy.config_dir")
        taken = sorted(changed & _CHANGEABLE)
        self._settings = self._settings.model_copy(update={name: getattr(settings, name) for name in taken})
        if read.envoy_files != self._sidecar.envoy_files:
            taken.append("the files of Envoy's limits")
            for warning in read.warnings:
                _log.warning("%s (without effect)", warning)
        if not taken:
            return "unchanged"
        await self._sidecar.reload(self._settings, read.envoy_files)
        _log.info("the configuration was reloaded: %s", ", ".join(taken))
        return "applied"

    def _read(self) -> _Read:
        """Read all files; raises `StartupError` with every problem of them."""
        problems: list[str] = []
        settings = self._settings
        folder = settings.envoy.config_dir
        is_folder_other = False
        try:
            settings = self._load()
            is_folder_other = settings.envoy.config_dir != folder
            settings = settings.model_copy(update={"envoy": settings.envoy.model_copy(update={"config_dir": folder})})
            check_policies(settings)
        except StartupError as error:
            problems.append(str(error))
        files: tuple[EnvoyFile, ...] | None = None
        warnings: Sequence[str] = ()
        if folder is not None:
            from sidecar.translate_envoy import envoy_files, envoy_rules  # noqa: PLC0415 (most have no such files)

            try:
                files = envoy_files(settings)
                warnings = envoy_rules(files or (), settings.envoy).warnings
            except StartupError as error:
                problems.append(str(error))
        if problems:
            raise StartupError("\n".join(problems))
        return _Read(settings, files, is_folder_other, warnings)

    def _before(self, name: str) -> object:
        return getattr(self._settings, name)

    def _look(self) -> _Looks:
        return _Looks(
            None if self._path is None else look_at(self._path),
            None if self._folder is None else look_into(self._folder),
        )

    def _is_whole(self, looks: _Looks) -> bool:
        """Say whether nothing is gone as a whole: that is for a moment, or a mistake, and no change to take in."""
        return (self._path is None or looks.file is not None) and (self._folder is None or looks.envoy is not None)


def _warn_of(name: str) -> None:
    _log.warning("%s has changed in the configuration; that takes effect at the next start", name)
