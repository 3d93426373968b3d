"""Which rule applies to a descriptor: examples, and a model that does the same another way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.envoy.model import EnvoyFile
from sidecar.config.envoy.reader import read
from sidecar.config.envoy.settings import EnvoySettings
from sidecar.ratelimit.envoy.matching import find
from sidecar.ratelimit.envoy.rules import Wildcard
from sidecar.translate_envoy import envoy_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.config.envoy.model import EnvoyDescriptor
    from sidecar.ratelimit.envoy.matching import Match
    from sidecar.ratelimit.envoy.rules import Entry, Node

TREE = """
domain: d
descriptors:
  - key: plain
    rate_limit: {unit: day, requests_per_unit: 1}
  - key: plain
    value: listed
    rate_limit: {unit: day, requests_per_unit: 2}
  - key: plain
    value: free
  - key: path
    value: /a/*/b
    rate_limit: {unit: day, requests_per_unit: 3}
  - key: path
    value: /a/*
    share_threshold: true
    rate_limit: {unit: day, requests_per_unit: 4}
    descriptors:
      - key: method
        detailed_metric: true
        rate_limit: {unit: day, requests_per_unit: 5}
      - key: user
        value: x*
        value_to_metric: true
        rate_limit: {unit: day, requests_per_unit: 6}
  - key: route
    value_to_metric: true
    descriptors:
      - key: user
        rate_limit: {unit: day, requests_per_unit: 7}
"""


def tree(text: str) -> Node:
    """Return the tree of a file's domain."""
    return envoy_rules([EnvoyFile("f.yaml", text)], EnvoySettings()).domains["d"]


def requests_of(match: Match | None) -> int | None:
    """Return the limit that tells a rule from the others."""
    return None if match is None or match.rule.limit is None else match.rule.limit.requests_per_unit


@pytest.mark.parametrize(
    ("entries", "requests"),
    [
        ([("plain", "any")], 1),
        ([("plain", "")], 1),
        ([("plain", "listed")], 2),
        ([("plain", "free")], None),
        ([("other", "any")], None),
        ([("plain", "listed"), ("more", "x")], None),
        ([("path", "/a/1/b")], 3),
        ([("path", "/a//b")], 3),
        ([("path", "/a/b")], 4),
        ([("path", "/a/1")], 4),
        ([("path", "/b")], None),
        ([("path", "/a/1"), ("method", "GET")], 5),
        # The first wildcard that fits is taken, and nothing tried after it.
        ([("path", "/a/1/b"), ("method", "GET")], None),
        ([("route", "r")], None),
        ([("route", "r"), ("user", "u")], 7),
        ([], None),
    ],
)
def test_examples(entries: list[Entry], requests: int | None) -> None:
    """The value that is listed, else the first wildcard that fits, else the bare key; and only at the rule's depth."""
    assert requests == requests_of(find(tree(TREE), entries))


@pytest.mark.parametrize(
    ("entries", "label"),
    [
        ([("plain", "any")], "plain"),
        ([("plain", "listed")], "plain_listed"),
        ([("path", "/a/1/b")], "path_/a/*/b"),
        ([("path", "/a/1")], "path_/a/*"),
        ([("path", "/a/1"), ("method", "GET")], "path_/a/*.method_GET"),
        ([("path", "/a/1"), ("user", "xy")], "path_/a/*.user_xy"),
        ([("route", "r"), ("user", "u")], "route_r.user"),
    ],
)
def test_labels(entries: list[Entry], label: str) -> None:
    """Metrics name a rule by its configuration, with values of the request where the rule wants them."""
    match = find(tree(TREE), entries)
    assert match is not None
    assert label == match.label


def test_shared_threshold_counts_by_the_pattern() -> None:
    """All values of a wildcard with `share_threshold` draw on one counter; without it each has its own."""
    top = tree(TREE)
    shared = [find(top, [("path", value), ("user", "x1")]) for value in ("/a/1", "/a/2")]
    assert [(("path", "/a/*"), ("user", "x1"))] * 2 == [match.counted for match in shared if match]
    apart = [find(top, [("path", value)]) for value in ("/a/1/b", "/a/2/b")]
    assert [(("path", "/a/1/b"),), (("path", "/a/2/b"),)] == [match.counted for match in apart if match]


# --- a model ---

words = st.text(st.sampled_from("ab*_"), max_size=4)
keys = st.text(st.sampled_from("ab_"), min_size=1, max_size=2)


class Written(NamedTuple):
    """A descriptor as a file has it."""

    key: str
    value: str
    limit: bool
    below: tuple[Written, ...]


written = st.recursive(
    st.builds(Written, keys, words, st.booleans(), st.just(())),
    lambda inner: st.builds(Written, keys, words, st.booleans(), st.lists(inner, max_size=4).map(tuple)),
    max_leaves=8,
)


def yaml_of(descriptors: Sequence[Written], numbers: list[int]) -> str:
    """Return descriptors as YAML, each limit with a number of its own, without doubles."""
    items, seen = [], set()
    for key, value, limit, below in descriptors:
        composite = f"{key}_{value}" if value else key
        if composite in seen:
            continue
        seen.add(composite)
        parts = [f"key: '{key}'", f"value: '{value}'"]
        if limit:
            numbers.append(len(numbers) + 1)
            parts.append(f"rate_limit: {{unit: day, requests_per_unit: {numbers[-1]}}}")
        parts.append(f"descriptors: {yaml_of(below, numbers)}")
        items.append("{" + ", ".join(parts) + "}")
    return "[" + ", ".join(items) + "]"


def model(descriptors: Sequence[EnvoyDescriptor], entries: Sequence[Entry]) -> int | None:
    """Return the number of the limit that applies, by search through all descriptors of each level."""
    for place, (key, value) in enumerate(entries):
        text = f"{key}_{value}"
        exact = [each for each in descriptors if each.composite == text]
        fitting = [
            each
            for each in descriptors
            if "*" in each.composite
            and re.fullmatch(".*".join(map(re.escape, each.composite.split("*"))), text, re.DOTALL)
        ]
        bare = [each for each in descriptors if each.composite == key]
        candidates = [*exact, *fitting, *bare]
        if not candidates:
            return None
        chosen = candidates[0]
        if place == len(entries) - 1:
            return None if chosen.limit is None else chosen.limit.requests_per_unit
        descriptors = chosen.descriptors
    return None


@given(
    st.lists(written, max_size=5), st.lists(st.tuples(keys, st.text(st.sampled_from("ab_"), max_size=4)), max_size=3)
)
def test_equals_the_model(descriptors: list[Written], entries: list[Entry]) -> None:
    """For any tree and any descriptor, the rule found is that of a search through everything."""
    file = EnvoyFile("f.yaml", f"domain: d\ndescriptors: {yaml_of(descriptors, [])}")
    (domain,) = read([file], merge_domains=False).domains
    top = envoy_rules([file], EnvoySettings()).domains["d"]
    assert model(domain.descriptors, entries) == requests_of(find(top, entries))


@given(words, st.text(st.sampled_from("ab_"), max_size=8))
def test_wildcard_equals_a_regular_expression(pattern: str, text: str) -> None:
    """An asterisk stands for any characters or none."""
    if "*" not in pattern:
        pattern += "*"
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert expected == Wildcard(pattern, tuple(pattern.split("*"))).matches(text)
