"""From files to domains, or every problem with them at once, each with its file and line.

The format is that of envoyproxy/ratelimit (its README, "Configuration"), and what loads there loads here. That project
stops at the first problem and says nothing of where it is. It is silent about a setting that stands in a place where it
means nothing, such as `shadow_mode` within `rate_limit`; here that is a warning. Two keys are added: `algorithm` and
`burst` of a `rate_limit` (docs/envoy.md).

A descriptor is known by its composite, `key` or `key_value`: two of one level that have the same are one too many, also
where they differ in where the underscore stands, as the matching could not tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import yaml

from sidecar.config.envoy.metadata import MetadataReader
from sidecar.config.envoy.model import ALGORITHMS, UNITS, EnvoyConfig, EnvoyDescriptor, EnvoyDomain, EnvoyLimit
from sidecar.config.envoy.nodes import is_null, line_of, number_of, pairs, root_of, switch_of, text_of
from sidecar.config.problems import ConfigError, Origin, Path, Problem, did_you_mean, dotted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sidecar.config.envoy.model import EnvoyFile, Value

T = TypeVar("T")

_ROOT = ("domain", "descriptors")
_DESCRIPTOR = (
    "key", "value", "rate_limit", "descriptors", "shadow_mode", "quota_mode", "detailed_metric", "value_to_metric",
    "share_threshold", "metadata",
)  # fmt: skip
_LIMIT = ("unit", "requests_per_unit", "unlimited", "name", "replaces", "algorithm", "burst")
_REPLACES = ("name",)
_SOMEWHERE = frozenset([*_ROOT, *_DESCRIPTOR, *_LIMIT, *_REPLACES])

_MAX_NUMBER = 2**32 - 1
# More than any configuration has; aliases count each time they are followed, or a few lines could mean billions.
_MAX_NODES = 1_000_000
# As deep as a file without aliases can be; with them a descriptor may hold itself.
_MAX_PATH = 64


class _Field(NamedTuple):
    """A setting: where it stands, and its value's node."""

    path: Path
    node: yaml.Node


_Fields = dict[str, _Field]


