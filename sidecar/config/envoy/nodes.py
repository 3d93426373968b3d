"""YAML as envoyproxy/ratelimit reads it, down to nodes that know their line.

Its files are YAML 1.1, read by the type that a field has: `value: 007` is the text "007", `unlimited: yes` is true. So
the text of each scalar is kept until the reader says what it wants, and the settings' own reader, which decides by the
look of a scalar and takes neither anchors nor `<<`, will not do.

Whatever a file does, reading it takes bounded time: its nesting is counted before anything recursive looks at it, and
an alias counts again each time it is followed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import yaml

from sidecar.config.problems import ConfigError, Origin, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.envoy.model import EnvoyFile

# libyaml's parser where PyYAML was built with it, as its wheels are.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Thirty levels of descriptors, each a list and a mapping.
_MAX_DEPTH = 64

# YAML 1.1, section "boolean language-independent type", and "null".
_TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"])
_FALSE = frozenset(["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"])
_NULL = frozenset(["", "~", "null", "Null", "NULL"])
_INTEGER = re.compile(r"[-+]?(0b[01]+|0o?[0-7]+|0x[0-9a-fA-F]+|0|[1-9][0-9]{0,17})")
_MERGE = "<<"


def root_of(file: EnvoyFile) -> yaml.Node | None:
    """Return the top of a file, None if it is empty; raises `ConfigError` with one problem if it is not YAML."""
    try:
        depth = 0
        for event in yaml.parse(file.text, Loader=_LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _MAX_DEPTH:
                raise _refused(Origin(file.source, line_of(event)), "is nested too deeply")
        return yaml.compose(file.text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        told = [getattr(error, name, None) for name in ("context", "problem")]
        message = ", ".join(part for part in told if part) or "it holds control characters"
        origin = Origin(file.source, mark.line + 1, mark.column + 1) if mark else Origin(file.source)
        raise _refused(origin, f"not valid YAML: {message}") from None


def _refused(origin: Origin, message: str) -> ConfigError:
    return ConfigError([Problem(origin=origin, path="", message=message)])


def line_of(marked: yaml.Node | yaml.Event) -> int | None:
    """Return the line, from 1, that something begins on."""
    return marked.start_mark.line + 1 if marked.start_mark else None


class Pair(NamedTuple):
    """A key of a mapping and its value."""

    key: yaml.Node
    value: yaml.Node


def pairs(node: yaml.MappingNode) -> Iterator[Pair]:
    """Return a mapping's own pairs, all of them, then those that `<<` brings in and that it has not itself."""
    return _pairs(node, set(), {id(node)})


def _pairs(node: yaml.MappingNode, known: set[str], seen: set[int]) -> Iterator[Pair]:
    """Return the pairs but for merged ones that are `known`; a mapping that was `seen` brings nothing in again."""
    merged: list[yaml.Node] = []
    own: list[str] = []
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value == _MERGE and not key.style:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            if key.value in known:
                continue
            own.append(key.value)
        yield Pair(key, value)
    known.update(own)
    for source in merged:
        if isinstance(source, yaml.MappingNode) and id(source) not in seen:
            seen.add(id(source))
            yield from _pairs(source, known, seen)


def is_null(node: yaml.Node) -> bool:
    """Say whether a node stands for nothing at all."""
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULL


def text_of(node: yaml.Node) -> str | None:
    """Return a scalar as text, just as it is written; None for what is no scalar."""
    return node.value if isinstance(node, yaml.ScalarNode) else None


def switch_of(node: yaml.Node) -> bool | None:
    """Return a boolean, None for what is none; in quotes it is text."""
    if not isinstance(node, yaml.ScalarNode) or node.style:
        return None
    if node.value in _TRUE:
        return True
    return False if node.value in _FALSE else None


def number_of(node: yaml.Node) -> int | None:
    """Return a whole number, None for what is none; in quotes it is text."""
    if not isinstance(node, yaml.ScalarNode) or node.style:
        return None
    text = node.value.replace("_", "")
    if _INTEGER.fullmatch(text) is None:
        return None
    digits = text.lstrip("+-")
    # Python wants to be told that a bare leading 0 means octal.
    is_octal = digits.startswith("0") and digits[1:].isdigit()
    number = int(digits[1:], 8) if is_octal else int(digits, 0)
    return -number if text.startswith("-") else number
