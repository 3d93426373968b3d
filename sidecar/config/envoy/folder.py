"""The folder of files: which of them count, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.envoy.model import EnvoyFile
from sidecar.config.problems import ConfigError, Origin, Problem, on_one_line

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES = frozenset([".yaml", ".yml"])
# As the settings' own: room for thousands of limits in each.
_MAX_FILE_BYTES = 1 << 20


def yaml_paths(folder: Path) -> list[Path]:
    """Return the YAML files of a folder by name, without hidden ones; raises OSError, or ValueError for no path."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.name[0] != ".")


def read_folder(folder: Path) -> tuple[EnvoyFile, ...]:
    """Return what the YAML files of a folder hold.

    Raises `ConfigError`, with a problem for each file that cannot be read, or that there are none.
    """
    source = on_one_line(str(folder))
    try:
        paths = yaml_paths(folder)
    except (OSError, ValueError) as error:
        raise ConfigError([_problem(source, f"cannot be read: {_reason(error)}")]) from None
    if not paths:
        raise ConfigError([_problem(source, "holds no *.yaml file")])
    files: list[EnvoyFile] = []
    problems: list[Problem] = []
    for path in paths:
        source = on_one_line(str(path))
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
            if len(content) > _MAX_FILE_BYTES:
                problems.append(_problem(source, "is larger than 1 MiB"))
            files.append(EnvoyFile(source, content.decode("utf-8-sig")))
        except UnicodeDecodeError:
            problems.append(_problem(source, "is not UTF-8 text"))
        except OSError as error:
            problems.append(_problem(source, f"cannot be read: {_reason(error)}"))
    if problems:
        raise ConfigError(problems)
    return tuple(files)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or "not a valid path").lower()


def _problem(source: str, message: str) -> Problem:
    return Problem(origin=Origin(source), path="", message=message)
