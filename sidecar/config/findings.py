"""What a broken rule is.

A finding names the setting that the operator most likely wants to change, and those that it also rests on: when one of
them has a problem of its own, the finding may be only its echo, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.config.problems import dotted

if TYPE_CHECKING:
    from sidecar.config.problems import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule."""

    path: Path
    message: str
    rests_on: tuple[Path, ...] = ()

    def __str__(self) -> str:
        """Return path and message, as in a problem."""
        return f"{dotted(self.path)}: {self.message}"