def read(files: Iterable[EnvoyFile], *, merge_domains: bool) -> EnvoyConfig:
    """Return what the files say; raises `ConfigError` with every problem.

    A domain that two files name is a problem, unless `merge_domains` has it made of both.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    domains: dict[str, list[EnvoyDescriptor]] = {}
    named: dict[str, Origin] = {}
    for file in files:
        reader = _Reader(file)
        domain = reader.read()
        problems += reader.problems
        warnings += reader.warnings
        if domain is None:
            continue
        if domain.name in named and not merge_domains:
            message = f"the domain `{shown(domain.name)}` is already that of {_place(named[domain.name])}"
            problems.append(Problem(origin=reader.domain_origin, path="domain", message=message))
        named.setdefault(domain.name, reader.domain_origin)
        domains.setdefault(domain.name, []).extend(domain.descriptors)
    for descriptors in domains.values():
        problems += _duplicates(descriptors)
    if problems:
        raise ConfigError(sorted(dict.fromkeys(problems), key=_order))
    return EnvoyConfig(
        domains=tuple(EnvoyDomain(name=name, descriptors=tuple(found)) for name, found in domains.items()),
        warnings=tuple(sorted(dict.fromkeys(warnings), key=_order)),
    )


def _duplicates(descriptors: Sequence[EnvoyDescriptor]) -> Iterator[Problem]:
    first: dict[str, Origin] = {}
    for descriptor in descriptors:
        composite = descriptor.composite
        if composite in first:
            what = f"a descriptor `{shown(composite)}` is already on {_place(first[composite])}"
            yield Problem(origin=descriptor.origin, path="", message=what)
        first.setdefault(composite, descriptor.origin)
        yield from _duplicates(descriptor.descriptors)


def _place(origin: Origin) -> str:
    return f"{origin.source}:{origin.line}"


def _order(problem: Problem) -> tuple[str, int]:
    return problem.origin.source, problem.origin.line or 0


class _Reader:
    """Reads one file."""

    def __init__(self, file: EnvoyFile) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.domain_origin = Origin(file.source)
        self._file = file
        self._nodes_left = _MAX_NODES

    def read(self) -> EnvoyDomain | None:
        """Return the domain, None if there is no telling which."""
        try:
            root = root_of(self._file)
            if root is None or is_null(root):
                self._problem(None, ("domain",), "is missing")
                return None
            fields = self._fields(_Field((), root), _ROOT)
            if fields is None:
                return None
            name = self._needed_text(fields, "domain", _Field((), root))
            if not name:
                return None
            self.domain_origin = self._origin(fields["domain"].node)
            return EnvoyDomain(name=name, descriptors=self._list(fields, "descriptors", self._descriptor))
        except ConfigError as error:
            self.problems += error.problems
            return None

    # --- the sections ---

    def _descriptor(self, section: _Field) -> EnvoyDescriptor | None:
        fields = self._fields(section, _DESCRIPTOR)
        if fields is None:
            return None
        key = self._needed_text(fields, "key", section)
        limit = fields.get("rate_limit")
        descriptor = EnvoyDescriptor(
            key=key,
            value=self._text(fields, "value"),
            limit=None if limit is None or is_null(limit.node) else self._limit(limit),
            descriptors=self._list(fields, "descriptors", self._descriptor),
            shadow_mode=self._switch(fields, "shadow_mode"),
            quota_mode=self._switch(fields, "quota_mode"),
            detailed_metric=self._switch(fields, "detailed_metric"),
            value_to_metric=self._switch(fields, "value_to_metric"),
            share_threshold=self._switch(fields, "share_threshold"),
            metadata=self._metadata(fields),
            origin=self._origin(section.node),
        )
        if descriptor.share_threshold and "*" not in descriptor.composite:
            self._problem_at(fields["share_threshold"], "is for values with a wildcard (`*`)")
        return descriptor if key else None

    def _metadata(self, fields: _Fields) -> Mapping[str, Value]:
        field = fields.get("metadata")
        if field is None or is_null(field.node):
            return {}
        return MetadataReader(self._count, self._problem).read(field.node, field.path)

    def _limit(self, section: _Field) -> EnvoyLimit | None:
        fields = self._fields(section, _LIMIT)
        if fields is None:
            return None
        name = self._text(fields, "name")
        unit_text = self._text(fields, "unit").lower()
        unit = next((known for known in UNITS if known == unit_text), None)
        unlimited = self._switch(fields, "unlimited")
        algorithm_text = self._text(fields, "algorithm") or ALGORITHMS[0]
        algorithm = next((known for known in ALGORITHMS if known == algorithm_text), None)
        requests = self._number(fields, "requests_per_unit")
        if unlimited:
            for without in ("unit", "algorithm", "burst"):
                if without in fields and (without != "unit" or unit is not None):
                    self._problem_at(fields[without], "means nothing where `unlimited` is set")
        elif unit is None:
            listed = ", ".join(UNITS)
            written = fields.get("unit")
            said = f"`{shown(unit_text)}` is none of {listed}{did_you_mean(unit_text, UNITS)}"
            self._problem((written or section).node, (*section.path, "unit"), said if written else "is missing")
        if algorithm is None:
            suggestion = did_you_mean(algorithm_text, ALGORITHMS)
            said = f"`{shown(algorithm_text)}` is none of {', '.join(ALGORITHMS)}{suggestion}"
            self._problem_at(fields["algorithm"], said)
        elif "burst" in fields and algorithm != "token_bucket" and not unlimited:
            self._problem_at(fields["burst"], "is for `algorithm: token_bucket`")
        if requests is None and not unlimited:
            self._warn(section.node, section.path, "has no `requests_per_unit`: nothing is let through")
        return EnvoyLimit(
            requests_per_unit=requests or 0,
            unit=None if unlimited else unit,
            name=name,
            replaces=tuple(replaced for replaced in self._list(fields, "replaces", self._replaced(name))),
            algorithm=algorithm or ALGORITHMS[0],
            burst=self._number(fields, "burst"),
            origin=self._origin(section.node),
        )

    def _replaced(self, own_name: str) -> Callable[[_Field], str | None]:
        def read_one(section: _Field) -> str | None:
            fields = self._fields(section, _REPLACES)
            if fields is None:
                return None
            name = self._needed_text(fields, "name", section)
            if name and name == own_name:
                self._problem(section.node, (*section.path, "name"), "is the limit's own name")
            return name or None

        return read_one

    # --- what sections are made of ---

    def _fields(self, section: _Field, known: Sequence[str]) -> _Fields | None:
        """Return a mapping's settings, without those that are not known; None for what is no mapping."""
        node, path = section.node, section.path
        if len(path) > _MAX_PATH:
            raise ConfigError([Problem(origin=self._origin(node), path="", message="is nested too deeply")])
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, path, "must be a mapping of keys to values")
            return None
        fields: _Fields = {}
        for key, value in pairs(node):
            self._count(value)
            name = text_of(key)
            if name is None:
                self._problem(key, path, "a key must be a plain name")
            elif name in fields:
                first = line_of(fields[name].node)
                self._problem(key, path, f"the key `{shown(name)}` is given twice (first on line {first})")
            elif name in known:
                fields[name] = _Field((*path, name), value)
            elif name in _SOMEWHERE:
                self._warn(key, path, f"`{name}` means nothing here")
            else:
                self._problem(key, path, f"unknown key `{shown(name)}`{did_you_mean(name, known)}")
        return fields

    def _list(self, fields: Mapping[str, _Field], name: str, read_one: Callable[[_Field], T | None]) -> tuple[T, ...]:
        field = fields.get(name)
        if field is None or is_null(field.node):
            return ()
        if not isinstance(field.node, yaml.SequenceNode):
            self._problem_at(field, "must be a list")
            return ()
        items: list[T] = []
        for number, node in enumerate(field.node.value):
            self._count(node)
            item = read_one(_Field((*field.path, number), node))
            if item is not None:
                items.append(item)
        return tuple(items)

    def _text(self, fields: Mapping[str, _Field], name: str) -> str:
        field = fields.get(name)
        if field is None or is_null(field.node):
            return ""
        text = text_of(field.node)
        if text is None:
            self._problem_at(field, "must be text")
        return text or ""

    def _needed_text(self, fields: Mapping[str, _Field], name: str, section: _Field) -> str:
        """Return a text that has to be there; empty, with a problem said, if it is not."""
        text = self._text(fields, name)
        field = fields.get(name)
        if field is None:
            self._problem(section.node, (*section.path, name), "is missing")
        elif not text and text_of(field.node) is not None:
            self._problem_at(field, "is empty")
        return text

    def _switch(self, fields: Mapping[str, _Field], name: str) -> bool:
        field = fields.get(name)
        if field is None or is_null(field.node):
            return False
        switch = switch_of(field.node)
        if switch is None:
            self._problem_at(field, "must be true or false")
        return bool(switch)

    def _number(self, fields: Mapping[str, _Field], name: str) -> int | None:
        field = fields.get(name)
        if field is None or is_null(field.node):
            return None
        number = number_of(field.node)
        if number is None:
            self._problem_at(field, "must be a whole number")
        elif not 0 <= number <= _MAX_NUMBER:
            self._problem_at(field, f"{number} is not from 0 to {_MAX_NUMBER}")
        return number

    # --- bookkeeping ---

    def _count(self, node: yaml.Node) -> None:
        self._nodes_left -= 1
        if self._nodes_left < 0:
            message = "holds too much; aliases count as often as they are used"
            raise ConfigError([Problem(origin=self._origin(node), path="", message=message)])

    def _origin(self, node: yaml.Node | None) -> Origin:
        return Origin(self._file.source, None if node is None else line_of(node))

    def _problem_at(self, field: _Field, message: str) -> None:
        self._problem(field.node, field.path, message)

    def _problem(self, node: yaml.Node | None, path: Path, message: str) -> None:
        self.problems.append(Problem(origin=self._origin(node), path=dotted(path), message=message))

    def _warn(self, node: yaml.Node, path: Path, message: str) -> None:
        self.warnings.append(Problem(origin=self._origin(node), path=dotted(path), message=message))
