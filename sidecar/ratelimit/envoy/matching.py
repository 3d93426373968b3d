"""Which limit applies to a descriptor: a pure function, and the essay that is its specification.

A descriptor of a request is a list of entries, the configuration a tree. Each entry leads one level down: to the child
whose composite is `key_value`; else to the first, in the file's order, whose wildcard fits that; else to the child
`key`, which takes any value. There is no way back: a child that was chosen and leads nowhere is not tried again with
another. The rule of the child that the *last* entry leads to applies. So a rule applies only to descriptors of its own
depth, and a value that is listed without a limit is free of the limit of its key.

This is what envoyproxy/ratelimit does, down to its composites: it joins key and value by an underscore and matches the
text. Hence the entry (`a`, `b_c`) is also led to what the file calls `a_b` with the value `c`. A file with both is
refused; a file is rarely that confusing by itself, and whoever comes from there finds the same limit applied. What is
*counted* is another matter: here counters are told apart by their entries and never by joined text, there
(`a`, `b_c`) and (`a_b`, `c`) draw on one counter.

With `share_threshold`, all values that a wildcard fits draw on one counter: the pattern stands for the value. Nested
descriptors keep that for the levels above them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.envoy.rules import Entry, Node, Rule

# What stands in metrics for all limits that requests bring along: their entries' values know no bound.
REQUEST_LABEL = "(request)"


class Match(NamedTuple):
    """The rule that applies to a descriptor."""

    rule: Rule
    counted: tuple[Entry, ...]
    """The entries of the counter: those of the request, but for values that share one."""
    label: str
    """The rule in metrics: with values of the request where `detailed_metric` or `value_to_metric` wants them."""


class _Step(NamedTuple):
    """One entry's way down the tree."""

    child: Node
    counted: str
    """The value that counts: the entry's, or the pattern that it shares a counter with others under."""
    shown: str
    """The entry in metrics, with its value where that is configured or wanted."""


def find(top: Node, entries: Sequence[Entry]) -> Match | None:
    """Return what applies to a descriptor of a domain with that tree, None if nothing does."""
    node = top
    counted: list[Entry] = []
    path: list[str] = []
    with_values = False
    for key, value in entries:
        step = _down(node, key, value)
        if step is None:
            return None
        node = step.child
        counted.append((key, step.counted))
        path.append(step.shown)
        with_values = with_values or node.value_to_metric
    rule = node.rule
    if rule is None or not entries:
        return None
    label = rule.label
    if rule.detailed_metric:
        label = ".".join(f"{key}_{value}" if value else key for key, value in counted)
    elif with_values:
        label = ".".join(path)
    return Match(rule, tuple(counted), label)


def _down(node: Node, key: str, value: str) -> _Step | None:
    composite = f"{key}_{value}"
    child = node.children.get(composite)
    if child is not None:
        return _Step(child, value, composite)
    for wildcard in node.wildcards:
        if wildcard.matches(composite):
            child = node.children[wildcard.composite]
            pattern = wildcard.composite.removeprefix(f"{key}_")
            if child.share_threshold:
                return _Step(child, pattern, f"{key}_{pattern}")
            return _Step(child, value, composite if child.value_to_metric else f"{key}_{pattern}")
    child = node.children.get(key)
    if child is None:
        return None
    return _Step(child, value, composite if child.value_to_metric and value else key)
