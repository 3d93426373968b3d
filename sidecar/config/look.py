"""What a file looks like from outside, so that a change of it is seen at the price of a system call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.config.envoy.folder import yaml_paths

if TYPE_CHECKING:
    from pathlib import Path


class Look(NamedTuple):
    """What tells one content of a file from another; of a link, of that to which it leads."""

    device: int
    inode: int
    size: int
    modified_ns: int


Looks = tuple[tuple[str, Look | None], ...]
"""What each file of a folder looks like, by name; None for one that is not there, but for a link to it."""


def look_at(path: Path) -> Look | None:
    """Look at a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Look(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def look_into(folder: Path) -> Looks | None:
    """Look at the files of Envoy's limits in a folder; None where there is no such folder."""
    try:
        paths = yaml_paths(folder)
    except (OSError, ValueError):
        return None
    return tuple((path.name, look_at(path)) for path in paths)
