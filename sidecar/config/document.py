"""Reading YAML into plain data, with the line of every key and item.

The builder works on libyaml's events rather than on finished objects or nodes, because a configuration wants less than
YAML offers and more than it tells:

- the line of each key, for messages; a key given twice is a problem, not a silent choice of the last;
- scalars by the YAML 1.2 core schema: `no`, `on`, `1:30` and `2024-01-01` are text, only `true` and `false` are not;
- no anchors, aliases or tags: an alias makes a few bytes grow without bound, a tag names types to construct;
- limits on size and depth, so that no input can exhaust the stack or the memory.

What breaks the syntax ends the reading with one problem; duplicate keys are collected and the rest is still read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from sidecar.config.problems import ConfigError, Origin, Path, Problem, dotted, on_one_line, shown

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

# Room for thousands of caches; a larger file is not a configuration.
_MAX_FILE_BYTES = 1 << 20
# The settings nest five deep.
_MAX_DEPTH = 32

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")

# libyaml's parser where PyYAML was built with it, as its wheels are: ten times faster at start-up.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document:
    """What a YAML text holds, where, and the problems met on the way."""

    __slots__ = ("data", "origins", "problems")

    def __init__(self) -> None:
        self.data: Any = None
        self.origins: dict[Path, Origin] = {}
        self.problems: list[Problem] = []


def read_file(path: pathlib.Path) -> Document:
    """Read a file; raises `ConfigError` with one problem if it cannot be read or is no YAML mapping."""
    source = on_one_line(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "not a valid path").lower()
        raise _refused(Origin(source), f"cannot be read: {reason}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise _refused(Origin(source), "is larger than 1 MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(Origin(source, line), "is not UTF-8 text") from None
    document = read_text(text, source)
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise _refused(Origin(source), "must be a mapping of keys to values at its top")
    return document


def read_text(text: str, source: str, *, with_lines: bool = True) -> Document:
    """Read a YAML text that came from `source`; raises `ConfigError` with one problem if it is not YAML."""
    try:
        return _Builder(text, source, with_lines=with_lines).build()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        told = [getattr(error, name, None) for name in ("context", "problem")]
        message = ", ".join(part for part in told if part) or "it holds control characters"
        if mark and "cannot start any token" in message and text.splitlines()[mark.line][mark.column :][:1] == "\t":
            message = "there is a tab; indent with spaces"
        origin = Origin(source, mark.line + 1, mark.column + 1) if mark and with_lines else Origin(source)
        raise _refused(origin, f"not valid YAML: {message}") from None
    except UnicodeEncodeError:
        raise _refused(Origin(source), "is not UTF-8 text") from None


def _refused(origin: Origin, message: str, path: Path = ()) -> ConfigError:
    return ConfigError([Problem(origin=origin, path=dotted(path), message=message)])


class _Builder:
    """Builds one document by recursive descent over the parser's events."""

    def __init__(self, text: str, source: str, *, with_lines: bool) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._source = source
        self._with_lines = with_lines
        self._document = Document()

    def build(self) -> Document:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self._document.origins:
                    raise _refused(self._origin(event), "holds a second document (`---`)")
                self._document.origins[()] = Origin(self._source)
                self._document.data = self._value(next(self._events), ())
        return self._document

    def _value(self, event: yaml.Event, path: Path) -> Any:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refused(self._origin(event), "anchors and aliases are not supported", path)
        if getattr(event, "tag", None) not in {None, "!"}:
            raise _refused(self._origin(event), "tags such as !!str are not supported", path)
        if len(path) > _MAX_DEPTH:
            raise _refused(self._origin(event), "is nested too deeply")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else event.value
        raise AssertionError(event)  # the parser's grammar has no other event here

    def _mapping(self, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise _refused(self._origin(key), "a key must be a plain name", path)
            at = (*path, key.value)
            if key.value in mapping:
                first = self._document.origins[at].line
                where = f" (first on line {first})" if first is not None else ""
                self._document.problems.append(
                    Problem(
                        origin=self._origin(key),
                        path=dotted(path),
                        message=f"the key `{shown(key.value)}` is given twice{where}",
                    )
                )
                self._skip(path)
                continue
            self._document.origins[at] = self._origin(key)
            mapping[key.value] = self._value(next(self._events), at)
        return mapping

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            at = (*path, len(items))
            self._document.origins[at] = self._origin(item)
            items.append(self._value(item, at))
        return items

    def _skip(self, path: Path) -> None:
        """Read the value of a key's second use into nothing."""
        kept = self._document.origins
        self._document.origins = {}
        self._value(next(self._events), path)
        self._document.origins = kept

    def _origin(self, event: yaml.Event) -> Origin:
        mark = event.start_mark
        return Origin(self._source, mark.line + 1 if mark and self._with_lines else None)


def _scalar(text: str) -> Any:
    """Return the value of a plain (unquoted) scalar by the YAML 1.2 core schema, decimal numbers only."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
