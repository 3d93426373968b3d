"""Texts with places to fill in: `account-{account_id}`, `{tenant.id}:`. Pure.

A place is a path of names with dots into the fields of an event, that is, into JSON. `{{` and `}}` stand for braces.
A list on the way, or at its end, gives a text for each of its items, and two places below the same list are filled from
the same item: `{rows.ward}-{rows.bed}` gives one text for each row. Places below different lists give every
combination.

There are no defaults, formats and expressions: what a key looks like must be seen at a glance.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str, ...]

# A bulk change of more rows is told as one of the whole.
MOST_TEXTS = 10_000

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class TooManyTextsError(Exception):
    """The lists in the fields would give more texts than anybody wants."""


def parse_path(text: str) -> Path:
    """Return `new.account_id` as a path; raises ValueError with a sentence."""
    path = tuple(text.split("."))
    if not all(path) or text != text.strip():
        raise ValueError("a field is a name, or names with dots between them, such as new.account_id")
    return path


class Template:
    """A text with places to fill in; raises ValueError with a sentence if it is none."""

    __slots__ = ("_parts", "paths", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[str | Path] = []
        for found in _TOKEN.finditer(text):
            token = found.group()
            if found.group(1) is not None:
                self._parts.append(parse_path(found.group(1)))
            elif token in {"{", "}"}:
                raise ValueError("a brace is not closed or not opened; for one in the text write it twice")
            else:
                self._parts.append(token[0] if token in {"{{", "}}"} else token)
        self.paths: tuple[Path, ...] = tuple(dict.fromkeys(part for part in self._parts if not isinstance(part, str)))
        """The fields that it needs, each once."""

    @property
    def ending(self) -> str:
        """The text behind the last place."""
        last = self._parts[-1] if self._parts else ""
        return last if isinstance(last, str) else ""

    def render(self, fields: Mapping[str, Any]) -> list[str]:
        """Return the texts that the fields give, none where one is missing; raises `TooManyTextsError`."""
        texts = [
            "".join([part if isinstance(part, str) else values[part] for part in self._parts])
            for values in _fillings(fields, {path: path for path in self.paths})
        ]
        return list(dict.fromkeys(texts))


def texts_at(fields: Mapping[str, Any], path: Path) -> list[Any]:
    """Return what stands at a path: one value, those of a list, or none."""
    found: list[Any] = [fields]
    for name in path:
        found = [item.get(name) for item in _flat(found) if isinstance(item, dict)]
    return list(_flat(found))


def _flat(values: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(_flat(value) if isinstance(value, list) else [value])
    return flat


def _fillings(value: Any, wanted: dict[Path, Path]) -> list[dict[Path, str]]:
    """Return each way to fill in places; `wanted` has the way that is still to go to each."""
    if not wanted:
        return [{}]
    if isinstance(value, list):
        filled: list[dict[Path, str]] = []
        for item in value:
            filled += _fillings(item, wanted)
            _bound(len(filled))
        return filled
    if not all(wanted.values()):
        text = _text(value)
        return [] if text is None or any(wanted.values()) else [dict.fromkeys(wanted, text)]
    if not isinstance(value, dict):
        return []
    below: dict[str, dict[Path, Path]] = {}
    for place, (name, *rest) in wanted.items():
        below.setdefault(name, {})[place] = tuple(rest)
    parts = [_fillings(value.get(name), places) for name, places in below.items()]
    count = 1
    for part in parts:
        count *= len(part)
        _bound(count)
    return [{place: text for one in way for place, text in one.items()} for way in product(*parts)]


def _bound(count: int) -> None:
    if count > MOST_TEXTS:
        raise TooManyTextsError


def _text(value: Any) -> str | None:
    """Return how a value is written in a key; None for what is missing, empty, or an object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | Decimal):
        return str(value) or None
    return None
