"""Settings from a file, the environment and flags, or every problem with them at once.

A person mends a configuration in one go if told of everything that is wrong with it. A validator stops early: rules
between settings wait until each setting is right by itself. So the draft is judged in rounds: what is found wrong is
reported and cut out, and the rest is judged again, until it passes or breaks a rule. What then passed is not used for
anything: one problem is enough to refuse the whole.

Later sources win: defaults, file, environment, flags. Each problem names the line, variable or flag it came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from sidecar.config.document import read_file
from sidecar.config.draft import Draft
from sidecar.config.environment import apply_environment
from sidecar.config.model import Settings
from sidecar.config.problems import ConfigError, Origin, Path, Problem, dotted
from sidecar.config.wording import locate, meant, sentence

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic_core import ErrorDetails

    from sidecar.config.findings import Finding

# Names of the command line's flags; any other override is reported by its path.
_FLAGS = {
    "listen": "--listen",
    "store.url": "--redis",
    "workers": "--workers",
    "envoy.config_dir": "--envoy-config",
}
# Each round cuts something out or is the last; real input takes two or three. The bound is for input made to be slow.
_MAX_ROUNDS = 20


def load(
    path: pathlib.Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings, or raise `ConfigError` with every problem found.

    A file that cannot be read or is not YAML is the only problem reported: all else may follow from it. `path` is the
    YAML file, if any; `overrides` maps dotted paths to values, such as `{"store.url": "redis://..."}`.
    """
    draft = Draft()
    problems: list[Problem] = []
    if path is not None:
        document = read_file(path)
        draft.start(document)
        problems += document.problems
    problems += apply_environment(draft, environ)
    for dotted_path, value in (overrides or {}).items():
        origin = Origin(_FLAGS.get(dotted_path, "flags"))
        draft.put(tuple(dotted_path.split(".")), value, origin)
    settings = _judge(draft, problems)
    if problems or settings is None:
        raise ConfigError(sorted(dict.fromkeys(problems), key=_place))
    return settings


def _judge(draft: Draft, problems: list[Problem]) -> Settings | None:
    """Return the settings that a draft makes, None if it makes none; add what is wrong to `problems`."""
    faulty: set[Path] = set()
    for _ in range(_MAX_ROUNDS):
        try:
            return Settings.model_validate(draft.data)
        except ValidationError as error:
            details = error.errors(include_url=False)
        if details[0]["type"] == "rules":
            problems += _broken_rules(draft, details[0]["ctx"]["findings"], faulty)
            return None
        faults = [_fault(detail) for detail in details]
        faulty.update(fault.meant for fault in faults if fault.meant and not draft.has(fault.meant))
        problems += _new_problems(draft, faults, faulty)
        faulty.update([draft.cut(fault.cut) for fault in faults])
    return None


class _Fault(NamedTuple):
    """One of pydantic's errors, understood."""

    path: Path
    """The setting at fault."""
    problem_path: Path
    """The setting to name: for an unknown key, the section that it stands in."""
    cut: Path
    """What to remove, to judge the rest."""
    meant: Path | None
    """The setting that an unknown key was most likely meant for."""
    is_missing: bool
    message: str


def _fault(detail: ErrorDetails) -> _Fault:
    path, parent = locate(detail["loc"])
    is_unknown, is_missing = detail["type"] == "extra_forbidden", detail["type"] == "missing"
    return _Fault(
        path=path,
        problem_path=path[:-1] if is_unknown else path,
        cut=path[:-1] if is_missing else path,
        meant=meant(path, parent) if is_unknown else None,
        is_missing=is_missing,
        message=sentence(detail, path, parent),
    )


def _new_problems(draft: Draft, faults: list[_Fault], faulty: set[Path]) -> Iterator[Problem]:
    """Return a round's faults as problems, without echoes of each other and of earlier rounds."""
    enclosing = {above for fault in faults for above in _enclosing(fault.path)}
    for fault in faults:
        # A list whose items are all wrong is called empty too; a setting cut out before is now called missing.
        if fault.path in enclosing or (fault.is_missing and fault.path in faulty):
            continue
        yield _problem(draft, fault.path, fault.problem_path, fault.message)


def _broken_rules(draft: Draft, findings: Iterable[Finding], faulty: set[Path]) -> Iterator[Problem]:
    """Return the findings as problems, without those that only echo another problem."""
    enclosing = {above for path in faulty for above in _enclosing(path)}
    for finding in findings:
        involved = (finding.path, *finding.rests_on)
        if not any(path in enclosing or not faulty.isdisjoint([path, *_enclosing(path)]) for path in involved):
            yield _problem(draft, finding.path, finding.path, finding.message)


def _problem(draft: Draft, at: Path, named: Path, message: str) -> Problem:
    return Problem(origin=draft.origin(at), path=dotted(named), message=message)


def _enclosing(path: Path) -> list[Path]:
    """Return the places that a place lies within."""
    return [path[:length] for length in range(len(path))]


def _place(problem: Problem) -> tuple[bool, str, int]:
    """Order problems by line in the file; variables and flags follow."""
    return problem.origin.line is None, problem.origin.source, problem.origin.line or 0
