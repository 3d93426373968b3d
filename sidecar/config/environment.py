"""Settings from environment variables.

`SIDECAR_` and the setting's path in capitals, its parts joined by two underscores: `SIDECAR_STORE__REPLY_TIMEOUT=2s`,
`SIDECAR_CACHES__PATIENTS__TTL=10m`. A variable cannot hold a hyphen, so a cache `user-data` of the file is also found
as `USER_DATA`. Values are YAML (`[a, b]`, `true`, `null`), except where a setting is text: there the variable's content
stands for itself, lest a password with a colon in it become a mapping. An empty variable counts as not set.

A variable that begins with `SIDECAR_` and means nothing is a problem: a limit that was misspelt is a limit that is not
there. Kubernetes gives pods variables about each service in the namespace; those of a service `sidecar` are let be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sidecar.config.document import read_text
from sidecar.config.problems import ConfigError, Origin, Path, Problem, dotted, nearest
from sidecar.config.shape import Shape, settings_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sidecar.config.draft import Draft

PREFIX = "SIDECAR_"
_SEPARATOR = "__"

# Short names for what a deployment sets most often.
_SHORT_NAMES: dict[str, tuple[str, ...]] = {
    "SIDECAR_LISTEN": ("listen",),
    "SIDECAR_REDIS_URL": ("store", "url"),
    "SIDECAR_STATE_DIR": ("store", "embedded", "state_dir"),
}
# Read elsewhere: the command line looks for the file, the tests' guards ask for servers.
_OTHER_NAMES = re.compile(r"SIDECAR_(CONFIG|REQUIRE_\w+)")
# "Discovering services: environment variables" in the Kubernetes manual, for services `sidecar` and `sidecar-...`.
_KUBERNETES_NAMES = re.compile(
    r"SIDECAR_([A-Z0-9]\w*_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)


def apply_environment(draft: Draft, environ: Mapping[str, str]) -> list[Problem]:
    """Write the variables' settings over the draft's; return what is wrong with the variables themselves."""
    problems: list[Problem] = []
    unknown: list[str] = []
    taken: dict[Path, str] = {}
    names = [name for name in environ if name.startswith(PREFIX) and environ[name]]
    # A section's variable comes before those of its parts, which then write over it.
    for name in sorted(names, key=lambda name: (len(_parts(name)), name)):
        found = _find(name, draft)
        if found is None:
            unknown.append(name)
            continue
        path, shape = found
        if path in taken:
            message = f"says the same as {taken[path]}; set one of them"
            problems.append(Problem(origin=Origin(name), path=dotted(path), message=message))
            continue
        taken[path] = name
        try:
            value = _value(name, environ[name], shape)
        except ConfigError as error:
            problems.extend(error.problems)
        else:
            draft.put(path, value, Origin(name))
    referred = set(_referred(draft))
    for name in unknown:
        if name in referred or _OTHER_NAMES.fullmatch(name) or _KUBERNETES_NAMES.fullmatch(name):
            continue
        # Without the prefix that they share, or all names would be near each other.
        match = nearest(name.removeprefix(PREFIX), _known_names(draft))
        message = f"unknown variable{f', did you mean `{PREFIX}{match}`?' if match else ''}"
        problems.append(Problem(origin=Origin(name), path="", message=message))
    return problems


def _find(name: str, draft: Draft) -> tuple[Path, Shape] | None:
    """Return the place that a variable is about."""
    path: Path = ()
    shape: Shape | None = settings_shape()
    for part in _parts(name):
        if shape is None or not shape.is_container:
            return None
        key = _existing_name(part, draft.get(path)) if shape.is_map else part.lower()
        shape = shape.at(key)
        path = (*path, key)
    return (path, shape) if shape is not None else None


def _parts(name: str) -> tuple[str, ...]:
    return _SHORT_NAMES.get(name) or tuple(name.removeprefix(PREFIX).split(_SEPARATOR))


def _existing_name(part: str, names: object) -> str:
    """Return the cache or limit that a variable's part stands for: one that is there already, or a new one."""
    if isinstance(names, dict):
        for name in names:
            if str(name).replace("-", "_").upper() == part.upper():
                return str(name)
    return part.lower()


def _value(name: str, text: str, shape: Shape) -> object:
    if name == "SIDECAR_LISTEN":
        return [address.strip() for address in text.split(",")]
    if shape.is_text:
        return None if shape.is_nullable and text == "null" else text
    document = read_text(text, name, with_lines=False)
    if document.problems:
        raise ConfigError(document.problems)
    return document.data


def _referred(draft: Draft) -> Iterator[str]:
    """Return the variables that the settings themselves name."""
    names = [draft.get(("store", "password_env"))]
    keys = draft.get(("encryption", "keys"))
    if isinstance(keys, list):
        names += [key.get("env") for key in keys if isinstance(key, dict)]
    origins = draft.get(("origins",))
    if isinstance(origins, dict):
        named = [origin for origin in origins.values() if isinstance(origin, dict)]
        names += [origin.get(key) for origin in named for key in ("url_env", "password_env", "bearer_env")]
    events = draft.get(("events",))
    if isinstance(events, dict):
        databases = [event.get("postgres") for event in events.values() if isinstance(event, dict)]
        names += [database.get("url_env") for database in databases if isinstance(database, dict)]
    yield from (name for name in names if isinstance(name, str))


def _known_names(draft: Draft) -> Iterable[str]:
    """Return the variables, without prefix, that would mean something, for the caches and limits that there are."""
    yield from (name.removeprefix(PREFIX) for name in _SHORT_NAMES)
    yield "CONFIG"
    for path in _paths((), settings_shape(), draft):
        yield _SEPARATOR.join(path).replace("-", "_").upper()


def _paths(path: tuple[str, ...], shape: Shape, draft: Draft) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    names: Iterable[str] = shape.parts
    if shape.is_map:
        existing = draft.get(path)
        names = [str(name) for name in existing] if isinstance(existing, dict) else ()
    for name in names:
        below = shape.at(name)
        if below is not None:
            yield from _paths((*path, name), below, draft)
