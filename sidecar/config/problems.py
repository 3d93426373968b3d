"""What can be wrong with a configuration, said so that the reader finds the place at once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterable

Path = tuple[str | int, ...]
"""The way to a setting: `("listen", 0, "address")`."""

_PLAIN = re.compile(r"[\w./:@+-]{1,60}")
# Longer than any name or value worth repeating; a line of output stays a line.
_SHOWN_CHARACTERS = 60


class Origin(NamedTuple):
    """Where a setting was written: a file's line, a variable, a flag."""

    source: str
    """The file's path, `SIDECAR_...`, or `--flag`."""
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to mend; its text is one line."""

    origin: Origin
    path: str
    """The setting, dotted: `caches.patients.ttl`; empty when it is about the source as a whole."""
    message: str

    def __str__(self) -> str:
        """Return `sidecar.yaml:12: caches.patients.ttl: 20m is above max_ttl (15m)`."""
        place = ":".join(str(part) for part in self.origin if part is not None)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(StartupError):
    """The configuration cannot be used; holds every problem found, its text is a line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Path) -> str:
    """Return a path as people write it: `encryption.keys[0].file`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shown(part)}" if text else shown(part)
    return text


def shown(text: str) -> str:
    """Return `text` fit for one line: as it is when it is a plain word, else quoted and cut."""
    if _PLAIN.fullmatch(text):
        return text
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    return json.dumps(cut)


def on_one_line(path: str) -> str:
    """Return a file's path as it is, or quoted when it would break the line."""
    return path if path.isprintable() else json.dumps(path)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a writer of `name` most likely meant, or None."""
    # Similarity takes the product of the lengths; no name is this long, so nothing can be near.
    if len(name) > _SHOWN_CHARACTERS:
        return None
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean X?` when a known name is near, else nothing."""
    match = nearest(name, known)
    return f", did you mean `{match}`?" if match else ""
