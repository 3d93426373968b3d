"""Settings that change while the sidecar runs: rate limits, when their file changes or on SIGHUP.

The file is looked at once a second, by its identity and not by a watch: what mounts it, such as a Kubernetes volume,
may put another file in its place behind a chain of links. A change is taken in once the file has stayed as it is for
one look, so that an editor may finish. The settings are then made from scratch, as at the start, and all of it must be
right: a file with a problem is refused whole, each problem is logged, and what was in force stays.

What cannot change without new sockets, connections or keys takes effect at the next start, and the log says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sidecar.errors import StartupError
from sidecar.translate import check_policies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sidecar.config.model import Settings
    from sidecar.telemetry.reloads import ReloadOutcome

_log = logging.getLogger("sidecar.reload")

# A change is in force after two looks at most; to look costs one system call.
_LOOK_SECONDS: Final = 1.0
_CHANGEABLE: Final = frozenset({"rate_limits", "rate_limits_shadow"})


class Reloadable(Protocol):
    """A sidecar, of one process or of several."""

    def reload(self, settings: Settings) -> None:
        """Have these settings in force from now on; they differ from those before in what can change."""

    def count_reload(self, outcome: ReloadOutcome) -> None:
        """Count an attempt."""


class _Look(NamedTuple):
    """What tells one content of a file from another."""

    device: int
    inode: int
    size: int
    modified_ns: int


class Reloader:
    """Keeps a sidecar's settings as their file has them. `load` makes them from scratch, in a thread of its own."""

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
        self._settings = settings
        self._sidecar = sidecar
        self._look_seconds = look_seconds
        self._asked = asyncio.Event()
        # The file that was loaded at the start; what has become of it since is found with the first look.
        self._loaded = self._look()

    def ask(self) -> None:
        """Reload soon, whether or not the file has changed."""
        self._asked.set()

    async def keep(self) -> None:
        """Reload whenever the file has changed, for ever."""
        last = self._loaded
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), self._look_seconds)
            now = self._look()
            has_changed = now not in (None, self._loaded) and now == last
            last = now
            if self._asked.is_set() or has_changed:
                self._asked.clear()
                self._loaded = now
                self._sidecar.count_reload(await self._reload())

    async def _reload(self) -> ReloadOutcome:
        try:
            settings = await asyncio.to_thread(self._load)
            check_policies(settings)
        except StartupError as error:
            for problem in str(error).splitlines():
                _log.error("the changed configuration is refused: %s", problem)
            return "refused"
        except Exception as error:  # noqa: BLE001 (a defect must not end the looking; its text may quote a secret)
            _log.error("the changed configuration could not be read: %s", type(error).__qualname__)
            return "refused"
        changed = {name for name in type(settings).model_fields if getattr(settings, name) != self._before(name)}
        for name in sorted(changed - _CHANGEABLE):
            _log.warning("%s has changed in the configuration; that takes effect at the next start", name)
        if not changed & _CHANGEABLE:
            return "unchanged"
        self._settings = self._settings.model_copy(
            update={name: getattr(settings, name) for name in changed & _CHANGEABLE}
        )
        self._sidecar.reload(self._settings)
        _log.info("the configuration was reloaded: %s", ", ".join(sorted(changed & _CHANGEABLE)))
        return "applied"

    def _before(self, name: str) -> object:
        return getattr(self._settings, name)

    def _look(self) -> _Look | None:
        """Look at the file; None where there is none, now or at all."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return _Look(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
