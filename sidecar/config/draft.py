"""The settings as gathered so far: plain data from several sources, and where each part came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.problems import Origin, Path
from sidecar.config.shape import settings_shape, shape_at

if TYPE_CHECKING:
    from sidecar.config.document import Document
    from sidecar.config.shape import Shape

_DEFAULTS = Origin("defaults")


class Draft:
    """Data that later sources write over."""

    __slots__ = ("_origins", "data")

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._origins: dict[Path, Origin] = {}

    def start(self, document: Document) -> None:
        """Take a file's content, a mapping, as the ground to build on."""
        self.data = _without_empty(document.data, settings_shape())
        self._origins = dict(document.origins)

    def put(self, path: Path, value: object, origin: Origin) -> None:
        """Set one place; does nothing where something other than a mapping stands in the way, a problem of its own."""
        place: dict[Any, Any] = self.data
        for part in path[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                return
        for known in [known for known in self._origins if known[: len(path)] == path]:
            del self._origins[known]
        place[path[-1]] = _without_empty(value, shape_at(path))
        self._origins[path] = origin

    def cut(self, path: Path) -> Path:
        """Remove one place, or the list that holds it; return what was removed."""
        for index, part in enumerate(path):
            if isinstance(part, int):
                path = path[:index]
                break
        *parents, last = path
        place: Any = self.data
        for part in parents:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
        return path

    def has(self, path: Path) -> bool:
        """Say whether anything but null stands at a place."""
        return self.get(path) is not None

    def get(self, path: Path) -> Any:
        """Return what stands at a place, or None."""
        place: Any = self.data
        for part in path:
            if isinstance(place, dict):
                place = place.get(str(part))
            elif isinstance(place, list) and isinstance(part, int):
                place = place[part]
            else:
                return None
        return place

    def origin(self, path: Path) -> Origin:
        """Return where a place was written, or else what encloses it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]]
        return _DEFAULTS


def _without_empty(value: Any, shape: Shape | None) -> Any:
    """Return a copy without the sections that say nothing, as when all their lines are commented out.

    A cache or limit that is named and then left empty is kept: it has the defaults.
    """
    if shape is None or not shape.is_container:
        return value
    if isinstance(value, list):
        return [_without_empty(item, shape.items) for item in value]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for key, item in value.items():
        below = shape.at(key)
        if item is not None or below is None or not below.is_container:
            kept[key] = _without_empty(item, below)
        elif shape.is_map:
            kept[key] = {}
    return kept
