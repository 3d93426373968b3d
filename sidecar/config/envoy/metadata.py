"""`metadata` of a descriptor: any mapping, read as the type that each scalar looks like, as YAML 1.1 has it.

It ends in a `google.protobuf.Struct`, so all numbers are doubles, and dates are text. Keys are text as written.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import yaml

from sidecar.config.envoy.nodes import is_null, number_of, pairs, switch_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.config.envoy.model import Value
    from sidecar.config.problems import Path

# protobuf's parsers take a hundred messages within each other; a level of a Struct is three, and the answer has some.
_MAX_DEPTH = 20

# What is written in another base than ten and does not fit into 64 bits is no number to YAML's readers in Go.
_TOO_LARGE = 1 << 64

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# YAML 1.1, section "floating-point", as its readers have it.
_SPECIAL = {
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
}


class MetadataReader:
    """Reads one `metadata`; each node is told to `count`, each problem to `refuse`."""

    def __init__(self, count: Callable[[yaml.Node], None], refuse: Callable[[yaml.Node, Path, str], None]) -> None:
        self._count = count
        self._refuse = refuse

    def read(self, node: yaml.Node, path: Path) -> dict[str, Value]:
        """Return the mapping; an empty one if it is none, with a problem said."""
        if not isinstance(node, yaml.MappingNode):
            self._refuse(node, path, "must be a mapping of keys to values")
            return {}
        return self._mapping(node, path, 1)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key, value in pairs(node):
            name = text_of(key)
            if name is None:
                self._refuse(key, path, "a key must be a plain name")
            elif name in found:
                self._refuse(key, (*path, name), "is given twice")
            else:
                found[name] = self._value(value, (*path, name), depth)
        return found

    def _value(self, node: yaml.Node, path: Path, depth: int) -> Value:
        self._count(node)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if depth >= _MAX_DEPTH:
            self._refuse(node, path, "is nested too deeply")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth + 1)
        return [self._value(item, (*path, number), depth + 1) for number, item in enumerate(node.value)]


def _scalar(node: yaml.ScalarNode) -> Value:
    text = str(node.value)
    if node.style:
        return text
    if is_null(node):
        return None
    switch = switch_of(node)
    if switch is not None:
        return switch
    whole = number_of(node)
    if whole is not None:
        return float(whole) if abs(whole) < _TOO_LARGE else text
    number = _double(text)
    return text if number is None else number


def _double(text: str) -> float | None:
    """Return a number, None for what is none, or too large for one."""
    plain = text.replace("_", "")
    if _FLOAT.fullmatch(plain) is None or math.isinf(float(plain)):
        return _SPECIAL.get(text)
    return float(plain)
