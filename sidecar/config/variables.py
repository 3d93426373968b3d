"""The environment variables that settings name, such as those with passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping


def variable(path: str, name: str, environ: Mapping[str, str]) -> str:
    """Return what a variable that the setting at `path` names holds; raises `StartupError` if that is nothing."""
    value = environ.get(name, "")
    if not value:
        raise StartupError(f"{path}: the environment variable {name} is not set")
    return value
